"""Which column of a table says what: the one rule, for training and for whatever is asked of the model afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from focusmap.errors import InputError, suggest
from focusmap.files import IMAGE_SUFFIX
from focusmap.study.ids import names_nobody

if TYPE_CHECKING:
    from focusmap.study.options import Declaration
    from focusmap.study.study import Study

PATH_COLUMNS = ("path", "image", "image_path", "filename", "file", "Image", "Image Index")
PATIENT_COLUMNS = (
    "patient_id", "patientid", "PatientId", "Patient ID", "subject_id", "SubjectID", "PID", "patient",
)  # fmt: skip
SPLIT_COLUMNS = ("split", "partition")
ID_COLUMN, MASK_COLUMN = "image_id", "mask"
NO_PATH = f"has no path column (one of {', '.join(PATH_COLUMNS)})."


@dataclass(frozen=True)
class Roles:
    """The column of each role; None where the table has none."""

    path: str | None = None
    image_id: str | None = None
    patient: str | None = None
    case: str | None = None
    view: str | None = None
    split: str | None = None
    mask: str | None = None


def find_roles(table: pd.DataFrame, declaration: "Declaration", own: "Study | None" = None) -> Roles:
    """Return the column of each role: the one that the user names, else the run's own, else the first usual name.

    An empty column is not the column: the run's own and the usual names count only where a cell is filled.

    Parameters
    ----------
    table
        Every cell as text.
    declaration
        What the user declares.
    own
        The study of the run that is asked about the table; None where the table makes a study. A study without a
        path column looks at no images, one whose images are each their own patient asks for no patients.

    Raises
    ------
    InputError
        If a column that the user names is not there, or is to say who the patients are and is empty throughout.

    >>> from focusmap.study.options import Declaration
    >>> table = pd.DataFrame({"path": [""], "image": ["a.png"], "patient_id": [""], "PID": ["7"]})
    >>> roles = find_roles(table, Declaration())
    >>> roles.path, roles.patient
    ('image', 'PID')
    """
    for column in (declaration.case, declaration.view, declaration.split, declaration.mask):
        require_column(table, column)
    patient, known = declaration.patient, _roles_in(own)
    if patient not in (None, "none"):
        _require_patients(table, str(patient))
    elif patient is None and (own is None or own.patients != "none"):
        patient = _names_patients(table, (known.patient, *PATIENT_COLUMNS))
    looks = own is None or own.path_column is not None
    return Roles(
        path=first_filled(table, (known.path, *PATH_COLUMNS)) if looks else None,
        image_id=first_filled(table, (ID_COLUMN,)),
        patient=None if patient == "none" else patient,
        case=declaration.case or first_filled(table, (known.case,)),
        view=declaration.view or first_filled(table, (known.view,)),
        split=declaration.split or first_filled(table, SPLIT_COLUMNS),
        mask=declaration.mask or first_filled(table, (known.mask, MASK_COLUMN)),
    )


def _roles_in(study: "Study | None") -> Roles:
    if study is None:
        return Roles()
    return Roles(
        path=study.path_column,
        patient=study.patient_column,
        case=study.case_column,
        view=study.view_column,
        mask=study.mask_column,
    )


def first_filled(table: pd.DataFrame, names: Sequence[str | None]) -> str | None:
    """Return the first of the names that the table has a column of, and not one that is empty throughout."""
    return next((name for name in names if name in table and (table[name].str.strip() != "").any()), None)


def _names_patients(table: pd.DataFrame, names: Sequence[str | None]) -> str | None:
    """Return the first of the names that the table has a column of in which anybody is named."""
    columns = [name for name in names if name in table]
    return next((name for name in columns if not all(map(names_nobody, table[name].unique()))), None)


def require_column(table: pd.DataFrame, column: str | None) -> None:
    """Raise `InputError` where the table lacks the column."""
    if column is not None and column not in table:
        known = [str(name) for name in table]
        raise InputError(f"has no column {column!r}.{suggest(column, known)} Columns: {', '.join(known)}.")


def _require_patients(table: pd.DataFrame, column: str) -> None:
    require_column(table, column)
    if _names_patients(table, (column,)) is None:
        raise InputError(f"column {column!r} is empty throughout; it cannot say who the patients are.")


def columns_of_images(table: pd.DataFrame) -> list[str]:
    """Return the columns, other than ``mask_NAME``, most of whose filled cells end like the names of images."""
    found = []
    for name in table:
        cells = table[name].str.strip()
        if not str(name).startswith("mask_") and cells[cells != ""].str.contains(IMAGE_SUFFIX).mean() > 0.5:
            found.append(str(name))
    return found


def call_it_path(columns: Sequence[str]) -> str:
    """Return what to do where columns without a role hold names of images; empty where there is none.

    >>> call_it_path(["file_path"])
    ' Column file_path holds names of images: call it path.'
    """
    if not columns:
        return ""
    if len(columns) == 1:
        return f" Column {columns[0]} holds names of images: call it path."
    return f" Columns {', '.join(columns)} hold names of images: call the one to be looked at path."
