"""A trained model of cases; with late fusion it also holds the table's model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from focusmap.basics import Json, ModelError
from focusmap.heatmaps import CaseView
from focusmap.images import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard
from focusmap.models.net import OF_STORE, shown, weights_of
from focusmap.models.predictor import EncodedImages, Predictor
from focusmap.models.rows import RowModel
from focusmap.nets import KNOWN_ANSWER_SIDE, FocusNet, ImageInCase, backbone_of, fill_net, take_apart
from focusmap.nets.cases import CaseArchitecture, CaseBackbone, CaseBatch, build_case_net
from focusmap.study import Batch, Cohort, Covariates, EncodedTable, Flags, Task, at_once, view_numbers

TABLE = "table"
NET = "net"


@dataclass(frozen=True)
class CaseModel:
    """A model of cases with the card that says what it predicts, from what input, and how its output is read.

    Parameters
    ----------
    card
        What `model.json` holds.
    net
        A focus net on a `CaseBackbone`.
    table
        With late fusion: the table's model, applied to the same cases.
    """

    card: ModelCard
    net: FocusNet
    table: RowModel | None = None

    @property
    def members(self) -> tuple[Predictor, ...]:
        """None: it is a single model."""
        return ()

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @property
    def preparation(self) -> AnyPreparation:
        """The steps from image to input."""
        return preparation_from(self.card.preparation)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views."""
        return architecture_of(self.card).views

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """The one way in which images are prepared."""
        return (self.preparation,)

    def batch_size(self, *, stored: bool) -> int:
        """Return how many images are shown at once; of files one case."""
        return at_once(self.preparation.input_shape[1:], OF_STORE) if stored else 1

    def to(self, device: str) -> "CaseModel":
        """Return the model, its net moved to a device."""
        self.net.to(device)
        return self

    def with_card(self, card: ModelCard) -> "CaseModel":
        """Return the same model with another card."""
        return replace(self, card=card)

    def explainable(self) -> CaseView:
        """Return what heat maps need of it."""
        return CaseView(self)

    def encode(self, batch: Batch) -> EncodedImages:
        """Return the features of each view, ``(N, V * (K + 1))``: pooled, and its indicator."""
        backbone = self._backbone.eval()
        shown_cases = CaseBatch(
            shown(batch.images(self.preparation)),
            torch.tensor(batch.table["position"].to_numpy(dtype=np.int64)),
            torch.from_numpy(view_numbers(batch.rows, self.views)),
            torch.empty(len(batch), 0),
        )
        with torch.inference_mode():
            features, attention = backbone.encode(shown_cases.to(next(backbone.parameters()).device))
        width = backbone.n_features + 1
        places = {view: slice(k * width, (k + 1) * width) for k, view in enumerate(self.views)}
        return EncodedImages(features.cpu().numpy(), attention.cpu().numpy(), places)

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return logits ``(N, L)``, of a change target its change, and what of each case's table is unlike train."""
        features, no_table = encoded.features, np.empty((len(encoded.features), 0))
        if self.table is not None:
            of_table, flags = self.table.logits(encoded, rows)
            return self._stacked(self._logits(features, no_table), of_table), flags
        table = self._encoded_table(rows)
        if table is None:
            return self._logits(features, no_table), None
        return self._logits(features, table.values), table.flags

    def check(self, cohort: Cohort) -> None:
        """Raise `InputError` if a cohort's cases lack a covariate, or have a view, that the model must know."""
        view_numbers(cohort, self.views)
        self._encoded_table(cohort)

    def take_apart(self, images: np.ndarray, case: Cohort) -> tuple[np.ndarray, list[ImageInCase]]:
        """Return the logits ``(1, L)`` of one case, of a change its change, and the nets of its images.

        Parameters
        ----------
        images
            ``(P, C, *spatial)``, standardised, in the order of `images_of`.
        case
            A cohort of one case.
        """
        batch = one_case(images, view_numbers(case, self.views))
        table = None if self.table is not None else self._encoded_table(case)
        if table is not None:
            batch = batch._replace(rows=torch.from_numpy(table.values))
        features, nets = take_apart(self.net.eval(), batch.to(self._device))
        return self.logits(EncodedImages(features.cpu().numpy()), case)[0], nets

    def image_net(self) -> ImageInCase:
        """Return the net of a blank image in a case of its own, which shows what methods of heat maps it allows."""
        blank = one_case(np.zeros((1, *self.preparation.input_shape), np.float32), np.zeros(1, np.int64))
        row = torch.zeros(1, architecture_of(self.card).n_covariates)
        return take_apart(self.net.eval(), blank._replace(rows=row).to(self._device))[1][0]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights of the net."""
        return weights_of(self.net)

    def known_answer(self, earlier: Mapping[str, Json]) -> dict[str, Json]:
        """Return the logits of two cases: one has an image of each view, the other a second one of the first view."""
        architecture, seed = architecture_of(self.card), cast(int, earlier.get("seed", 0))
        # RandomState's stream is frozen for all time, unlike that of a Generator.
        draw, n_views = np.random.RandomState(seed).standard_normal, len(architecture.views)
        side = [KNOWN_ANSWER_SIDE[architecture.dimensions]] * architecture.dimensions
        batch = CaseBatch(
            torch.from_numpy(draw((n_views + 2, architecture.channels, *side))).float(),
            torch.tensor([0] * n_views + [1, 1]),
            torch.tensor([*range(n_views), 0, 0]),
            torch.from_numpy(draw((2, architecture.n_covariates))).float(),
        )
        with torch.inference_mode():
            logits = self.net.eval()(batch.to(self._device))
        return {"seed": seed, "logits": [float(value) for value in logits.flatten()]}

    def folders(self) -> Mapping[str, Predictor]:
        """Return the table's model, if there is one, in its folder."""
        return {} if self.table is None else {TABLE: self.table}

    @property
    def _backbone(self) -> CaseBackbone:
        return backbone_of(self.net)

    @property
    def _device(self) -> torch.device:
        return next(self.net.parameters()).device

    def _encoded_table(self, cohort: Cohort) -> EncodedTable | None:
        """Return the covariates of a cohort; None of a model that takes none."""
        return Covariates.from_list(self.card.covariates).encode(cohort) if self.card.covariates else None

    def _logits(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        sides = (torch.from_numpy(np.ascontiguousarray(side)).float().to(self._device) for side in (features, rows))
        with torch.inference_mode():
            logits = self.net.eval().classify(self._backbone.fused(*sides))
        return self.task.in_units(logits.cpu().numpy(), self.card.scales)

    def _stacked(self, of_images: np.ndarray, of_table: np.ndarray) -> np.ndarray:
        stack = cast(Mapping[str, Mapping[str, Json]], self.card.architecture["stack"])
        columns = []
        for target in self.task.targets:
            part = self.task.slice_of(target.name)
            both = np.concatenate([of_images[:, part], of_table[:, part]], axis=1)
            weights, bias = (np.array(stack[target.name][key], dtype=np.float64) for key in ("weights", "bias"))
            columns.append(both @ weights.T + bias)
        return np.concatenate(columns, axis=1)


def one_case(images: np.ndarray, views: np.ndarray) -> CaseBatch:
    """Return a case of images ``(P, C, *spatial)`` with these numbers of views ``(P,)``, and no table."""
    numbers = torch.zeros(len(images), dtype=torch.int64)
    return CaseBatch(torch.from_numpy(images), numbers, torch.from_numpy(views), torch.empty(1, 0))


def architecture_of(card: ModelCard) -> CaseArchitecture:
    """Return what the net of a card is built from; `ModelError` if the card does not say it."""
    values = card.architecture.get(NET)
    if not isinstance(values, Mapping):
        raise ModelError(f"the architecture names no {NET!r}.")
    return CaseArchitecture.from_dict(values)


def cases_from(card: ModelCard, arrays: Mapping[str, np.ndarray], folders: Mapping[str, Predictor]) -> CaseModel:
    """Return the model that a folder holds, on the processor.

    Raises
    ------
    InputError, ModelError
        If there is no such net, or the weights are those of another.
    """
    net = build_case_net(architecture_of(card))
    fill_net(net, arrays)
    table = folders.get(TABLE)
    if table is not None and not isinstance(table, RowModel):
        raise ModelError(f"{TABLE} holds another kind of model than one of tables.")
    return CaseModel(card, net, table)
