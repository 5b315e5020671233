"""A model's card (`model.json`): everything about a model but its weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TypeGuard, cast

from focusmap.basics import Json, ModelError, read_json, suggest, write_json
from focusmap.evaluation import MapThreshold
from focusmap.study import DEFAULT_THRESHOLD, Task

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
    known_answer
        ``seed`` and ``side`` of a generated input and its ``logits``, which a model that is loaded has to give again.
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
    known_answer: Mapping[str, Json]
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


# By the names of a card's fields: their keys in `model.json`, some of which are older than the names.
KEYS = {item.name: item.name for item in fields(ModelCard)} | {"map_thresholds": "cuts", "known_answer": "probe"}
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
        known_answer={},
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
    known_answer = cast(Mapping[str, Json], values.pop("probe"))
    return ModelCard(task=task, map_thresholds=thresholds, known_answer=known_answer, **values)  # type: ignore[arg-type]


LARGEST_SIDE = 1024


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
        most = LARGEST_SIDE if name == "side" else 2**32 - 1
        if not isinstance(stated, int) or not 0 <= stated <= most:
            raise ModelError(f"{path}: the {name} of its probe is {str(stated)[:20]!r}; 0 to {most} was expected.")


def _is_number(value: Json, least: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < math.inf
