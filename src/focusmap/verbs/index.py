"""Index: a folder of images to a label file."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap import study
from focusmap.basics import InputError, MissingFileError, refuse_existing, refuse_undecodable, write_table, write_text
from focusmap.verbs.requests import IndexRequest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class IndexAnswer:
    """What was written: the label file, the folder that its paths are relative to, its rows, and what is left out."""

    labels: Path
    images: Path
    index: "study.Index"


def index(folder: Path, out: Path, request: IndexRequest = IndexRequest(), *, force: bool = False) -> IndexAnswer:
    """Write a label file for the images in a folder, and return what was written.

    DICOM files say patient, accession number, date of study, view, laterality and modality in their headers; patients
    and accession numbers are pseudonyms, whose key lies beside the label file.

    Paths are relative to the label file's own folder where that holds the images, otherwise to `folder`.

    Parameters
    ----------
    folder
        Searched with all folders in it.
    out
        Label file.
    request
        What paths, headers and a list of labels say of the images.
    force
        Replace `out`.

    Raises
    ------
    MissingFileError, InputError
        If there is no such folder, it holds no images or none that fits, or `out` is there already; if the labels do
        not fit the images.
    """
    from focusmap.images import image_files

    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder.")
    refuse_existing(out, force=force)
    root = folder.resolve()
    names = [path.relative_to(root).as_posix() for path in image_files(root, follow_links=request.follow_links)]
    try:
        refuse_undecodable(names)
        indexed = study.index_images(names, request.pattern, anywhere=request.labels is not None)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    home = out.resolve().parent
    images = home if root.is_relative_to(home) else root
    prefix = "" if root == images else root.relative_to(images).as_posix() + "/"
    table = indexed.table.copy()
    for column in {"path", "mask"} & set(table.columns):
        table[column] = [cell and prefix + cell for cell in table[column]]
    found = _with_headers(table, images, request.labels)
    if not request.identified:
        _hide(found.table, out.with_suffix(".key"))
    write_table(out, found.table, escape=request.escape)
    return IndexAnswer(out, images, replace(found, left_out={**indexed.left_out, **found.left_out}))


def _with_headers(table: "pd.DataFrame", images: Path, labels: Path | None) -> "study.Index":
    """Return the table with what headers and a list of labels say."""
    headers = study.read_headers(images, list(table["path"]))
    if headers is None:
        if labels is not None:
            raise InputError(f"{labels}: --labels is for DICOM files; those here are none.")
        return study.Index(table, {})
    is_image = ~headers["modality"].isin(study.NO_IMAGES)
    new = [str(name) for name in headers if name not in table and (headers[name] != "").any()]
    joined = table.assign(**{name: headers[name] for name in new})[is_image]
    imageless: tuple[int, ...] = ()
    if labels is not None:
        known = joined.drop(columns=[name for name in ("label", "split") if name in joined])
        try:
            joined, imageless = study.join_labels(known, study.read_columns(labels))
        except InputError as error:
            raise InputError(f"{labels}: {error}") from None
    why = "DICOM object of modality " + headers["modality"] + ", no image"
    left = dict(zip(table["path"], why.mask(is_image, f"in no row of {labels and labels.name}"), strict=True))
    kept = set(joined["path"])
    left_out = {path: reason for path, reason in left.items() if path not in kept}
    return study.Index(joined.reset_index(drop=True), left_out, imageless)


def _hide(table: "pd.DataFrame", key: Path) -> None:
    """Put pseudonyms in place of identifiers that come from headers, by a key that is made where there is none."""
    if "modality" not in table:
        return
    if not key.is_file():
        write_text(key, secrets.token_hex(32))
        key.chmod(0o600)
    for name in study.IDENTIFIERS:
        if name in table:
            table[name] = study.pseudonyms(table[name], key.read_text(), name[0].upper())
