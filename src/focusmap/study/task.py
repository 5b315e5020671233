"""What is predicted: targets, their kinds and classes, and the one order in which their logits stand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

import numpy as np
import pandas as pd

from focusmap.basics import InputError, Json, suggest
from focusmap.study.measurements import of_limits, read_numbers
from focusmap.study.values import alike, means_empty, no_number, plain, words_of

TargetKind = Literal["binary", "multiclass", "ordinal", "continuous"]
TARGET_KINDS: tuple[TargetKind, ...] = get_args(TargetKind)
OPTIONAL = ("earlier", "decimal", "unit")
# The probability from which on a binary target is called positive where no operating point was chosen.
DEFAULT_THRESHOLD = 0.5
# Between the classes that are the negative one together.
JOIN = "|"


@dataclass(frozen=True)
class Target:
    """One thing that is predicted.

    Parameters
    ----------
    name
        The column of the label file.
    kind
        ``binary``, ``multiclass``, ``ordinal`` or ``continuous``.
    classes
        The values as the label file writes them. Binary: (negative, positive); of one class against the rest the
        negative ones are joined by ``|``. Multiclass and ordinal:
        every class, in the order of the logits. Continuous: empty.
    baseline
        Of a continuous target whose change is learnt (delta): the column of its baseline value, to which a predicted
        change is added. Empty where the value itself is learnt. Two models of one value can be compared however it
        was learnt, so that this makes no difference between targets.
    decimal, unit
        Of a continuous target: what a comma before three digits is, ``comma`` or ``point``, where the cells leave it
        open; and the unit that the cells name. Empty where there is nothing to say.
    """

    name: str
    kind: TargetKind = "binary"
    classes: tuple[str, ...] = ()
    baseline: str = field(default="", compare=False)
    decimal: str = field(default="", compare=False)
    unit: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.kind not in TARGET_KINDS:
            raise InputError(f"target {self.name!r}: kind {self.kind!r} is not one of {', '.join(TARGET_KINDS)}.")
        if self.kind == "binary" and not self.classes:
            object.__setattr__(self, "classes", ("0", "1"))
        if self.has_logit_per_class and len(self.classes) < 2:
            raise InputError(f"target {self.name!r}: a {self.kind} target needs two classes or more.")
        if self.baseline and not self.is_number:
            raise InputError(f"target {self.name!r}: a change is one of numbers; a {self.kind} target has none.")

    @property
    def positive(self) -> str:
        """The positive class of a binary target, as the label file writes it."""
        return self.classes[1]

    @property
    def is_number(self) -> bool:
        """Whether it is a number rather than one of classes."""
        return self.kind == "continuous"

    @property
    def has_logit_per_class(self) -> bool:
        """Whether every class has a logit of its own: of several classes exactly one is true."""
        return self.kind in ("multiclass", "ordinal")

    @property
    def label_names(self) -> tuple[str, ...]:
        """One name for each logit.

        >>> Target("Effusion").label_names
        ('Effusion',)
        >>> Target("label", "multiclass", ("benign", "malignant")).label_names
        ('label=benign', 'label=malignant')
        """
        return tuple(f"{self.name}={name}" for name in self.classes) if self.has_logit_per_class else (self.name,)

    @property
    def n_logits(self) -> int:
        """Number of logits: one for binary and continuous, one per class otherwise."""
        return len(self.label_names)

    @property
    def coded(self) -> "Target":
        """This target as a cohort's table writes it: a binary one as 0, 1 and fractions, whatever its classes are."""
        return replace(self, classes=()) if self.kind == "binary" else self

    def encode(self, cells: Sequence[str]) -> np.ndarray:
        """Return the cells as ``(N,) float64``: 0 to 1, class index, or value; NaN where empty (unknown).

        Raises
        ------
        InputError
            If a cell is neither a class of this target nor, where numbers are meant, a number.
            The message starts with the position of the cell, counted from 0.
        """
        codes, texts = pd.factorize(np.array([cell.strip() for cell in cells], dtype=object))
        try:
            return np.asarray(self._read([str(text) for text in texts])[codes])
        except CellError as error:
            raise CellError(int((codes == error.position).argmax()), str(error)) from None

    def _read(self, texts: Sequence[str]) -> np.ndarray:
        """Return what each of the different texts of a column means, ``(n,) float64``."""
        own = {name: float(i) for i, joined in enumerate(self.classes) for name in self._parts(joined)}
        near = alike(tuple(own))
        words, is_empty = words_of(self.classes, texts), no_number if self.is_number else means_empty
        values = np.full(len(texts), np.nan)
        open_ = []
        for place, text in enumerate(texts):
            name = text if text in own else near.get(plain(text), "")
            if name:
                values[place] = own[name]
            elif text in words:
                values[place] = words[text]
            elif text and not is_empty(text):
                open_.append(place)
        if open_ and self.has_logit_per_class:
            cell, known = texts[open_[0]], ", ".join(self.classes)
            raise CellError(open_[0], f"{self.name} {cell!r} is not one of {known}.{suggest(cell, self.classes)}")
        values[open_] = self._numbers([texts[place] for place in open_], open_)
        return values

    def _parts(self, name: str) -> list[str]:
        """Return the classes that a class of this target stands for: several, of a binary one against the rest."""
        return [name, *name.split(JOIN)] if self.kind == "binary" and JOIN in name else [name]

    def _numbers(self, texts: Sequence[str], places: Sequence[int]) -> list[float]:
        """Return the numbers that texts are; `CellError` names the place of the first that is none."""
        try:
            numbers = read_numbers(texts, self.decimal, self.unit).values
        except InputError as error:
            place = next((place for place, text in zip(places, texts, strict=True) if repr(text) in str(error)), 0)
            options = f" Say --target {self.name}:decimal=comma or {self.name}:decimal=point."
            raise CellError(place, f"{self.name} {error}{options if ' may be ' in str(error) else ''}") from None
        for place, text in zip(places, texts, strict=True):
            if text not in numbers:
                remedy = of_limits(self.name, text) or f" Not known? --missing {self.name}={text}"
                raise CellError(place, f"{self.name} {text!r} is not a number.{remedy}")
        return [self._checked(place, text, numbers[text]) for place, text in zip(places, texts, strict=True)]

    def _checked(self, position: int, cell: str, value: float) -> float:
        if not np.isfinite(value):
            raise CellError(position, f"{self.name} {cell!r} is not a finite number.")
        if self.kind == "binary":
            if {"0", "1"} != set(self.classes) and str(int(value)) in self.classes and value == int(value):
                return float(self.classes.index(str(int(value))))
            if not 0 <= value <= 1:
                raise CellError(position, f"{self.name} {cell!r} is not 0, 1, a fraction between them, or empty.")
        return value

    def in_words(self, value: float) -> str:
        """Return a known truth value as the label file writes it: a class, or a number.

        >>> Target("label", "binary", ("benign", "malignant")).in_words(1.0), Target("nodule").in_words(0.25)
        ('malignant', '0.25')
        """
        return self.classes[int(value)] if self.classes and value == int(value) else f"{value:g}"

    def decode(self, truth: np.ndarray) -> list[str]:
        """Return the ``(N,)`` truth array as cells of a cohort's table, which `coded` reads; "" where unknown.

        >>> Target("label", "multiclass", ("a", "b")).decode(np.array([1.0, np.nan]))
        ['b', '']
        """
        if self.has_logit_per_class:
            return ["" if np.isnan(v) else self.classes[int(v)] for v in truth]
        return ["" if np.isnan(v) else f"{v:.12g}" for v in truth]


class CellError(InputError):
    """One cell is wrong; the reader of the table adds file and row."""

    def __init__(self, position: int, fact: str) -> None:
        super().__init__(fact)
        self.position = position


@dataclass(frozen=True)
class Task:
    """The targets of a study, in the order that logits and truth arrays follow everywhere.

    ``truth`` arrays are ``(N, T) float64``, one column per target, NaN unknown; ``logits`` and ``probabilities``
    are ``(N, L)``, one column per label name.
    """

    targets: tuple[Target, ...]

    def __post_init__(self) -> None:
        if not self.targets:
            raise InputError("a task needs at least one target.")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"the targets {', '.join(self.names)} are not all different.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.targets)

    @property
    def has_classes(self) -> bool:
        """Whether any target is one of classes."""
        return not all(target.is_number for target in self.targets)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all logits, in order."""
        return tuple(name for target in self.targets for name in target.label_names)

    @property
    def n_logits(self) -> int:
        """Number of logits, L."""
        return len(self.label_names)

    def index(self, name: str) -> int:
        """Return the position of the target called `name`.

        Raises
        ------
        InputError
            If there is none; the message suggests the nearest name.
        """
        if name not in self.names:
            known = ", ".join(self.names)
            raise InputError(f"target {name!r} is not one of {known}.{suggest(name, self.names)}")
        return self.names.index(name)

    def target(self, name: str) -> Target:
        """Return the target called `name`; `InputError` if there is none."""
        return self.targets[self.index(name)]

    def in_units(self, logits: np.ndarray, scales: Mapping[str, Sequence[float]]) -> np.ndarray:
        """Return logits ``(N, L)`` with the columns of continuous targets in the target's own units.

        Parameters
        ----------
        scales
            Mean and deviation that a continuous target was standardised by for training.
        """
        values = np.array(logits, dtype=np.float64)
        for name, (mean, deviation) in scales.items():
            part = self.slice_of(name)
            values[:, part] = values[:, part] * deviation + mean
        return values

    def slice_of(self, name: str) -> slice:
        """Return the columns of the logits that belong to the target called `name`.

        >>> Task((Target("a"), Target("b", "multiclass", ("x", "y", "z")))).slice_of("b")
        slice(1, 4, None)
        """
        position = self.index(name)
        start = sum(target.n_logits for target in self.targets[:position])
        return slice(start, start + self.targets[position].n_logits)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the target columns of a cohort's table as a truth array ``(N, T) float64``, NaN unknown."""
        columns = [target.coded.encode([str(cell) for cell in table[target.name]]) for target in self.targets]
        return np.stack(columns, axis=1) if len(table) else np.empty((0, len(self.targets)))

    def encode_baseline(self, table: pd.DataFrame) -> np.ndarray:
        """Return ``(N, T) float64``: what a predicted change is added to, NaN unknown; 0 where values are learnt.

        `table` has a column ``earlier_TARGET`` for each target whose change is learnt.
        """
        baseline = np.zeros((len(table), len(self.targets)))
        for position, target in enumerate(self.targets):
            if target.baseline:
                baseline[:, position] = target.encode([str(cell) for cell in table[f"earlier_{target.name}"]])
        return baseline

    def label_truth(self, truth: np.ndarray) -> np.ndarray:
        """Return ``(N, L)``: truth per label name, a class index spelt out as 0 and 1; NaN unknown.

        >>> Task((Target("b", "multiclass", ("x", "y")),)).label_truth(np.array([[1.0]]))
        array([[0., 1.]])
        """
        columns = []
        for position, target in enumerate(self.targets):
            column = truth[:, position]
            if target.has_logit_per_class:
                one_hot = (column[:, None] == np.arange(len(target.classes))).astype(np.float64)
                one_hot[np.isnan(column)] = np.nan
                columns.append(one_hot)
            else:
                columns.append(column[:, None])
        return np.concatenate(columns, axis=1)

    def added(self, logits: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return ``(N, L)`` logits with the values ``(N, T)`` added to those of continuous targets.

        >>> Task((Target("a"), Target("v", "continuous"))).added(np.array([[0.5, -1.0]]), np.array([[0.0, 7.0]]))
        array([[0.5, 6. ]])
        """
        total = np.array(logits, dtype=np.float64)
        for position, target in enumerate(self.targets):
            if target.is_number:
                total[:, self.slice_of(target.name)] += values[:, [position]]
        return total

    def decided(self, truth: np.ndarray) -> np.ndarray:
        """Return the truth ``(N, T)`` with every soft binary label decided: 1 from 0.5 on, else 0; NaN stays.

        >>> Task((Target("a"), Target("age", "continuous"))).decided(np.array([[0.6, 0.6], [np.nan, 0.2]]))
        array([[1. , 0.6],
               [nan, 0.2]])
        """
        binary = np.array([target.kind == "binary" for target in self.targets])
        return np.where(binary & ~np.isnan(truth), truth >= 0.5, truth)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return ``(N, L)``: the sigmoid of a binary logit, the softmax within a class list, values as they are."""
        logits = np.asarray(logits, dtype=np.float64)
        columns = [ACTIVATIONS[target.kind](logits[:, self.slice_of(target.name)]) for target in self.targets]
        return np.concatenate(columns, axis=1)

    def to_dict(self) -> list[Json]:
        """Return plain values that `from_dict` reads back equal."""
        values: list[Json] = []
        for target in self.targets:
            written: dict[str, Json] = {"name": target.name, "kind": target.kind, "classes": list(target.classes)}
            optional = {"earlier": target.baseline, "decimal": target.decimal, "unit": target.unit}
            values.append(written | {key: text for key, text in optional.items() if text})
        return values

    @classmethod
    def from_dict(cls, values: Sequence[Json]) -> "Task":
        """Read what `to_dict` gave; `InputError` if a key is missing or of the wrong type."""
        targets = []
        for value in values:
            if not isinstance(value, Mapping) or set(value) - {*OPTIONAL} != {"name", "kind", "classes"}:
                raise InputError(f"a target needs name, kind and classes; found {value!r}.")
            classes = cast(list[Json], value["classes"])
            kind = cast(TargetKind, value["kind"])
            named = tuple(str(name) for name in classes)
            targets.append(Target(str(value["name"]), kind, named, *(str(value.get(key, "")) for key in OPTIONAL)))
        return cls(tuple(targets))


ANOMALY = Target("anomaly", "continuous")
UNLABELLED = Task((ANOMALY,))
"""The task of a study without labels: a score of how unusual each image is, whose truth nobody knows."""


def check_learnable(task: Task, truth: np.ndarray) -> None:
    """Raise `InputError` unless a target has two different known values on train, or images alone are learnt.

    `truth` is that of train, ``(N, T)``.
    """
    if task == UNLABELLED:
        return
    columns = [column[~np.isnan(column)] for column in truth.T]
    if all(len(np.unique(column)) < 2 for column in columns):
        names = ", ".join(task.names)
        raise InputError(f"train: {names} has one known value only; at least two are needed to learn from.")


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(logits))


def _softmax(logits: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return np.asarray(softmax(logits, axis=1))


def _identity(logits: np.ndarray) -> np.ndarray:
    return logits


ACTIVATIONS: dict[TargetKind, Callable[[np.ndarray], np.ndarray]] = {
    "binary": _sigmoid,
    "multiclass": _softmax,
    "ordinal": _softmax,
    "continuous": _identity,
}
