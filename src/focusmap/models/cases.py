"""A trained model of cases; with late fusion it also holds the table's model.

Members predict one by one, each with its own encoding of the table, and their logits are averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from focusmap.basics import InputError, Json, ModelError
from focusmap.heatmaps import CaseView
from focusmap.images import AnyPreparation, preparation_from
from focusmap.models.net import OF_STORE, shown, weights_of
from focusmap.models.predictor import EncodedImages, ModelCard, Predictor, mean_card
from focusmap.models.rows import RowModel
from focusmap.nets import PROBE_SIDE, FocusNet, ImageInCase, backbone_of, fill_net, take_apart
from focusmap.nets.cases import CaseArchitecture, CaseBackbone, CaseBatch, build_case_net
from focusmap.study import Batch, Cohort, Covariates, EncodedTable, Flags, Task, at_once, said_by_models, view_numbers

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
        A focus net on a `CaseBackbone`; None for the mean of several members.
    table
        With late fusion: the table's model, applied to the same cases.
    members
        Models of their own, whose answers are averaged.
    """

    card: ModelCard
    net: FocusNet | None
    table: RowModel | None = None
    members: tuple["CaseModel", ...] = ()

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
    def parts(self) -> tuple["CaseModel", ...]:
        """The members, or the one model."""
        return self.members or (self,)

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """The one way in which images are prepared."""
        return (self.preparation,)

    def batch_size(self, *, stored: bool) -> int:
        """Return how many images are shown at once; of files one case."""
        return at_once(self.preparation.input_shape[1:], OF_STORE) if stored else 1

    def to(self, device: str) -> "CaseModel":
        """Return the model, its nets moved to a device."""
        for part in self.parts:
            assert part.net is not None
            part.net.to(device)
        return self

    def with_card(self, card: ModelCard) -> "CaseModel":
        """Return the same model with another card."""
        return replace(self, card=card)

    def explainable(self) -> CaseView:
        """Return what heat maps need of it."""
        return CaseView(self)

    def encode(self, batch: Batch) -> EncodedImages:
        """Return of each member the features of each view, ``(N, V * (K + 1))``: pooled, and its indicator."""
        shown_cases = CaseBatch(
            shown(batch.images(self.preparation)),
            torch.tensor(batch.table["position"].to_numpy(dtype=np.int64)),
            torch.from_numpy(view_numbers(batch.rows, self.views)),
            torch.empty(len(batch), 0),
        )
        looks = [part._look(shown_cases) for part in self.parts]
        attention = np.mean([weights for _, weights in looks], axis=0)
        return EncodedImages(
            tuple(features for features, _ in looks), attention, tuple(part._parts() for part in self.parts)
        )

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return logits ``(N, L)``, of a change target its change, and what members that take a table flag."""
        answers = [part._answer(features, rows) for part, features in zip(self.parts, encoded.features, strict=True)]
        flags = [flag for _, flag in answers if flag is not None]
        return np.mean([logits for logits, _ in answers], axis=0), _merged_flags(flags) if flags else None

    def check(self, cohort: Cohort) -> None:
        """Raise `InputError` if a cohort's cases lack a covariate, or have a view, that the model must know."""
        view_numbers(cohort, self.views)
        for part in self.parts:
            part._encoded_table(cohort)

    def take_apart(self, images: np.ndarray, case: Cohort) -> tuple[np.ndarray, list[list[ImageInCase]]]:
        """Return the logits ``(1, L)`` of one case, of a change its change, and of each part the nets of its images.

        Parameters
        ----------
        images
            ``(P, C, *spatial)``, standardised, in the order of `images_of`.
        case
            A cohort of one case.
        """
        batch = one_case(images, view_numbers(case, self.views))
        apart = [part._taken_apart(batch, case) for part in self.parts]
        logits, _ = self.logits(EncodedImages(tuple(features for features, _ in apart)), case)
        return logits, [nets for _, nets in apart]

    def image_net(self) -> ImageInCase:
        """Return the net of a blank image in a case of its own, which shows what methods of heat maps it allows."""
        architecture = architecture_of(self.parts[0].card)
        blank = one_case(np.zeros((1, *self.preparation.input_shape), np.float32), np.zeros(1, np.int64))
        row, net = torch.zeros(1, architecture.n_covariates), self.parts[0]._net.eval()
        return take_apart(net, blank._replace(rows=row).to(next(net.parameters()).device))[1][0]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights of a single net."""
        return {} if self.net is None else weights_of(self.net)

    def probe(self, earlier: Mapping[str, Json]) -> dict[str, Json]:
        """Return the logits of two cases: one has an image of each view, the other a second one of the first view."""
        if self.net is None:
            return {}
        architecture, seed = architecture_of(self.card), cast(int, earlier.get("seed", 0))
        # RandomState's stream is frozen for all time, unlike that of a Generator.
        draw, n_views = np.random.RandomState(seed).standard_normal, len(architecture.views)
        side = [PROBE_SIDE[architecture.dimensions]] * architecture.dimensions
        batch = CaseBatch(
            torch.from_numpy(draw((n_views + 2, architecture.channels, *side))).float(),
            torch.tensor([0] * n_views + [1, 1]),
            torch.tensor([*range(n_views), 0, 0]),
            torch.from_numpy(draw((2, architecture.n_covariates))).float(),
        )
        with torch.inference_mode():
            logits = self.net.eval()(batch.to(next(self.net.parameters()).device))
        return {"seed": seed, "logits": [float(value) for value in logits.flatten()]}

    def folders(self) -> Mapping[str, Predictor]:
        """Return the members, or the table's model, each in its folder."""
        if self.table is not None:
            return {TABLE: self.table}
        return dict(zip(self.card.members, self.members, strict=True))

    @property
    def _net(self) -> FocusNet:
        assert self.net is not None, "members answer for the whole"
        return self.net

    @property
    def _backbone(self) -> CaseBackbone:
        return backbone_of(self._net)

    def _look(self, batch: CaseBatch) -> tuple[np.ndarray, np.ndarray]:
        backbone = self._backbone.eval()
        with torch.inference_mode():
            features, attention = backbone.encode(batch.to(next(backbone.parameters()).device))
        return features.cpu().numpy(), attention.cpu().numpy()

    def _parts(self) -> dict[str, slice]:
        """Return where the features of each view stand."""
        width = self._backbone.n_features + 1
        return {view: slice(k * width, (k + 1) * width) for k, view in enumerate(self.views)}

    def _answer(self, features: np.ndarray, cohort: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        if self.table is not None:
            of_table, flags = self.table.logits(EncodedImages((features,)), cohort)
            return self._stacked(self._logits(features, np.empty((len(features), 0))), of_table), flags
        table = self._encoded_table(cohort)
        if table is None:
            return self._logits(features, np.empty((len(features), 0))), None
        return self._logits(features, table.values), table.flags

    def _encoded_table(self, cohort: Cohort) -> EncodedTable | None:
        """Return the covariates of a cohort; None of a model that takes none."""
        return Covariates.from_list(self.card.covariates).encode(cohort) if self.card.covariates else None

    def _taken_apart(self, case: CaseBatch, cohort: Cohort) -> tuple[np.ndarray, list[ImageInCase]]:
        net = self._net.eval()
        table = None if self.table is not None else self._encoded_table(cohort)
        rows = case.rows if table is None else torch.from_numpy(table.values)
        features, nets = take_apart(net, case._replace(rows=rows).to(next(net.parameters()).device))
        return features.cpu().numpy(), nets

    def _logits(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        net = self._net.eval()
        device = next(net.parameters()).device
        sides = (torch.from_numpy(np.ascontiguousarray(side)).float().to(device) for side in (features, rows))
        with torch.inference_mode():
            logits = net.classify(self._backbone.fused(*sides))
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


def _merged_flags(flags: Sequence[tuple[Flags, ...]]) -> tuple[Flags, ...]:
    return tuple(map(said_by_models, zip(*flags, strict=True)))


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


def mean_of_cases(models: Sequence[CaseModel], made_of: str) -> CaseModel:
    """Return the model that averages the answers of several of one task; not calibrated yet."""
    if len({architecture_of(model.card).views for model in models}) > 1:
        raise InputError("the train parts do not have the same views, so that their models have no mean.")
    return CaseModel(mean_card([model.card for model in models], made_of), None, None, tuple(models))


def cases_from(card: ModelCard, arrays: Mapping[str, np.ndarray], folders: Mapping[str, Predictor]) -> CaseModel:
    """Return the model that a folder holds, on the processor.

    Raises
    ------
    InputError, ModelError
        If there is no such net, or the weights are those of another.
    """
    if card.members:
        return CaseModel(card, None, None, tuple(_member(name, folders[name]) for name in card.members))
    net = build_case_net(architecture_of(card))
    fill_net(net, arrays)
    table = folders.get(TABLE)
    if table is not None and not isinstance(table, RowModel):
        raise ModelError(f"{TABLE} holds another kind of model than one of tables.")
    return CaseModel(card, net, table)


def _member(name: str, member: Predictor) -> CaseModel:
    if not isinstance(member, CaseModel) or member.members:
        raise ModelError(f"{name} is of another kind, or has members of its own; a member is a single model.")
    return member
