"""Predictions in tables of other programs: read from one, or written in the columns that one asks for.

Such as those of a challenge's submission file.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import InputError, as_numbers, read_cells, read_table, suggest
from focusmap.evaluation.predictions import Predictions, from_probabilities
from focusmap.study import Target, Task, means_empty, read_columns, shares_in
from focusmap.study.ids import of_nobody, spelled_twice

TRUE, PROBABILITY = "true_", "prob_"


def read_prediction_table(path: Path) -> tuple[Predictions, np.ndarray]:
    """Return predictions and truth ``(N, T)`` of binary targets from a ``.csv`` or ``.csv.gz`` file.

    Columns: ``true_NAME`` (0, 1, a fraction between, a word for yes or no, or empty where unknown) and ``prob_NAME``
    (0 to 1) for each target; ``image_id`` (default: the row of the file), ``path`` and ``patient_id`` where there are
    any. Other columns are ignored.

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
    probabilities = np.stack(
        [_fractions(table, PROBABILITY + name, path, may_be_empty=False) for name in names], axis=1
    )
    return from_probabilities(task, _ids(table, path), probabilities), truth


def _target_names(table: pd.DataFrame, path: Path) -> list[str]:
    true = [name.removeprefix(TRUE) for name in table.columns if name.startswith(TRUE)]
    predicted = [name.removeprefix(PROBABILITY) for name in table.columns if name.startswith(PROBABILITY)]
    if not true and not predicted:
        known_columns = ", ".join(map(str, table.columns[:8]))
        raise InputError(f"{path}: has no columns true_NAME and prob_NAME; found {known_columns}. Rename the columns.")
    for names, others, prefix in [(true, predicted, PROBABILITY), (predicted, true, TRUE)]:
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
    if not (empty | ((values >= 0) & (values <= 1))).all():
        values = shares_in(cells, words=may_be_empty)
        empty = np.array([means_empty(cell) for cell in cells])
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
    rows = pd.Series(np.arange(2, len(table) + 2)).astype(str)
    image_id = table["image_id"].reset_index(drop=True) if "image_id" in table else rows
    ids = pd.DataFrame({"image_id": image_id, "path": table["path"].to_numpy() if "path" in table else image_id})
    _refuse_twice(image_id, path)
    if "patient_id" in table:
        _refuse_nobody(table["patient_id"], path)
        # Who is written in two ways counts as one person: intervals become wider by it, never narrower.
        twice = spelled_twice(table["patient_id"].drop_duplicates()).values()
        called = {form: forms[0] for forms in twice for form in forms}
        ids["patient_id"] = table["patient_id"].replace(called).to_numpy()
    return ids


def _refuse_twice(image_id: "pd.Series[str]", path: Path) -> None:
    twice = image_id.duplicated().to_numpy(dtype=bool)
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise InputError(f"{path} row {row + 2}: image_id {image_id.iloc[row]!r} stands in an earlier row too.")


def _refuse_nobody(patient_id: "pd.Series[str]", path: Path) -> None:
    nobody = of_nobody(patient_id.str.strip())
    if nobody.any():
        row = int(np.flatnonzero(nobody)[0])
        cell = patient_id.iloc[row].strip()
        fact = f"{cell!r} names nobody" if cell else "is empty"
        raise InputError(f"{path} row {row + 2}: patient_id {fact}. Fill it, or take the column out of the table.")


def read_template(path: Path) -> list[str]:
    """Return the columns that a template asks for: its header; rows below it are not looked at.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is empty, or names a column twice.
    """
    header = read_cells(path)
    # A header alone is a template too.
    columns = [str(name).strip() for name in (header if header.empty else read_columns(path))]
    if not all(columns) or len(set(columns)) < len(columns):
        raise InputError(f"{path}: a header with the names of different columns was expected.")
    return columns


def fill_template(columns: list[str], predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `columns`: those of the predictions, and beside them those of the table that was asked.

    Names are compared without case, spaces and punctuation, so that ``continue injection`` is ``continue_injection``.

    Parameters
    ----------
    columns
        As `read_template` gives them.
    predictions
        As `Predictions.to_table` gives them, N rows.
    asked
        The table that was asked about, the same rows.

    Raises
    ------
    InputError
        If a column is in neither.

    >>> asked, told = pd.DataFrame({"ID": ["a"]}), pd.DataFrame({"image_id": ["a"], "CST": [251.0]})
    >>> fill_template(["id", "cst"], told, asked).to_dict("records")
    [{'id': 'a', 'cst': 251.0}]
    """
    sources = {_plain(name): column for table in (asked, predictions) for name, column in table.items()}
    missing = [name for name in columns if _plain(name) not in sources]
    if missing:
        known = [str(name) for table in (predictions, asked) for name in table if name != "notice"]
        raise InputError(
            f"the template asks for {', '.join(missing)}, which neither the predictions nor the table has."
            f"{suggest(missing[0], known)} Known: {', '.join(known)}."
        )
    return pd.DataFrame({name: sources[_plain(name)].reset_index(drop=True) for name in columns})


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9=]", "", str(name).lower()) or str(name)
