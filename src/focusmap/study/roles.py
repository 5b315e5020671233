"""Which column of a table says what: the one rule, for training and for whatever is asked of the model afterwards."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.basics import IMAGE_SUFFIX, InputError, suggest
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
NAMES_WHO = frozenset(
    [
        "patientid", "patient", "patients", "subjectid", "subject", "pid", "mrn", "participantid", "participant",
        "personid", "person", "patientno", "patientnr", "patientnum", "patientnumber", "patientcode", "patientkey",
        "patientindex", "patid", "ptid", "patno", "subjectno", "subjectnumber", "subjid", "medicalrecordnumber",
        "patientennummer", "patientennr", "patientenid", "patnr", "patienten", "idpatient", "numéropatient", "ipp",
        "paciente", "idpaciente", "paziente", "idpaziente", "pacjent", "رقمالمريض", "المريض", "患者番号", "환자번호",
        "病人", "患者", "病人id", "患者id", "病人编号", "患者编号", "病历号", "住院号", "门诊号", "影像号",
    ]
)  # fmt: skip
"""What columns that say who the patient is are called, as `_compared` has it."""
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
        If a column that the user names is not there, or is to say who the patients are and is empty throughout; if
        nobody says which of two columns names the patients, and one joins whom the other parts.

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
        patient = _names_patients(table, (known.patient, *PATIENT_COLUMNS, *_columns_like(table, PATIENT_COLUMNS)))
        if patient is not None and patient != known.patient:
            _refuse_finer(table, patient)
    looks = own is None or own.path_column is not None
    return Roles(
        path=first_filled(table, (known.path, *PATH_COLUMNS, *_paths_like(table))) if looks else None,
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


def patient_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that are called as ones that say who the patient is, empty or not, in table order."""
    return [str(name) for name in table if _compared(str(name)) in NAMES_WHO]


def _refuse_finer(table: pd.DataFrame, taken: str) -> None:
    """Raise `InputError` where another column that names patients joins rows that the one taken parts."""
    own = table[taken].str.strip()
    for other in patient_columns(table):
        if other == taken:
            continue
        cells = table[other].str.strip()
        known = ~cells.map({text: names_nobody(str(text)) for text in cells.unique()})
        n_joined = own[known].groupby(cells[known]).nunique()
        wider = n_joined[n_joined > 1]
        if len(wider):
            rows = np.flatnonzero(cells == wider.index[0])
            apart = rows[(own.iloc[rows] != own.iloc[rows[0]]).to_numpy()][0]
            raise InputError(
                f"two columns say who the patient is, {other!r} and {taken!r}, and disagree: rows {rows[0] + 2} and "
                f"{apart + 2} are of one patient by {other} and of two by {taken} ({len(wider)} such patients). Say "
                f"which counts: --patient {_quoted(other)} or --patient {_quoted(taken)}."
            )


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _compared(name: str) -> str:
    """Return a column's name as it is compared: small letters, without signs and what pandas puts behind twins.

    >>> _compared("Patient_ID"), _compared("PatientID.1"), _compared("patient id_x")
    ('patientid', 'patientid', 'patientid')
    """
    return re.sub(r"[\W_]+", "", re.sub(r"(?:\.\d+|_[xy])$", "", name.casefold()))


def _columns_like(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns whose names are among the usual ones but for capitals and signs, in the order of these."""
    usual = [_compared(name) for name in names]
    return sorted(
        (str(name) for name in table if _compared(str(name)) in usual), key=lambda x: usual.index(_compared(x))
    )


def _paths_like(table: pd.DataFrame) -> list[str]:
    """Return the columns of names of images that are called as those of paths are, but for capitals and signs."""
    names = _columns_like(table, PATH_COLUMNS)
    return columns_of_images(table[names]) if names else []


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
    columns = []
    for name in table:
        cells = table[name].str.strip()
        if not str(name).startswith("mask_") and cells[cells != ""].str.contains(IMAGE_SUFFIX).mean() > 0.5:
            columns.append(str(name))
    return columns


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
