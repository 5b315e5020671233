"""Predictions of any program, read from one table of ``true_NAME`` and ``prob_NAME`` columns."""

from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.errors import InputError, suggest
from focusmap.evaluation.predictions import Predictions, from_probabilities
from focusmap.files import read_table
from focusmap.study.task import Target, Task
from focusmap.tables import as_numbers

TRUE, PROBABILITY = "true_", "prob_"


def read_prediction_table(path: Path) -> tuple[Predictions, np.ndarray]:
    """Return predictions and truth ``(N, T)`` of binary targets from a ``.csv`` or ``.csv.gz`` file.

    Columns: ``true_NAME`` (0, 1, a fraction between, or empty where unknown) and ``prob_NAME`` (0 to 1) for each
    target; ``image_id`` (default: the row of the file), ``path`` and ``patient_id`` where there are any. Other columns
    are ignored.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there or not a table, a column has no partner, a cell is not a number from 0 to 1, or an
        image_id stands twice; the message names file, row and column.
    """
    table = read_table(path)
    names = _target_names(table, path)
    task = Task(tuple(Target(name) for name in names))
    truth = np.stack([_fractions(table, TRUE + name, path, may_be_empty=True) for name in names], axis=1)
    shown = np.stack([_fractions(table, PROBABILITY + name, path, may_be_empty=False) for name in names], axis=1)
    return from_probabilities(task, _ids(table, path), shown), truth


def _target_names(table: pd.DataFrame, path: Path) -> list[str]:
    true = [name.removeprefix(TRUE) for name in table.columns if name.startswith(TRUE)]
    shown = [name.removeprefix(PROBABILITY) for name in table.columns if name.startswith(PROBABILITY)]
    if not true and not shown:
        found = ", ".join(map(str, table.columns[:8]))
        raise InputError(f"{path}: has no columns true_NAME and prob_NAME; found {found}. Rename the columns.")
    for names, others, prefix in [(true, shown, PROBABILITY), (shown, true, TRUE)]:
        for name in names:
            if name not in others:
                known = [prefix + other for other in others]
                hint = suggest(prefix + name, known) or " Add it, or rename its partner."
                raise InputError(f"{path}: column {prefix + name!r} is missing.{hint}")
    return true


def _fractions(table: pd.DataFrame, column: str, path: Path, *, may_be_empty: bool) -> np.ndarray:
    """Return the column ``(N,)``, NaN where empty."""
    cells = table[column].str.strip()
    values = as_numbers(cells)
    empty = (cells == "").to_numpy(dtype=bool)
    wrong = ~((values >= 0) & (values <= 1)) & ~(empty & may_be_empty)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        expected = "0, 1, a fraction between them, or empty" if may_be_empty else "a number from 0 to 1"
        raise InputError(
            f"{path} row {row + 2}: {column} {table[column].iloc[row]!r} is not {expected}"
            f" ({int(wrong.sum())} such cells in this column)."
        )
    return values


def _ids(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    rows = pd.Series([str(row) for row in range(2, len(table) + 2)])
    image_id = table["image_id"].reset_index(drop=True) if "image_id" in table else rows
    ids = pd.DataFrame({"image_id": image_id, "path": table["path"].to_numpy() if "path" in table else image_id})
    _refuse_twice(image_id, path)
    if "patient_id" in table:
        _refuse_empty(table["patient_id"], path)
        ids["patient_id"] = table["patient_id"].to_numpy()
    return ids


def _refuse_twice(image_id: "pd.Series[str]", path: Path) -> None:
    twice = image_id.duplicated().to_numpy(dtype=bool)
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise InputError(f"{path} row {row + 2}: image_id {image_id.iloc[row]!r} stands in an earlier row too.")


def _refuse_empty(patient_id: "pd.Series[str]", path: Path) -> None:
    empty = (patient_id.str.strip() == "").to_numpy(dtype=bool)
    if empty.any():
        row = int(np.flatnonzero(empty)[0])
        raise InputError(f"{path} row {row + 2}: patient_id is empty. Fill it, or take the column out of the table.")
