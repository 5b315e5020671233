"""Predictions: one row per image, raw logits beside calibrated probabilities, as a value and as a table of ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.basics import InputError, as_numbers, read_table, write_table
from focusmap.study import Flags, Target, Task, flags_in_words

if TYPE_CHECKING:
    from focusmap.evaluation.answers import Answer

NOTICE = "For research use; not a medical device; intended use: (to be filled in)."
SMALLEST = 1e-12  # probabilities of 0 and 1 have no finite logit
ID_COLUMNS = ("image_id", "path", "patient_id", "case_id")
FLAGS = "flags"
"""Column of what is to be known of a row: what is unlike train, which baseline value or image is missing."""


@dataclass(frozen=True)
class Predictions:
    """What a model said of N images.

    Parameters
    ----------
    task
        Names and order of the columns.
    ids
        ``image_id``, ``path``, ``patient_id`` and, where there are cases, ``case_id``; of predictions read from a file
        with a column ``flags`` its text, which nobody counts by kind. N rows.
    logits, probabilities
        ``(N, L)``; probabilities are calibrated; a continuous target's column is its value in both, NaN where the
        baseline value that a change is added to is not known.
    flags
        What is to be known of each of the N rows; None where nobody looked, or where `ids` has the text.
    answers
        What is answered of each of the N rows, a target after the other; None where nobody was asked.
    """

    task: Task
    ids: pd.DataFrame
    logits: np.ndarray
    probabilities: np.ndarray
    flags: tuple[Flags, ...] | None = None
    answers: "tuple[tuple[Answer, ...], ...] | None" = None

    def __post_init__(self) -> None:
        expected = (len(self.ids), self.task.n_logits)
        assert self.logits.shape == self.probabilities.shape == expected, (self.logits.shape, expected)
        assert self.flags is None or (len(self.flags) == len(self.ids) and FLAGS not in self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, name: str) -> np.ndarray:
        """Return the ``(N, n)`` probabilities of the target called `name`."""
        return self.probabilities[:, self.task.slice_of(name)]

    def to_table(self) -> pd.DataFrame:
        """Return the table that is written: ids, flags, each target's columns, and what they are not for."""
        table = self.ids.reset_index(drop=True).copy()
        if self.flags is not None:
            table[FLAGS] = [flags_in_words(flags) for flags in self.flags]
        for position, target in enumerate(self.task.targets):
            part = self.task.slice_of(target.name)
            for name, column in _columns(target, self.logits[:, part], self.probabilities[:, part]).items():
                table[name] = column
            if self.answers is not None:
                table[f"{target.name}.answer"] = [row[position].answer for row in self.answers]
                table[f"{target.name}.set"] = ["|".join(row[position].members) for row in self.answers]
        return table.assign(notice=NOTICE)

    def rows(self, image_ids: Sequence[str]) -> np.ndarray:
        """Return the positions ``(M,)`` of the images named."""
        positions = {image_id: row for row, image_id in enumerate(self.ids["image_id"])}
        return np.array([positions[image_id] for image_id in image_ids], dtype=np.intp)


def of_images(predictions: Predictions, image_ids: Sequence[str]) -> Predictions:
    """Return the predictions of the images named, in that order."""
    rows = predictions.rows(image_ids)
    ids = predictions.ids.iloc[rows].reset_index(drop=True)
    flags = None if predictions.flags is None else tuple(predictions.flags[row] for row in rows)
    return Predictions(predictions.task, ids, predictions.logits[rows], predictions.probabilities[rows], flags)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return predictions that were read from several files, of one task, as one; in their order."""
    assert all(part.flags is None for part in parts), "flags that were read stand among the ids"
    ids = pd.concat([part.ids for part in parts], ignore_index=True)
    logits = np.concatenate([part.logits for part in parts])
    return Predictions(parts[0].task, ids, logits, np.concatenate([part.probabilities for part in parts]))


def of_targets(predictions: Predictions, names: Sequence[str]) -> Predictions:
    """Return the predictions of the targets named, in that order."""
    task = Task(tuple(predictions.task.target(name) for name in names))
    columns = np.concatenate([np.arange(predictions.task.n_logits)[predictions.task.slice_of(name)] for name in names])
    logits, probabilities = predictions.logits[:, columns], predictions.probabilities[:, columns]
    return replace(predictions, task=task, logits=logits, probabilities=probabilities)


def from_probabilities(task: Task, ids: pd.DataFrame, probabilities: np.ndarray) -> Predictions:
    """Return predictions with logits that lead back to `probabilities` ``(N, L)``; those of 0 and 1 stay finite."""
    safe = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    logits = np.array(probabilities, dtype=np.float64)
    for target in task.targets:
        part = task.slice_of(target.name)
        if target.kind == "binary":
            logits[:, part] = np.log(safe[:, part]) - np.log1p(-safe[:, part])
        elif not target.is_number:
            logits[:, part] = np.log(safe[:, part])
    return Predictions(task, ids, logits, probabilities)


def _columns(target: Target, logits: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    if target.is_number:
        return {target.name: probabilities[:, 0]}
    columns: dict[str, np.ndarray] = {}
    if target.kind != "binary":
        columns[target.name] = np.array(target.classes)[probabilities.argmax(axis=1)]
    for i, label in enumerate(target.label_names):
        columns[label] = probabilities[:, i]
        columns[f"{label}.logit"] = logits[:, i]
    return columns


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the table as CSV; numbers keep all their digits."""
    write_table(path, predictions.to_table(), sealed=True)


def read_predictions(path: Path, task: Task) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, a column is missing, or a cell is not a number.
    """
    table = read_table(path)
    ids = table[[name for name in (*ID_COLUMNS, FLAGS) if name in table]]
    probabilities, logits = [], []
    for target in task.targets:
        for label in target.label_names:
            probabilities.append(_numbers(table, label, path, target))
            raw = label if target.is_number else f"{label}.logit"
            logits.append(_numbers(table, raw, path, target))
    return Predictions(task, ids, np.stack(logits, axis=1), np.stack(probabilities, axis=1))


def _numbers(table: pd.DataFrame, name: str, path: Path, target: Target) -> np.ndarray:
    if name not in table:
        raise InputError(f"{path}: has no column {name!r}. Make the predictions again with this model.")
    values = as_numbers(table[name])
    # Without the baseline value nobody can say what its change leads to.
    wrong = np.isnan(values) & ~((table[name] == "") & bool(target.baseline)).to_numpy(dtype=bool)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{path} row {row + 2}: {name} {table[name].iloc[row]!r} is not a number.")
    return values
