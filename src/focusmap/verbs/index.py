"""Index: a folder of images to a label file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.errors import InputError, MissingFileError
from focusmap.files import refuse_existing, refuse_undecodable, write_table

if TYPE_CHECKING:
    from focusmap.study.index import Index


@dataclass(frozen=True)
class IndexAnswer:
    """What was written: the label file, the folder that its paths are relative to, its rows, and what is left out."""

    labels: Path
    images: Path
    index: "Index"


def index(folder: Path, out: Path, pattern: str | None = None, *, force: bool = False) -> IndexAnswer:
    """Write a label file for the images in a folder, and return what was written.

    Paths are relative to the label file's own folder where that holds the images, otherwise to `folder`.

    Parameters
    ----------
    folder
        Searched with all folders in it.
    out
        Label file.
    pattern
        What the path of an image says, such as ``{label}/{patient}_{n}.png`` (see `focusmap.study.index`).
    force
        Replace `out`.

    Raises
    ------
    MissingFileError, InputError
        If there is no such folder, it holds no images or none that fits, or `out` is there already.
    """
    from focusmap.images.read import image_files
    from focusmap.study.index import Index, index_images

    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder.")
    refuse_existing(out, force=force)
    root = folder.resolve()
    names = [path.relative_to(root).as_posix() for path in image_files(root)]
    try:
        refuse_undecodable(names)
        found = index_images(names, pattern)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    home = out.resolve().parent
    images = home if root.is_relative_to(home) else root
    prefix = "" if root == images else root.relative_to(images).as_posix() + "/"
    table = found.table.copy()
    for column in {"path", "mask"} & set(table.columns):
        table[column] = [cell and prefix + cell for cell in table[column]]
    write_table(out, table)
    return IndexAnswer(out, images, Index(table, found.left_out))
