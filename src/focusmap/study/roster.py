"""Who stands in a table: patients and pictures, whatever else it holds. It may have no labels and no pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.errors import InputError
from focusmap.study.cohort import Cohort, read_columns
from focusmap.study.declaration import PATH_COLUMNS, PATIENT_COLUMNS
from focusmap.study.rows import refuse_missing, relative_path


@dataclass(frozen=True)
class Roster:
    """The rows of a table, to be compared with those of another.

    Parameters
    ----------
    file
        The table.
    image_ids
        One a row.
    patients, files
        Patient and picture of each row; None where the table does not say.
    """

    file: Path
    image_ids: tuple[str, ...]
    patients: tuple[str, ...] | None
    files: tuple[Path, ...] | None


def roster_of(cohort: Cohort) -> Roster:
    """Return the roster of a cohort; its patients only where they are declared."""
    patients = tuple(map(str, cohort.patient_ids)) if cohort.study.patients == "column" else None
    files = tuple(cohort.files) if cohort.has_images else None
    return Roster(cohort.study.label_file, tuple(cohort.image_ids), patients, files)


def read_roster(file: Path, images: Path | None = None, patient: str | None = None) -> Roster:
    """Return the roster of a CSV table.

    Parameters
    ----------
    file
        UTF-8, with a header. Path and patient columns are found as in a label file.
    images
        Folder to which its paths are relative; by default its own.
    patient
        A patient column that comes before the usual ones, where the table has it; ``none``: there is none.

    Raises
    ------
    MissingFileError, InputError
        If the table or a picture is missing, a path is not relative, or a patient is empty.
    """
    cells = read_columns(file).apply(lambda column: column.str.strip())
    path = _first(cells, PATH_COLUMNS)
    who = None if patient == "none" else _first(cells, (*([patient] if patient else []), *PATIENT_COLUMNS))
    rows = pd.Series(np.arange(2, len(cells) + 2))
    try:
        paths = (
            None if path is None else [relative_path(cell, row) for cell, row in zip(cells[path], rows, strict=True)]
        )
        patients = None if who is None else _filled(cells[who], who)
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    folder = images or file.parent
    if paths is not None:
        refuse_missing(file, folder, pd.DataFrame({"row": rows, "path": paths}), "path")
    named = cells["image_id"] if "image_id" in cells else paths or [f"row{row}" for row in rows]
    files = None if paths is None else tuple(folder / name for name in paths)
    return Roster(file, tuple(map(str, named)), patients, files)


def _first(cells: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in cells and (cells[name] != "").any()), None)


def _filled(cells: "pd.Series[str]", name: str) -> tuple[str, ...]:
    if (cells == "").any():
        raise InputError(f"row {int(np.flatnonzero(cells == '')[0]) + 2}: {name} is empty. Fill it in.")
    return tuple(map(str, cells))
