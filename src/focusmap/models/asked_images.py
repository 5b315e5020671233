"""Pictures that a model is asked about: files, folders of them, or the rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from focusmap.errors import InputError, MissingFileError, suggest
from focusmap.files import is_table, read_table
from focusmap.images.read import picture_files
from focusmap.models.asked_rows import study_of
from focusmap.study.cohort import read_earlier
from focusmap.study.declaration import PATH_COLUMNS, PATIENT_COLUMNS, Declaration
from focusmap.study.task import Task


@dataclass(frozen=True)
class Asked:
    """A picture that is asked about: the file, how its row is called, and ``(T,)`` what changes are added to."""

    file: Path
    image_id: str
    path: str
    patient_id: str = ""
    earlier: tuple[float, ...] = ()


def find_pictures(inputs: Sequence[Path], said: Declaration) -> list[Asked]:
    """Return the pictures that `inputs` name: files, folders, or the rows of a table under their own names.

    Raises
    ------
    MissingFileError, InputError
        If an input is not there, a folder holds no picture, or a table has no path column.
    """
    found: list[Asked] = []
    for given in inputs:
        if is_table(given):
            found += _rows_of(given, said)
        elif given.is_dir():
            inside = picture_files(given)
            if not inside:
                raise InputError(f"{given}: holds no picture.")
            found += [Asked(path, str(path), str(path)) for path in inside]
        elif given.is_file():
            found.append(Asked(given, str(given), str(given)))
        else:
            raise MissingFileError(f"{given}: no such file.")
    return found


def with_earlier(
    asked: Sequence[Asked], folder: Path, task: Task, inputs: Sequence[Path], said: Declaration
) -> list[Asked]:
    """Return the pictures with the earlier values that a model of changes adds to its answers.

    Raises
    ------
    InputError
        If there is no label file that has them, or one of them is no number.
    """
    columns = ", ".join(target.earlier for target in task.targets if target.earlier)
    if len(inputs) != 1 or not is_table(inputs[0]):
        raise InputError(f"{folder}: the model tells changes; give one label file with the column(s) {columns}.")
    known = read_earlier(inputs[0], study_of(folder, task, inputs[0], said))
    return [replace(one, earlier=tuple(row)) for one, row in zip(asked, known, strict=True)]


def _rows_of(table_file: Path, said: Declaration) -> list[Asked]:
    table, images = read_table(table_file), said.images or table_file.parent
    column = next((name for name in PATH_COLUMNS if name in table), None)
    if column is None:
        raise InputError(f"{table_file}: has no path column (one of {', '.join(PATH_COLUMNS)}).")
    patient = _patient_column(table_file, table, said)
    rows = []
    for position, row in enumerate(table.to_dict("records")):
        path = str(row[column]).strip()
        if not path:
            raise InputError(f"{table_file} row {position + 2}: the path is empty.")
        rows.append(Asked(images / path, str(row.get("image_id", path)), path, str(row[patient]) if patient else ""))
    return rows


def _patient_column(table_file: Path, table: pd.DataFrame, said: Declaration) -> str | None:
    if said.patient in (None, "none"):
        return None if said.patient else next((name for name in PATIENT_COLUMNS if name in table), None)
    if said.patient not in table:
        raise InputError(f"{table_file} has no column {said.patient!r}.{suggest(said.patient, map(str, table))}")
    return said.patient
