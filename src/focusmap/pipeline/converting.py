"""Convert: packed data sets, or parts of the pictures of a label file, to images and a label file."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from focusmap.cohort.declaration import PATH_COLUMNS
from focusmap.errors import FocusmapError, InputError
from focusmap.values.crop import part_shares
from focusmap.values.files import read_table
from focusmap.values.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

    from focusmap.imaging.conversion import Conversion
    from focusmap.imaging.packed import Packed


def convert(
    source: Path, out: Path, parts: Sequence[str] = (), *, force: bool = False, progress: Progress = silent
) -> "Conversion":
    """Write the pictures of `source` and their ``labels.csv`` to `out`, and return what was written.

    Parameters
    ----------
    source
        A packed data set (`focusmap.imaging.conversion.PACKINGS`), or, with `parts`, a label file.
    out
        Folder.
    parts
        Names of parts, such as ``left-half``: each picture of the label file becomes one picture a part.
    force
        Replace what is there.
    progress
        Called as the work goes on.

    Raises
    ------
    MissingFileError, InputError
        If the source is missing or of no known kind, or `out` holds files and `force` is not given.
    """
    from focusmap.imaging.conversion import find_packing, write_packed

    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not force):
        raise InputError(f"{out}: holds files already. Choose another --out, or add --force.")
    pictures = unpack_parts(source, parts) if parts else find_packing(source).unpack(source)
    try:
        return write_packed(pictures, out, progress)
    except InputError as error:
        raise error if str(error).startswith(str(source)) else InputError(f"{source}: {error}") from None


def unpack_parts(label_file: Path, parts: Sequence[str]) -> Iterator["Packed"]:
    """Yield each part of each picture of a label file, as a picture of its own.

    Cells: the file's own, ``case`` (the picture that it is a part of) and ``view`` (the part). Masks are cut alike.

    Raises
    ------
    InputError
        If there is no path column, or a column ``case`` or ``view`` already. A picture that cannot be read is a
        `PackedFailure`.
    """
    from focusmap.imaging.packed import PackedFailure

    table = read_table(label_file)
    path_column = next((name for name in PATH_COLUMNS if name in table), None)
    taken = [name for name in ("case", "view") if name in table]
    if path_column is None or taken:
        found = f"has a column {taken[0]!r} already" if taken else f"has none of the columns {', '.join(PATH_COLUMNS)}"
        raise InputError(f"{label_file}: {found}.")
    for name in parts:
        part_shares(name)
    for _, row in table.iterrows():
        try:
            yield from _parts_of(row.rename({path_column: "path"}), label_file.parent, parts)
        except FocusmapError as error:
            yield PackedFailure(str(row[path_column]), str(error))


def _parts_of(row: "pd.Series[str]", folder: Path, parts: Sequence[str]) -> Iterator["Packed"]:
    from focusmap.imaging.crop import shares_box
    from focusmap.imaging.packed import PackedPicture
    from focusmap.imaging.readers import read_image, read_mask

    path = PurePosixPath(row["path"].strip().replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"path {str(path)!r} leaves the label file's folder.")
    image = read_image(folder / path)
    columns = [name for name in map(str, row.index) if name == "mask" or name.startswith("mask_")]
    masks = {name: read_mask(folder / row[name]) for name in columns if row[name]}
    if any(mask.shape != image.source_shape for mask in masks.values()):
        raise InputError("a mask has another size than its picture.")
    kept = {str(name): cell for name, cell in row.items() if name not in ("path", "image_id", *columns)}
    for part in parts:
        slices = shares_box(part_shares(part), image.source_shape).slices
        cells = {**kept, "case": str(row.get("image_id") or path), "view": part}
        cut = {name: mask[slices] for name, mask in masks.items()}
        yield PackedPicture(f"{path.with_suffix('')}.{part}", image.pixels[(slice(None), *slices)], cells, cut)
