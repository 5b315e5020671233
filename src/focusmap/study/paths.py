"""Paths in a label file: relative, within the folder of the images, and where one leads nowhere what is near it."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pandas as pd

from focusmap.basics import IMAGE_SUFFIX, IMAGE_SUFFIXES, SHOWN, InputError, MissingFileError, listed
from focusmap.study.values import plain

NONE_THERE = (
    "Say where the images are with --images, or write the names as the files have them: focusmap index FOLDER --out "
    "names.csv lists these."
)
SOME_LACK = "Put the files there, correct the names, or take the rows out of the table."


def may_be_dicom(name: str) -> bool:
    """Return whether a file may be DICOM by its name: by its suffix, or because it has none of another image.

    >>> may_be_dicom("a.dcm"), may_be_dicom("IM0001"), may_be_dicom("1.2.840.113619"), may_be_dicom("a.png")
    (True, True, True, False)
    """
    says_dicom = name.lower().removesuffix(".gz").endswith(IMAGE_SUFFIXES["DICOM"])
    return says_dicom or IMAGE_SUFFIX.search(name) is None


def relative_path(cell: str, row: int, case: str = "") -> str:
    """Return the path in a cell; `InputError`, with the case if there is one, if it is empty, absolute, or leaves."""
    text = cell.strip().replace("\\", "/")
    if quoted := re.fullmatch(r"(['\"])(.+)\1|[“„](.+)[”“]", text):
        text = (quoted[2] or quoted[3]).strip()
    if not text:
        whose = f" (case {case!r} has no image there; leave the row out)" if case else ""
        raise InputError(f"row {row}: the path is empty{whose}.")
    path = PurePosixPath(text)
    if path.is_absolute() or text[1:3] == ":/":
        raise InputError(
            f"row {row}: path {text!r} names a place on one computer (it is absolute). Leave only what comes after the "
            "folder of the images, such as images/1.png, and name that folder with --images."
        )
    if ".." in path.parts:
        raise InputError(f"row {row}: path {text!r} leaves the images folder. Remove '..' from it.")
    return str(path)


def refuse_missing(label_file: Path, images: Path, table: pd.DataFrame, column: str) -> None:
    """Raise `MissingFileError` where a file that `column` names (``row`` says where) is not in the folder `images`."""
    missing = [
        (row, path)
        for row, path in zip(table["row"], table[column], strict=True)
        if path and not _is_there(images / path)
    ]
    if missing:
        near = [_near_miss(images, path) for _, path in missing[:SHOWN]] + [""] * len(missing[SHOWN:])
        rows_and_paths = listed([f"row {row}: {path}{why}" for (row, path), why in zip(missing, near, strict=True)])
        raise MissingFileError(
            f"{label_file}: {len(missing)} of {len(table)} files in column {column!r} are not in {images}: "
            f"{rows_and_paths}. {NONE_THERE if len(missing) == (table[column] != '').sum() else SOME_LACK}"
        )


def _is_there(path: Path, is_so: Callable[[Path], bool] = Path.is_file) -> bool:
    """Return whether there is a file; no name that is longer than the disk allows is one."""
    try:
        return is_so(path)
    except OSError:
        return False


def _near_miss(images: Path, path: str) -> str:
    """Return what is there in the place of a file that is not, as the end of a sentence; empty where nothing is near.

    >>> _near_miss(Path(), ".")
    ' is a folder; name a file in it, or make one of its series with focusmap convert'
    """
    file = images / path
    if _is_there(file, Path.is_dir):
        return " is a folder; name a file in it, or make one of its series with focusmap convert"
    tail = PurePosixPath(*PurePosixPath(path).parts[1:])
    if tail.name and _is_there(images / tail):
        return f" is not there, but {tail} is: --images names the folder that the paths begin in"
    try:
        names = sorted(entry.name for entry in file.parent.iterdir())
    except OSError as error:
        closed = isinstance(error, PermissionError)
        return f": the folder {file.parent} may not be opened" if closed else f": there is no folder {file.parent}"
    for name in names:
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", file.name):
            return f" looks like {name!r}, which is there, but its accents are stored otherwise (Unicode NFC and NFD)"
    if unquote(file.name) in names:
        return f" is not there, but {unquote(file.name)} is"
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
