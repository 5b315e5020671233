"""Who stands in a table: patients and images, whatever else it holds. It may have no labels and no images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.errors import InputError
from focusmap.study.cohort import Cohort, read_columns
from focusmap.study.ids import normal_id, refuse_missing, refuse_nobody, relative_path
from focusmap.study.options import Declaration
from focusmap.study.roles import find_roles
from focusmap.study.study import Study


@dataclass(frozen=True)
class Roster:
    """The rows of a table, to be compared with those of another.

    Parameters
    ----------
    file
        The table.
    image_ids
        One per row.
    patients, files
        Patient and image of each row; None where the table does not say.
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


def read_roster(file: Path, own: Study, images: Path | None = None) -> Roster:
    """Return the roster of a table whose columns have the roles that `find_roles` gives them beside a study.

    Parameters
    ----------
    file
        The table, with a header.
    own
        The study that the table is held against.
    images
        Folder to which its paths are relative; by default its own.

    Raises
    ------
    MissingFileError, InputError
        If the table or an image is missing, a path is not relative, or a patient is empty.
    """
    cells = read_columns(file).apply(lambda column: column.str.strip())
    roles, folder = find_roles(cells, Declaration(), own), images or file.parent
    rows = pd.Series(np.arange(2, len(cells) + 2))
    paths, patients = None, None
    try:
        if roles.path is not None:
            paths = [relative_path(cell, row) for cell, row in zip(cells[roles.path], rows, strict=True)]
        if roles.patient is not None:
            refuse_nobody(cells[roles.patient], roles.patient)
            patients = tuple(map(normal_id if own.same_patient else str, cells[roles.patient]))
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    if paths is not None:
        refuse_missing(file, folder, pd.DataFrame({"row": rows, "path": paths}), "path")
    named = cells[roles.image_id] if roles.image_id else paths or [f"row{row}" for row in rows]
    files = None if paths is None else tuple(folder / name for name in paths)
    return Roster(file, tuple(map(str, named)), patients, files)
