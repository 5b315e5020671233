"""A trained model of cases as a value, and as a folder like that of a net of pictures.

Of late fusion the table's model lies in the folder ``table``. Members are asked one by one, each through its own
encoding of the table, and their answers are averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from focusmap.errors import InputError, ModelError
from focusmap.files import Json
from focusmap.heatmaps.net_views import CaseView
from focusmap.images.prepare import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard, read_card, write_card
from focusmap.models.net import CARD, OF_STORE, PROBE_TOLERANCE, WEIGHTS, load_weights, save_weights, shown
from focusmap.models.predictor import Looked
from focusmap.models.rows import RowModel, load_row_model, save_row_model
from focusmap.nets.backbones import PROBE_SIDE
from focusmap.nets.case_pictures import PictureInCase, backbone_of, take_apart
from focusmap.nets.cases import CaseArchitecture, CaseBackbone, CaseBatch, build_case_net
from focusmap.nets.focus_net import FocusNet
from focusmap.nets.table_net import net_answer_from
from focusmap.study.cases import view_numbers
from focusmap.study.cohort import Cohort
from focusmap.study.covariates import Covariates, Encoded
from focusmap.study.flags import Flags, said_by_models
from focusmap.study.samples import Batch, at_once
from focusmap.study.task import Task

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
        Of late fusion: the table's model, asked of the same cases.
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
        """The steps from picture to input."""
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

    def n_images(self, *, stored: bool) -> int:
        """Return how many images are shown at once; of files one case."""
        return at_once(self.preparation.input_shape[1:], OF_STORE) if stored else 1

    def to(self, device: str) -> "CaseModel":
        """Return the model, its nets moved to a device."""
        for part in self.parts:
            assert part.net is not None
            part.net.to(device)
        return self

    def calibrated(self, temperatures: Mapping[str, float], thresholds: Mapping[str, float]) -> "CaseModel":
        """Return the same model with the temperatures and thresholds that were fitted on tune."""
        return replace(self, card=replace(self.card, temperatures=temperatures, thresholds=thresholds))

    def explainable(self) -> CaseView:
        """Return what heat maps need of it."""
        return CaseView(self)

    def look(self, batch: Batch) -> Looked:
        """Return of each member the features of each view, ``(N, V * (K + 1))``: pooled, and its indicator."""
        shown_cases = CaseBatch(
            shown(batch.images(self.preparation)),
            torch.tensor(batch.table["position"].to_numpy(dtype=np.int64)),
            torch.from_numpy(view_numbers(batch.rows, self.views)),
            torch.empty(len(batch), 0),
        )
        found = [part._look(shown_cases) for part in self.parts]
        attention = np.mean([weights for _, weights in found], axis=0)
        return Looked(tuple(features for features, _ in found), attention, tuple(part._parts() for part in self.parts))

    def learnt(self, looked: Looked, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return logits ``(N, L)``, of a change target its change, and what members that take a table flag."""
        found = [part._answer(seen, rows) for part, seen in zip(self.parts, looked.features, strict=True)]
        flags = [said for _, said in found if said is not None]
        return np.mean([logits for logits, _ in found], axis=0), _said_together(flags) if flags else None

    def check(self, cohort: Cohort) -> None:
        """Raise `InputError` if a cohort's cases lack a covariate, or have a view, that the model must know."""
        view_numbers(cohort, self.views)
        for part in self.parts:
            part._encoded(cohort)

    def take_apart(self, pictures: np.ndarray, case: Cohort) -> tuple[np.ndarray, list[list[PictureInCase]]]:
        """Return the logits ``(1, L)`` of one case, of a change its change, and of each part the nets of its images.

        Parameters
        ----------
        pictures
            ``(P, C, *spatial)``, standardised, in the order of `pictures_of`.
        case
            A cohort of one case.
        """
        batch = one_case(pictures, view_numbers(case, self.views))
        apart = [part._taken_apart(batch, case) for part in self.parts]
        logits, _ = self.learnt(Looked(tuple(features for features, _ in apart)), case)
        return logits, [nets for _, nets in apart]

    def picture_net(self) -> PictureInCase:
        """Return the net of a blank picture in a case of its own: whatever methods of heat maps need, it has or not."""
        architecture = architecture_of(self.parts[0].card)
        blank = one_case(np.zeros((1, *self.preparation.input_shape), np.float32), np.zeros(1, np.int64))
        row, net = torch.zeros(1, architecture.n_covariates), self.parts[0]._net.eval()
        return take_apart(net, blank._replace(rows=row).to(next(net.parameters()).device))[1][0]

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
            features, attention = backbone.look(batch.to(next(backbone.parameters()).device))
        return features.cpu().numpy(), attention.cpu().numpy()

    def _parts(self) -> dict[str, slice]:
        """Return where the features of each view stand."""
        width = self._backbone.n_features + 1
        return {view: slice(k * width, (k + 1) * width) for k, view in enumerate(self.views)}

    def _answer(self, features: np.ndarray, cohort: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        if self.table is not None:
            of_table, flags = self.table.learnt(Looked((features,)), cohort)
            return self._stacked(self._logits(features, np.empty((len(features), 0))), of_table), flags
        encoded = self._encoded(cohort)
        if encoded is None:
            return self._logits(features, np.empty((len(features), 0))), None
        return self._logits(features, encoded.values), encoded.flags

    def _encoded(self, cohort: Cohort) -> Encoded | None:
        """Return the covariates of a cohort; None of a model that takes none."""
        return Covariates.from_list(self.card.covariates).encode(cohort) if self.card.covariates else None

    def _taken_apart(self, case: CaseBatch, cohort: Cohort) -> tuple[np.ndarray, list[PictureInCase]]:
        net = self._net.eval()
        encoded = None if self.table is not None else self._encoded(cohort)
        rows = case.rows if encoded is None else torch.from_numpy(encoded.values)
        looked, nets = take_apart(net, case._replace(rows=rows).to(next(net.parameters()).device))
        return looked.cpu().numpy(), nets

    def _logits(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        net = self._net.eval()
        device = next(net.parameters()).device
        sides = (torch.from_numpy(np.ascontiguousarray(side)).float().to(device) for side in (features, rows))
        with torch.inference_mode():
            logits = net.classify(self._backbone.fused(*sides))
        return self.task.in_units(logits.cpu().numpy(), self.card.scales)

    def _stacked(self, of_pictures: np.ndarray, of_table: np.ndarray) -> np.ndarray:
        stack = cast(Mapping[str, Mapping[str, Json]], self.card.architecture["stack"])
        columns = []
        for target in self.task.targets:
            part = self.task.slice_of(target.name)
            both = np.concatenate([of_pictures[:, part], of_table[:, part]], axis=1)
            weights, bias = (np.array(stack[target.name][key], dtype=np.float64) for key in ("weights", "bias"))
            columns.append(both @ weights.T + bias)
        return np.concatenate(columns, axis=1)


def _said_together(flags: Sequence[tuple[Flags, ...]]) -> tuple[Flags, ...]:
    return tuple(map(said_by_models, zip(*flags, strict=True)))


def one_case(pictures: np.ndarray, views: np.ndarray) -> CaseBatch:
    """Return a case of pictures ``(P, C, *spatial)`` with these numbers of views ``(P,)``, and no table."""
    numbers = torch.zeros(len(pictures), dtype=torch.int64)
    return CaseBatch(torch.from_numpy(pictures), numbers, torch.from_numpy(views), torch.empty(1, 0))


def architecture_of(card: ModelCard) -> CaseArchitecture:
    """Return what the net of a card is built from; `ModelError` if the card does not say it."""
    values = card.architecture.get(NET)
    if not isinstance(values, Mapping):
        raise ModelError(f"the architecture names no {NET!r}.")
    return CaseArchitecture.from_dict(values)


def case_mean_of(models: Sequence[CaseModel], made_of: str) -> CaseModel:
    """Return the model that averages the answers of several of one task; not calibrated yet."""
    members = tuple(part for model in models for part in model.parts)
    first = members[0].card
    if any(architecture_of(member.card).views != architecture_of(first).views for member in members):
        raise InputError("the train parts do not have the same views, so that their models have no mean.")
    n_parameters = sum(cast(int, member.card.training.get("n_parameters", 0)) for member in members)
    facts: dict[str, Json] = {**first.training, "n_parameters": n_parameters, "ensemble_of": made_of}
    card = replace(first, members=[f"members/{k}" for k in range(len(members))], training=facts, probe={})
    return CaseModel(card, None, None, members).calibrated({}, {})


def save_case_model(model: CaseModel, folder: Path) -> CaseModel:
    """Write weights or members, and the card, to `folder`; return the model as saved, with the probe's logits."""
    for name, member in zip(model.card.members, model.members, strict=True):
        save_case_model(member, folder / name)
    net = model.net
    if net is not None:
        model = replace(model, card=replace(model.card, probe=_probe(net, architecture_of(model.card))))
        save_weights(net, folder / WEIGHTS)
    if model.table is not None:
        save_row_model(model.table, folder / TABLE)
    write_card(model.card, folder / CARD)
    return model


def load_case_model(folder: Path) -> CaseModel:
    """Return the model in `folder`, on the processor, once its net has given the probe's logits.

    Raises
    ------
    MissingFileError, ModelError
        As `focusmap.models.net.load_model`.
    """
    card = read_card(folder / CARD)
    if card.members:
        return CaseModel(card, None, None, tuple(_load_member(folder, name) for name in card.members))
    try:
        architecture = architecture_of(card)
        net = build_case_net(architecture)
    except ModelError:
        raise
    except InputError as error:
        raise ModelError(f"{folder / CARD}: {error}") from None
    load_weights(net, folder / WEIGHTS)
    _check_probe(net, card, folder)
    table = load_row_model(folder / TABLE, net_answer_from) if "stack" in card.architecture else None
    return CaseModel(card, net, table)


def _load_member(folder: Path, name: str) -> CaseModel:
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / CARD}: the member {name!r} lies outside of the model's folder.")
    member = load_case_model(place)
    if member.members:
        raise ModelError(f"{place}: has members of its own; a member is a single model.")
    return member


def _probe(net: FocusNet, architecture: CaseArchitecture, seed: int = 0) -> dict[str, Json]:
    """Return the logits of two cases: one has a picture of each view, the other a second one of the first view."""
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    draw, n_views = np.random.RandomState(seed).standard_normal, len(architecture.views)
    side = [PROBE_SIDE[architecture.dimensions]] * architecture.dimensions
    sizes = (n_views, 2)
    pictures = draw((sum(sizes), architecture.channels, *side))
    batch = CaseBatch(
        torch.from_numpy(pictures).float(),
        torch.tensor([0] * n_views + [1, 1]),
        torch.tensor([*range(n_views), 0, 0]),
        torch.from_numpy(draw((2, architecture.n_covariates))).float(),
    )
    with torch.inference_mode():
        logits = net.eval()(batch.to(next(net.parameters()).device))
    return {"seed": seed, "logits": [float(value) for value in logits.flatten()]}


def _check_probe(net: FocusNet, card: ModelCard, folder: Path) -> None:
    expected = np.array(card.probe.get("logits"), dtype=np.float64)
    found = np.array(_probe(net, architecture_of(card), cast(int, card.probe.get("seed")))["logits"], dtype=np.float64)
    off = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not off <= PROBE_TOLERANCE * (1 + float(np.abs(expected).max())):
        raise ModelError(
            f"{folder}: the net does not give the logits it was saved with (off by {off:.2g}); weights and card "
            "belong to different models, or a library has changed. Copy the whole model folder again."
        )
