"""What the rows of a label file are called, and where their files lie: ids, paths, patients, cases, views."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from focusmap.errors import SHOWN, InputError, MissingFileError, listed
from focusmap.files import IMAGE_SUFFIX
from focusmap.study.ids import normal_id, refuse_nobody
from focusmap.study.study import Study
from focusmap.study.values import plain


def named_rows(study: Study, raw: pd.DataFrame) -> pd.DataFrame:
    """Return what each row is called: its line, and image, path, patient, case and view as far as there are columns."""
    table = pd.DataFrame({"row": np.arange(2, len(raw) + 2)})
    if study.path_column is not None:
        table["path"] = [
            relative_path(cell, row, case)
            for cell, row, case in zip(raw[study.path_column], table["row"], _cases(study, raw), strict=True)
        ]
    table.insert(1, "image_id", _image_ids(study, raw, table))
    table["patient_id"] = _patients(study, raw, table)
    for role, column in (("case_id", study.case_column), ("view", study.view_column)):
        if column is not None:
            table[role] = raw[column].str.strip()
    return table


def relative_path(cell: str, row: int, case: str = "") -> str:
    """Return the path in a cell; `InputError`, with the case if there is one, if it is empty, absolute, or leaves."""
    text = cell.strip().replace("\\", "/")
    if not text:
        whose = f" (case {case!r} has no image there; leave the row out)" if case else ""
        raise InputError(f"row {row}: the path is empty{whose}.")
    path = PurePosixPath(text)
    if path.is_absolute() or text[1:3] == ":/":
        raise InputError(f"row {row}: path {text!r} is absolute. Write it relative to the folder given by --images.")
    if ".." in path.parts:
        raise InputError(f"row {row}: path {text!r} leaves the images folder. Remove '..' from it.")
    return str(path)


def refuse_repeats(table: pd.DataFrame, names: Sequence[str]) -> None:
    """One image stands in one row; twice with different labels is a contradiction."""
    for key in ("path", "image_id"):
        if key not in table or not table[key].duplicated().any():
            continue
        repeated = table[table[key].duplicated(keep=False)]
        name, rows = next(iter(repeated.groupby(key, sort=False)))
        lines = " and ".join(str(row) for row in rows["row"][:SHOWN])
        if names and len(rows[list(names)].drop_duplicates()) > 1:
            labels = " against ".join(rows[list(names)].drop_duplicates().agg(", ".join, axis=1)[:2])
            raise InputError(f"rows {lines}: the labels of {name} contradict each other ({labels}). Keep one row.")
        others = repeated[key].nunique() - 1
        more = f" ({others} more {key}s repeat)" if others else ""
        raise InputError(f"rows {lines}: duplicate {key} {name!r}{more}. Keep one row an image.")


def refuse_missing(label_file: Path, images: Path, table: pd.DataFrame, column: str) -> None:
    """Raise `MissingFileError` where a file that `column` names (``row`` says where) is not in the folder `images`."""
    missing = [
        (row, path)
        for row, path in zip(table["row"], table[column], strict=True)
        if path and not (images / path).is_file()
    ]
    if missing:
        near = [_near_miss(images, path) for _, path in missing[:SHOWN]] + [""] * len(missing[SHOWN:])
        shown = listed([f"row {row}: {path}{why}" for (row, path), why in zip(missing, near, strict=True)])
        raise MissingFileError(
            f"{label_file}: {len(missing)} of {len(table)} files in column {column!r} are not in {images}: "
            f"{shown}. Say where the images are with --images."
        )


def _near_miss(images: Path, path: str) -> str:
    """Return what is there in the place of a file that is not, as the end of a sentence; empty where nothing is near.

    >>> _near_miss(Path(), ".")
    ' is a folder; name a file in it, or make one of its series with focusmap convert'
    """
    file = images / path
    if file.is_dir():
        return " is a folder; name a file in it, or make one of its series with focusmap convert"
    tail = PurePosixPath(*PurePosixPath(path).parts[1:])
    if tail.name and (images / tail).is_file():
        return f" is not there, but {tail} is: --images names the folder that the paths begin in"
    try:
        names = sorted(entry.name for entry in file.parent.iterdir())
    except OSError:
        return f": there is no folder {file.parent}"
    for name in names:
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", file.name):
            return f" differs in Unicode form (composed and decomposed letters) from {name!r}, which is there"
    for name in names:
        if name.casefold() == file.name.casefold():
            return f" differs in case from {name}, which is there"
    stem = IMAGE_SUFFIX.sub("", file.name)
    for name in names:
        if IMAGE_SUFFIX.search(name) and IMAGE_SUFFIX.sub("", name) in (stem, file.name):
            return f" is not there, but {name} is"
    alike = {plain(IMAGE_SUFFIX.sub("", name)): name for name in names}
    near = alike.get(plain(stem))
    return f" is not there, but {near} is" if near else ""


def _image_ids(study: Study, raw: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    # Of a study without images each row is a case.
    column = study.id_column or (study.case_column if study.path_column is None else None)
    if column is not None:
        ids = raw[column].str.strip()
        if (ids == "").any():
            raise InputError(f"row {int(np.flatnonzero(ids == '')[0]) + 2}: {column} is empty.")
        return list(ids)
    if study.path_column is not None:
        return list(table["path"])
    return [f"row{row}" for row in table["row"]]


def _cases(study: Study, raw: pd.DataFrame) -> "pd.Series[str]":
    return raw[study.case_column].str.strip() if study.case_column else pd.Series([""] * len(raw), dtype=str)


def _patients(study: Study, raw: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    if study.patient_column is None:
        # Where nobody says who the patients are, what belongs to one case still belongs to one of them.
        cases = _cases(study, raw).reset_index(drop=True)
        return cases.where(cases != "", table["image_id"])
    patients = raw[study.patient_column].str.strip()
    refuse_nobody(patients, study.patient_column)
    return patients.map({name: normal_id(name) for name in patients.unique()}) if study.same_patient else patients
