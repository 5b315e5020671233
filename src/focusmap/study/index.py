"""Images in folders to the rows of a label file: by the folder's name, or by fields in the path."""

import hashlib
import hmac
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pandas as pd

from focusmap.basics import InputError
from focusmap.images import parse_dicom
from focusmap.study.cohort import SPLIT_NAMES
from focusmap.study.ids import names_nobody, normal_id

FIELD = re.compile(r"\{([^{}]*)\}")
IGNORED = "_"
NUMBER = "n"
MASK_NAME = re.compile(r"(?P<image>.+)[_-]mask([_-]?\d+)?", re.IGNORECASE)

Fields: TypeAlias = Mapping[str, str]
Reader: TypeAlias = Callable[[str], Fields | None]


@dataclass(frozen=True)
class Index:
    """The rows of a label file, the images that it leaves out, each with the reason, and the labels without an image.

    `imageless` are rows of the list of labels (its header is row 1).
    """

    table: pd.DataFrame
    left_out: Mapping[str, str]
    imageless: tuple[int, ...] = ()


def index_images(images: Iterable[str], pattern: str | None = None, *, anywhere: bool = False) -> Index:
    """Return a table with ``path``, the fields of each path, and ``mask`` where there are masks.

    Without a pattern the first folder is the ``label``; where it is called train, val, test or the like it is the
    ``split``, and the second one the label. An image called ``NAME_mask`` beside an image ``NAME`` is its mask.

    Parameters
    ----------
    images
        Paths with ``/``, relative to the folder that is indexed.
    pattern
        Such as ``{label}/{patient}_{n}.png``. A field stands for the shortest text without ``/`` that fits, ``{n}``
        for a number, ``{_}`` for what is not kept. A pattern that ends without a suffix fits every kind of image.
    anywhere
        Whether images count, too, that lie in no folder which is named for a label.

    Raises
    ------
    InputError
        If there are no images, none fits, or the pattern cannot be read.

    >>> index_images(["ill/p1_1.png", "well/p2_1.png"], "{label}/{patient}_{n}").table.values.tolist()
    [['ill/p1_1.png', 'ill', 'p1', '1'], ['well/p2_1.png', 'well', 'p2', '1']]
    """
    names = sorted(images)
    if not names:
        raise InputError("holds no images.")
    masks = masks_among(names)
    read = _pattern_reader(pattern) if pattern is not None else _folder_fields
    fields_of = {name: read(name) for name in names if name not in masks}
    fields_of = {
        name: {} if fields is None and anywhere and pattern is None else fields for name, fields in fields_of.items()
    }
    rows = [{"path": name, **fields} for name, fields in fields_of.items() if fields is not None]
    wanted = f"as {pattern!r} says" if pattern is not None else "in a folder that is named for its label"
    if not rows:
        raise InputError(
            f"none of {len(names)} images lies {wanted}; the first is {names[0]!r}. Say what the path means with "
            "--pattern, such as '{label}/{patient}_{n}.png'."
        )
    table = _with_masks(pd.DataFrame(rows).fillna(""), masks)
    listed = {*table["path"], *table.get("mask", ())}
    left_out = {name: f"not {wanted}" for name in names if name not in listed}
    return Index(table, left_out | {name: f"a further mask of {masks[name]}" for name in left_out if name in masks})


def masks_among(names: Sequence[str]) -> dict[str, str]:
    """Return the image of each path that is called as a mask of another.

    >>> masks_among(["a/1.png", "a/1_mask.png", "b_mask.png"])
    {'a/1_mask.png': 'a/1.png'}
    """
    by_stem = {str(PurePosixPath(name).with_suffix("")): name for name in names}
    matches = [(stem, MASK_NAME.fullmatch(stem)) for stem in by_stem]
    pairs = [(stem, match["image"]) for stem, match in matches if match]
    return {by_stem[stem]: by_stem[image] for stem, image in pairs if image in by_stem}


def _with_masks(table: pd.DataFrame, masks: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with each image's first mask, if any has one."""
    first = {image: mask for mask, image in sorted(masks.items(), reverse=True)}
    column = [first.get(path, "") for path in table["path"]]
    return table.assign(mask=column) if any(column) else table


def _folder_fields(name: str) -> Fields | None:
    folders = PurePosixPath(name).parent.parts
    if folders and SPLIT_NAMES.get(folders[0].lower()):
        return {"label": folders[1], "split": folders[0]} if len(folders) > 1 else None
    return {"label": folders[0]} if folders else None


def _pattern_reader(pattern: str) -> Reader:
    """Return what reads the fields of a path, or gives None where it does not fit."""
    fields = FIELD.findall(pattern)
    kept = [field for field in fields if field != IGNORED]
    wrong = next((field for field in kept if not field.isidentifier() or field in ("path", "mask")), None)
    repeated = next((field for field in kept if kept.count(field) > 1), None)
    if not kept or wrong is not None or repeated is not None or set("{}") & set(FIELD.sub("", pattern)):
        what = f"{{{wrong}}} is not a name" if wrong is not None else f"{{{repeated}}} stands twice" if repeated else ""
        what = what or "names in braces were expected"
        raise InputError(f"--pattern {pattern!r}: {what}, such as '{{label}}/{{patient}}_{{n}}.png'.")
    texts = [re.escape(text) for text in FIELD.split(pattern)[::2]]
    groups = [_group(field) for field in fields]
    whole = re.compile("".join(text + group for text, group in zip(texts, [*groups, ""], strict=True)))
    any_suffix = PurePosixPath(pattern).suffix == ""

    def read(name: str) -> Fields | None:
        match = whole.fullmatch(str(PurePosixPath(name).with_suffix("")) if any_suffix else name)
        return match.groupdict() if match else None

    return read


def _group(field: str) -> str:
    text = r"\d+" if field == NUMBER else "[^/]+?"
    return text if field == IGNORED else f"(?P<{field}>{text})"


HEADER_COLUMNS = ("patient_id", "accession", "study_date", "view", "laterality", "modality")
IDENTIFIERS = ("patient_id", "accession")
FORM = "normal form of the id"
# What lies among images in an archive and is none.
NO_IMAGES = ("KO", "PR", "REG", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SR")


def read_headers(root: Path, names: Sequence[str]) -> pd.DataFrame | None:
    """Return `HEADER_COLUMNS` of DICOM files, a row per name, empty where unsaid; None where none is DICOM."""
    headers = [_header(root / name) for name in names]
    return pd.DataFrame(headers, columns=list(HEADER_COLUMNS)) if any(map(any, headers)) else None


def _header(file: Path) -> tuple[str, ...]:
    with file.open("rb") as opened:
        is_dicom = opened.read(132).endswith(b"DICM") or file.suffix.lower() in (".dcm", ".dicom", ".ima")
    if not is_dicom:
        return ("",) * len(HEADER_COLUMNS)
    with warnings.catch_warnings():
        # pydicom quotes the values of odd elements in its warnings, and those may name the patient.
        warnings.simplefilter("ignore")
        try:
            dataset = parse_dicom(file, with_pixels=False)
            values = [str(dataset.get(name) or "").strip() for name in ("PatientID", "AccessionNumber", "StudyDate",
                    "ViewPosition", "ImageLaterality", "Laterality", "Modality")]  # fmt: skip
        # pydicom fails on damaged headers in each of its own ways; the audit tells what cannot be read.
        except Exception:
            return ("",) * len(HEADER_COLUMNS)
    return (*values[:4], values[4] or values[5], values[6])


def join_labels(table: pd.DataFrame, labels: pd.DataFrame) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Return the rows of images that a list of labels knows, with its columns, and its rows that have no image.

    Images are found by ``accession``, else by ``patient_id``.

    Raises
    ------
    InputError
        If the list has neither column, says two things of one of them, or knows no image.
    """
    called = {re.sub(r"[\W_]|number$|no$", "", str(name).casefold()): str(name) for name in labels}
    by, column = next(
        ((name, called[form]) for name in reversed(IDENTIFIERS) if (form := name.replace("_", "")) in called), ("", "")
    )
    if not by:
        raise InputError("has neither a column accession nor patient_id to find its images by.")
    labels = labels.rename(columns={column: by})
    known_forms = {text: "" if names_nobody(text) else normal_id(text) for text in map(str, labels[by].unique())}
    forms = labels[by].map(known_forms)
    known = labels.drop(columns=by).assign(**{FORM: forms})[forms != ""].drop_duplicates()
    if known[FORM].duplicated().any():
        row = int(np.flatnonzero(known[FORM].duplicated())[0])
        raise InputError(f"says two things of one {by} (row {int(known.index[row]) + 2}).")
    own = [name for name in table if name not in labels or name == by]
    images = table[own].assign(**{FORM: [normal_id(str(text)) if text else "" for text in table[by]]})
    joined = images.merge(known, on=FORM, how="inner")
    if not len(joined):
        raise InputError(f"knows none of the images: no {by} of theirs stands in it.")
    imageless = np.flatnonzero(~forms.isin(joined[FORM])) + 2
    return joined.drop(columns=FORM), tuple(imageless.tolist())


def pseudonyms(cells: Iterable[str], key: str, sign: str) -> list[str]:
    """Return what identifiers are called by who does not know the key: the same for the same in their normal form.

    What names nobody is empty.
    """

    def called(cell: str) -> str:
        message = f"{sign} {normal_id(cell)}".encode()
        return sign + hmac.new(key.encode(), message, hashlib.sha256).hexdigest()[:12]

    return ["" if names_nobody(cell) else called(cell) for cell in cells]
