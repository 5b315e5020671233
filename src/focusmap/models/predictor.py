"""What every kind of model offers to the rest of the code: a card, and the way from a batch of rows to logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Protocol, TypeVar, cast

import numpy as np

from focusmap import evaluation, heatmaps, images
from focusmap.basics import Json
from focusmap.models.card import ModelCard
from focusmap.study import Batch, Cohort, Flag, Flags, Needs, Task, side_by_side


@dataclass(frozen=True)
class EncodedImages:
    """The features of the images of N rows, before their table is taken into account.

    Parameters
    ----------
    features
        ``(N, F)``: of a model of single images its logits in the targets' own units, of one of cases the pooled
        features of each view. F is 0 of a table alone, and of a mean, whose members have them.
    attention
        ``(P,)``: the weight of each image within its case and view; None without cases.
    views
        Where the features of each view stand.
    members
        Of a mean of models: the features of each.
    """

    features: np.ndarray
    attention: np.ndarray | None = None
    views: Mapping[str, slice] = field(default_factory=dict)
    members: "tuple[EncodedImages, ...]" = ()

    def shuffled(self, order: np.ndarray, view: str | None = None) -> "EncodedImages":
        """Return each row with the features of another, that at `order` ``(N,)``; of one view, or of all images."""
        features, part = self.features.copy(), slice(None) if view is None else self.views.get(view, slice(0))
        features[:, part] = features[order, part]
        members = tuple(member.shuffled(order, view) for member in self.members)
        return replace(self, features=features, members=members)


def one_after_another(parts: Sequence[EncodedImages]) -> EncodedImages:
    """Return the features of the rows of several batches."""
    features = np.concatenate([part.features for part in parts])
    weights = [part.attention for part in parts if part.attention is not None]
    members = tuple(one_after_another(found) for found in zip(*(part.members for part in parts), strict=True))
    return replace(parts[0], features=features, attention=np.concatenate(weights) if weights else None, members=members)


Self = TypeVar("Self", bound="Predictor")


class Predictor(Protocol):
    """A net of images, features of images or a table with estimators, a model of cases, or the mean of several models.

    A prediction takes two steps. `encode` does the expensive work, on the images of a batch; `logits` adds the table's
    covariates and returns the logits. In between, features can be shuffled among rows, which shows their importance.
    """

    @property
    def card(self) -> ModelCard:
        """What the model predicts, from what input, and how its output is read."""

    @property
    def members(self) -> "Sequence[Predictor]":
        """The models whose answers are averaged; none of a single model."""

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""

    @property
    def preparations(self) -> "tuple[images.AnyPreparation, ...]":
        """How images are prepared that it is shown; empty of a model of tables."""

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views of a case; empty where rows are no cases."""

    def batch_size(self, *, stored: bool) -> int:
        """Return how many images it takes at once, from a store or from files."""

    def check(self, rows: Cohort) -> None:
        """Raise `InputError` where rows lack a covariate, or have a view, that the model must know."""

    def encode(self, batch: Batch) -> EncodedImages:
        """Return the features of the images of a batch."""

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return logits ``(N, L)`` of rows whose images it encoded, and flags of what their tables say, if they do.

        A continuous target's column is its value in its own unit; of a change target the change.
        """

    def explainable(self) -> "heatmaps.NetView | None":
        """Return what heat maps need of it; None where there is no net of images."""

    def with_card(self: Self, card: ModelCard) -> Self:
        """Return the same model with another card."""

    def to(self: Self, device: str) -> Self:
        """Return the model, its nets moved to a device."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that was fitted; empty of a model that is made of others."""

    def known_answer(self, earlier: "Mapping[str, Json]") -> "dict[str, Json]":
        """Return ``seed`` and size of generated input, those of an earlier answer if it is given, and its ``logits``.

        What is saved with a model and asked again when it is loaded; empty of one whose members have their own.
        """

    def folders(self) -> "Mapping[str, Predictor]":
        """Return the models that it is made of, by the folder of each below its own."""


def needs_of(model: Predictor) -> Needs:
    """Return what a model needs to know of the rows that it predicts."""
    covariates = (str(cast(dict[str, Json], column)["name"]) for column in model.card.covariates)
    grouped = bool(model.views) and model.card.architecture.get("cases") != "pictures"
    return Needs(model.task, bool(model.preparations), tuple(covariates), model.views, grouped)


class Explainable(Predictor, Protocol):
    """A predictor with heat maps."""

    def explainable(self) -> "heatmaps.NetView":
        """Return what heat maps need of it."""


def answer(model: Predictor, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
    """Return logits ``(N, L)`` of rows whose images a model encoded, and what it flags; None where nobody looked.

    Of a change target the logit is the baseline value and its change; NaN where the baseline value is not known, which
    is flagged where rows are more than single images.
    """
    logits, flags = model.logits(encoded, rows)
    values = model.task.added(logits, rows.baseline)
    if flags is None and (rows.images is None or not np.isnan(rows.baseline).any()):
        return values, None
    return values, side_by_side(flags or [()] * len(rows), unknown_changes(rows))


def unknown_changes(rows: Cohort) -> list[Flags]:
    """Return, for each row, the targets that cannot be predicted since their baseline value is not known."""
    flags = [Flag("unknown", f"{target.baseline} is not known: no {target.name}") for target in rows.task.targets]
    return [tuple(compress(flags, unknown)) for unknown in np.isnan(rows.baseline)]


def calibrated(model: Self, logits: np.ndarray, truth: np.ndarray) -> Self:
    """Return the model with temperatures, then thresholds, fitted to logits ``(N, L)`` and truth ``(N, T)``."""
    temperatures = evaluation.fit_temperatures(model.task, logits, truth)
    probabilities = evaluation.calibrated_probabilities(model.task, logits, temperatures)
    thresholds = evaluation.choose_thresholds(model.task, probabilities, truth, model.card.threshold_for)
    return model.with_card(replace(model.card, temperatures=temperatures, thresholds=thresholds))
