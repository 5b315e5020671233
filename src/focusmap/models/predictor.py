"""What every kind of model offers to the rest of the code: a card, and the way from a batch of rows to logits.

The card (`model.json`) is everything about a model but its weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import compress
from pathlib import Path
from typing import Protocol, TypeGuard, TypeVar, cast

import numpy as np

from focusmap import evaluation, heatmaps, images
from focusmap.basics import Json, ModelError, read_json, suggest, write_json
from focusmap.evaluation import MapThreshold
from focusmap.study import DEFAULT_THRESHOLD, Batch, Cohort, Flag, Flags, Needs, Task, side_by_side

FORMAT = 1


@dataclass(frozen=True)
class ModelCard:
    """What a model predicts, from what input, and how its output is read.

    Parameters
    ----------
    task
        Targets in the order of the logits.
    architecture
        ``model``, ``channels``, ``n_logits`` and, of a focus-map net, ``pooling`` and ``classes``: what
        `focusmap.nets.build` builds from.
    preparation
        The steps from image to input, as `Preparation.to_dict` gives them.
    thresholds
        Operating point of each binary target, on the calibrated probability; chosen on tune.
    threshold_for
        The rule by which thresholds were chosen.
    temperatures
        Divisor of each target's logits; fitted on tune.
    scales
        Mean and standard deviation on train of each continuous target.
    probe
        ``seed`` and ``side`` of a generated input and its expected ``logits``; checked on load.
    versions
        Versions of the libraries that made the model.
    training
        Facts for the reader: weights used as start, epochs, seed, parameters.
    members
        Of an ensemble: the folders of its member models, below the card's own; a single model has none.
    tta
        The views of each image over which answers are averaged; none means the image as it is.
    map_thresholds
        Of each label's focus maps; empty for a net without them.
    covariates
        Of a table model: how each column becomes numbers, as `Covariates.to_list` gives them.
    """

    task: Task
    architecture: Mapping[str, Json]
    preparation: Mapping[str, Json]
    thresholds: Mapping[str, float]
    threshold_for: str
    temperatures: Mapping[str, float]
    scales: Mapping[str, list[float]]
    probe: Mapping[str, Json]
    versions: Mapping[str, str]
    training: Mapping[str, Json]
    members: list[str] = field(default_factory=list)
    tta: list[Json] = field(default_factory=list)
    map_thresholds: Mapping[str, MapThreshold] = field(default_factory=dict)
    covariates: list[Json] = field(default_factory=list)

    def threshold_of(self, target: str) -> float:
        """Return the operating point of a binary target, one half where none was chosen."""
        return self.thresholds.get(target, DEFAULT_THRESHOLD)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `model.json`; what a single model does not need is left out."""
        plain = {key: getattr(self, name) for name, key in KEYS.items()}
        thresholds: dict[str, Json] = {label: one.to_dict() for label, one in self.map_thresholds.items()}
        plain |= {"task": self.task.to_dict(), "cuts": thresholds}
        return {"format": FORMAT, **{name: value for name, value in plain.items() if value or name not in OPTIONAL}}


# By the names of a card's fields: their keys in `model.json`.
KEYS = {item.name: "cuts" if item.name == "map_thresholds" else item.name for item in fields(ModelCard)}
OPTIONAL = tuple(KEYS[item.name] for item in fields(ModelCard) if item.default_factory is not MISSING)


def mean_card(cards: Sequence[ModelCard], made_of: str) -> ModelCard:
    """Return the card of the mean of several models of one task, which is not calibrated yet.

    Parameters
    ----------
    cards
        Of the members; what they agree in is the first's.
    made_of
        For the reader: ``seeds`` or ``folds``.
    """
    n_parameters = sum(cast(int, card.training.get("n_parameters", 0)) for card in cards)
    return replace(
        cards[0],
        members=[f"members/{k}" for k in range(len(cards))],
        training={**cards[0].training, "n_parameters": n_parameters, "ensemble_of": made_of},
        probe={},
        temperatures={},
        thresholds={},
    )


def write_card(card: ModelCard, path: Path) -> None:
    """Write `model.json`."""
    write_json(path, card.to_dict(), sealed=True)


def read_card(path: Path) -> ModelCard:
    """Return the card in `path`.

    Raises
    ------
    ModelError
        If the file was written by a newer focusmap, or has missing or unknown keys.
    """
    values = dict(read_json(path))
    written = values.pop("format", None)
    if not isinstance(written, int):
        raise ModelError(f"{path}: has no 'format' number; it is not a focusmap model.")
    if written > FORMAT:
        raise ModelError(
            f"{path}: was written in format {written}; this focusmap reads up to {FORMAT}. Update focusmap."
        )
    known = [*KEYS.values()]
    for key in values:
        if key not in known:
            raise ModelError(f"{path}: {key!r} is not a key of a model card.{suggest(key, known)}")
    missing = [name for name in known if name not in values and name not in OPTIONAL]
    if missing:
        raise ModelError(f"{path}: lacks {', '.join(missing)}.")
    for name in ("members", "tta", "covariates"):
        if not isinstance(values.get(name, []), list):
            raise ModelError(f"{path}: {name} is {type(values[name]).__name__}; a list was expected.")
    _refuse_implausible(path, values)
    task = Task.from_dict(cast(list[Json], values.pop("task")))
    cuts = cast(Mapping[str, Mapping[str, Json]], values.pop("cuts", {}))
    thresholds = {label: MapThreshold.from_dict(one) for label, one in cuts.items()}
    return ModelCard(task=task, map_thresholds=thresholds, **values)  # type: ignore[arg-type]


LARGEST_PROBE = 1024


def _refuse_implausible(path: Path, values: Mapping[str, Json]) -> None:
    """Raise `ModelError` where a number of a card is none, or none that a training could have written."""
    for key in ("temperatures", "thresholds", "scales", "probe", "architecture", "preparation", "training"):
        if not isinstance(values[key], Mapping):
            raise ModelError(f"{path}: {key} is {type(values[key]).__name__}; names with values were expected.")
    numbers = cast(Mapping[str, Mapping[str, Json]], values)
    for name, value in numbers["temperatures"].items():
        if not _is_number(value, 0.0) or value == 0:
            raise ModelError(
                f"{path}: the temperature of {name} is {str(value)[:20]!r}; a number above 0 was expected."
            )
    for name, value in numbers["thresholds"].items():
        if not _is_number(value, -math.inf):
            raise ModelError(f"{path}: the threshold of {name} is {str(value)[:20]!r}; a number was expected.")
    for name, pair in numbers["scales"].items():
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_number(one, -math.inf) for one in pair):
            raise ModelError(f"{path}: the scale of {name} is {str(pair)[:40]!r}; a mean and a spread were expected.")
    for name in ("side", "seed"):
        stated = numbers["probe"].get(name, 1)
        most = LARGEST_PROBE if name == "side" else 2**32 - 1
        if not isinstance(stated, int) or not 0 <= stated <= most:
            raise ModelError(f"{path}: the {name} of its probe is {str(stated)[:20]!r}; 0 to {most} was expected.")


def _is_number(value: Json, least: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < math.inf


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

    def probe(self, earlier: "Mapping[str, Json]") -> "dict[str, Json]":
        """Return ``seed`` and size of generated input, those of an earlier probe if it is given, and its ``logits``.

        Empty of a model each of whose members has a probe of its own.
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
