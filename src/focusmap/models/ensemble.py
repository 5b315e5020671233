"""Several models as one: of other seeds or folds, and of any kinds, architectures, sizes and preparations.

Members of one kind are averaged in what they answer before any calibration: nets of single images as one net, others
in a `MeanModel`. Members of different kinds do not mean the same by a logit: what is averaged are calibrated logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from focusmap import heatmaps, images, nets
from focusmap.basics import InputError, Json, ModelError
from focusmap.evaluation import divisors
from focusmap.models.card import ModelCard, mean_card
from focusmap.models.predictor import EncodedImages, Predictor
from focusmap.study import MEAN, Batch, Cohort, Flags, Task, parse_model, said_by_models

if TYPE_CHECKING:
    from focusmap.models.net import Model

Kind = Literal["net", "cases", "rows", "mean"]


def kind_of(card: ModelCard) -> Kind:
    """Return what kind of model a card is of; `InputError` if its name is none."""
    name = parse_model(str(card.architecture.get("model")))
    if name.name == MEAN:
        return "mean"
    if name.shown == "table" or name.engine == "estimator":
        return "rows"
    return "cases" if "net" in card.architecture else "net"


@dataclass(frozen=True)
class MeanModel:
    """The mean of the logits of several models; calibrated ones where they differ in kind, architecture or preparation.

    Each member has its own encoding of a table, and its own units, fitted on its own train.

    Parameters
    ----------
    card
        Its calibration is of the mean.
    members
        Calibrated, each on its own.
    """

    card: ModelCard
    members: tuple[Predictor, ...]

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @property
    def preparations(self) -> "tuple[images.AnyPreparation, ...]":
        """Those of all members, each once."""
        return tuple(dict.fromkeys(one for member in self.members for one in member.preparations))

    @property
    def views(self) -> tuple[str, ...]:
        """Those of the members, which have the same."""
        return self.members[0].views

    def batch_size(self, *, stored: bool) -> int:
        """Return how many images all members can be shown at once."""
        return min(member.batch_size(stored=stored) for member in self.members)

    def check(self, rows: Cohort) -> None:
        """Raise `InputError` where rows lack what a member must know."""
        for member in self.members:
            member.check(rows)

    def encode(self, batch: Batch) -> EncodedImages:
        """Return what each member makes of the images of a batch."""
        encoded = tuple(member.encode(batch) for member in self.members)
        weights = [one.attention for one in encoded if one.attention is not None]
        attention = np.mean(weights, axis=0) if weights else None
        return EncodedImages(np.empty((len(batch), 0)), attention, members=encoded)

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return the mean of the members' logits ``(N, L)``, and what they flag."""
        answers = [member.logits(one, rows) for member, one in zip(self.members, encoded.members, strict=True)]
        logits = [
            member_logits / divisors(self.task, member.card.temperatures)
            for member, (member_logits, _) in zip(self._averaged, answers, strict=True)
        ]
        flags = [flag for _, flag in answers if flag is not None]
        merged = tuple(map(said_by_models, zip(*flags, strict=True))) if flags else None
        return np.asarray(np.mean(logits, axis=0)), merged

    def explainable(self) -> "heatmaps.MeanView | None":
        """Return the mean of the members' views; None where a member has none."""
        views = [view for member in self._averaged if (view := member.explainable()) is not None]
        return None if len(views) < len(self.members) else heatmaps.MeanView(self.card, tuple(views))

    @property
    def _averaged(self) -> tuple[Predictor, ...]:
        """The members as they are averaged: those of one kind without their temperatures."""
        if kind_of(self.card) == "mean":
            return self.members
        return tuple(member.with_card(replace(member.card, temperatures={})) for member in self.members)

    def with_card(self, card: ModelCard) -> "MeanModel":
        """Return the same model with another card."""
        return replace(self, card=card)

    def to(self, device: str) -> "MeanModel":
        """Return the model, its members' nets moved to a device."""
        return replace(self, members=tuple(member.to(device) for member in self.members))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return nothing: all that was fitted is the members'."""
        return {}

    def known_answer(self, earlier: Mapping[str, Json]) -> dict[str, Json]:  # noqa: ARG002
        """Return nothing: each member has an answer of its own."""
        return {}

    def folders(self) -> Mapping[str, Predictor]:
        """Return the members, each in its folder."""
        return dict(zip(self.card.members, self.members, strict=True))


def combine(models: Sequence[Predictor], views: "Sequence[nets.View]", made_of: str) -> Predictor:
    """Return the mean of several models of one task; not calibrated yet.

    Of an ensemble among models of one kind and name, the members are taken. Models of different kinds count the same
    each, whatever they are made of.

    Parameters
    ----------
    models
        One or more, calibrated.
    views
        Of each image, shown to each member where all are nets of single images.
    made_of
        For the reader: ``seeds``, ``folds``, or what else.

    Raises
    ------
    InputError
        If the models differ in their targets, or in what they call a row.
    """
    parts = tuple(part for model in models for part in (model.members or (model,)))
    if not _are_alike(parts):
        return _mean_of_kinds(tuple(models), made_of)
    if kind_of(parts[0].card) != "net":
        _refuse_unlike(parts)
        return MeanModel(mean_card([part.card for part in parts], made_of), parts)
    from focusmap.models.net import mean_of_nets

    return mean_of_nets(cast("Sequence[Model]", parts), views, made_of)


def _are_alike(models: Sequence[Predictor]) -> bool:
    """Return whether models of one kind were made by one recipe, but for seed and train."""
    kinds = {kind_of(model.card) for model in models}
    names = {str(model.card.architecture.get("model")) for model in models}
    if len(kinds) > 1 or len(names) > 1 or kinds == {"mean"}:
        return False
    first = models[0].card
    # Members keep no views of their own, so that they must have the same.
    same_input = all((model.card.preparation, model.card.tta) == (first.preparation, first.tta) for model in models)
    return same_input and (kinds != {"net"} or all(model.card.architecture == first.architecture for model in models))


def _refuse_unlike(models: Sequence[Predictor]) -> None:
    """Raise `InputError` where models do not answer the same question."""
    if any(model.task != models[0].task for model in models):
        raise InputError("models of different targets have no mean.")
    if len({model.views for model in models}) > 1:
        raise InputError("models of single images and of cases, or of cases with other views, have no mean.")


def _mean_of_kinds(models: tuple[Predictor, ...], made_of: str) -> MeanModel:
    _refuse_unlike(models)
    covariates = {str(cast(dict[str, Json], one)["name"]): one for model in models for one in model.card.covariates}
    names = [str(model.card.architecture.get("model")) for model in models]
    card = replace(
        mean_card([model.card for model in models], made_of),
        architecture={"model": MEAN, "of": cast(Json, names)},
        preparation=next((model.card.preparation for model in models if model.card.preparation), {}),
        scales={},
        tta=[],
        map_thresholds={},
        covariates=list(covariates.values()),
    )
    return MeanModel(card, models)


def mean_from(card: ModelCard, arrays: Mapping[str, np.ndarray], members: Mapping[str, Predictor]) -> MeanModel:  # noqa: ARG001
    """Return the mean of models that a folder holds; `ModelError` if they do not belong together."""
    if not members or any(member.task != card.task for member in members.values()):
        raise ModelError("a mean needs members, of the same targets. Copy the whole model folder again.")
    kind = kind_of(card)
    for name, member in members.items() if kind != "mean" else ():
        if member.members or kind_of(member.card) != kind:
            raise ModelError(f"{name} is of another kind, or has members of its own; a member is a single model.")
    return MeanModel(card, tuple(members.values()))
