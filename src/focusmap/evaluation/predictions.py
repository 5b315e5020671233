"""Predictions: one row per image, raw logits beside calibrated probabilities, of a model or of any program's table.

Several images of one case, such as the slices of a volume, become one answer and one truth for the case. A table can be
written in the columns that somebody else asks for, such as a challenge's submission file.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.basics import InputError, as_numbers, read_cells, read_table, suggest, write_table
from focusmap.study import Flags, Target, Task, flags_in_words, means_empty, read_columns, shares_in
from focusmap.study.ids import of_nobody, spelled_twice

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


def of_images(predictions: Predictions, image_ids: Sequence[str]) -> Predictions:
    """Return the predictions of the images named, in that order."""
    rows = {image_id: i for i, image_id in enumerate(predictions.ids["image_id"])}
    positions = [rows[image_id] for image_id in image_ids]
    ids = predictions.ids.iloc[positions].reset_index(drop=True)
    flags = None if predictions.flags is None else tuple(predictions.flags[row] for row in positions)
    return Predictions(
        predictions.task, ids, predictions.logits[positions], predictions.probabilities[positions], flags
    )


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


Pool = Callable[[np.ndarray], np.ndarray]
"""From logits ``(n, L)`` of n images to those of their case, ``(L,)``."""


def _attention(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=0))
    return np.asarray((weights * logits).sum(axis=0) / weights.sum(axis=0))


POOLS: dict[str, Pool] = {
    "mean": lambda logits: np.asarray(logits.mean(axis=0)),
    "max": lambda logits: np.asarray(logits.max(axis=0)),
    "attention": _attention,
}
"""``attention`` weighs each image by exp(its logit): between the mean and the max, without anything to be learnt."""


def pool_cases(predictions: Predictions, truth: np.ndarray, how: str) -> tuple[Predictions, np.ndarray]:
    """Return one row per case: its pooled logits with their probabilities, not calibrated, and its truth ``(N, T)``.

    A continuous value is the mean of the images', however the logits are pooled. A case has a binary label if any of
    its images has it; of other targets, its images must say the same.

    Parameters
    ----------
    predictions
        Of images, with their ``case_id``.
    truth
        ``(N, T)`` of the images, NaN unknown.
    how
        A key of `POOLS`.

    Raises
    ------
    InputError
        If there is no such pool, no case is known, or the truths of a case contradict each other.

    >>> import pandas as pd
    >>> from focusmap.study import Target
    >>> ids = pd.DataFrame({"image_id": ["a", "b"], "path": "", "patient_id": "p", "case_id": "v"})
    >>> slices = Predictions(Task((Target("tumour"),)), ids, np.array([[-1.0], [3.0]]), np.array([[0.3], [0.9]]))
    >>> found, truth = pool_cases(slices, np.array([[0.0], [1.0]]), "mean")
    >>> found.logits.tolist(), truth.tolist()
    ([[1.0]], [[1.0]])
    """
    if how not in POOLS:
        raise InputError(f"{how!r} is not one of {', '.join(POOLS)}.{suggest(how, POOLS)}")
    if "case_id" not in predictions.ids:
        raise InputError("the predictions name no cases. Train with --case COL, which says what belongs together.")
    task = predictions.task
    groups = predictions.ids.groupby("case_id", sort=False).indices
    logits = np.stack([_pooled(task, predictions.logits[rows], how) for rows in groups.values()])
    known = np.stack([_truth_of(task, truth[rows], str(case)) for case, rows in groups.items()])
    first = predictions.ids.iloc[[rows[0] for rows in groups.values()]].reset_index(drop=True)
    ids = first.assign(image_id=first["case_id"], path=first["case_id"])
    return Predictions(task, ids, logits, task.probabilities(logits)), known


def _pooled(task: Task, logits: np.ndarray, how: str) -> np.ndarray:
    pooled = POOLS[how](logits)
    for target in task.targets:
        if target.is_number:
            part = task.slice_of(target.name)
            known = logits[~np.isnan(logits[:, part]).any(axis=1), part]
            pooled[part] = known.mean(axis=0) if len(known) else np.nan
    return pooled


def _truth_of(task: Task, truth: np.ndarray, case: str) -> np.ndarray:
    return np.array([_agreed(target, truth[:, k], case) for k, target in enumerate(task.targets)])


def _agreed(target: Target, truth: np.ndarray, case: str) -> float:
    known = truth[~np.isnan(truth)]
    if not len(known):
        return float("nan")
    if target.kind != "binary" and np.ptp(known) > 0:
        raise InputError(f"case {case}: its images differ in {target.name}; a case has one.")
    return float(known.max())


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
