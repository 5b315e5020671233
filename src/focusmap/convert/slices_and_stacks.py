"""The images and volumes of a label file as a packed data set: their parts, volumes as slices, slices as volumes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pandas as pd

from focusmap.basics import FocusmapError, InputError, listed, read_table, suggest
from focusmap.convert.archives import Packed, PackedFailure, PackedImage, PackedVolume
from focusmap.images import Shares, parse_part, read_image, read_mask, refuse_links_out, shares_box, shown_stack
from focusmap.study import PATH_COLUMNS

Row: TypeAlias = Mapping[str, str]
"""The cells of a row of a label file, its path under the name ``path``."""

VOLUME_COLUMNS = ("volume", *PATH_COLUMNS)
SLICE_COLUMNS = ("slice", "position", "index")
UNEVEN = 0.05


@dataclass(frozen=True)
class SliceOptions:
    """How volumes become slices: with which table of labels, and whether neighbours are shown as colours."""

    labels: Path | None = None
    neighbours: bool = False


def unpack_slices(label_file: Path, options: SliceOptions) -> Iterator[Packed]:
    """Yield the slices of each volume of a label file, as images of 8 bits with one grey scale a volume.

    Cells: the file's own, ``case`` (the volume) and ``slice``, its number in the file, from 0. A table of slice labels,
    with a column for the volume's path and one for the slice, adds or replaces cells, and leaves out the slices that
    it does not name; without one, each slice has its volume's label, which is weak. Masks are cut alike.

    Raises
    ------
    InputError
        If a column is missing. A volume that cannot be read is a `PackedFailure`.
    """
    known = None if options.labels is None else _slice_labels(options.labels)
    for row in _rows(label_file, made=("case", "slice")):
        try:
            cells = None if known is None else known.get(str(_path(row["path"])), {})
            yield from _slices_of(row, label_file.parent, cells, neighbours=options.neighbours)
        except FocusmapError as error:
            yield PackedFailure(row["path"], str(error))


def _slices_of(row: Row, folder: Path, known: Mapping[int, Row] | None, *, neighbours: bool) -> Iterator[PackedImage]:
    path = _path(row["path"])
    image = read_image(folder / path)
    if len(image.source_shape) != 3:
        raise InputError(f"{path} is an image; slices are cut of volumes.")
    stack, view = shown_stack(image)
    beyond = [k for k in known or () if not 0 <= k < len(stack)]
    if beyond:
        raise InputError(f"{path} has {len(stack)} slices, from 0; the table names slice {beyond[0]}.")
    masks = {name: view.stack(mask) for name, mask in _masks(row, folder, image.source_shape).items()}
    stem = str(path).removesuffix(".gz").removesuffix(".nii")
    for k in range(len(stack)) if known is None else known:
        cells = {**_cells(row), "case": row.get("image_id") or str(path), "slice": str(k), **(known or {}).get(k, {})}
        marked = {name: mask[k] for name, mask in masks.items() if mask[k].any()}
        around = np.clip([k - 1, k, k + 1], 0, len(stack) - 1) if neighbours else [k]
        yield PackedImage(f"{stem}.{k:04d}", stack[around], cells, marked)


def _slice_labels(file: Path) -> dict[str, dict[int, Row]]:
    """Return by volume and slice the other cells of a table of slice labels."""
    table = read_table(file)
    volume, number = (
        next((name for name in names if name in table), None) for names in (VOLUME_COLUMNS, SLICE_COLUMNS)
    )
    if volume is None or number is None:
        raise InputError(f"{file}: needs a column for the volume ({', '.join(VOLUME_COLUMNS)}) and one for the slice "
                         f"({', '.join(SLICE_COLUMNS)}).")  # fmt: skip
    labels: dict[str, dict[int, Row]] = {}
    for position, row in enumerate(table.to_dict("records")):
        if not str(row[number]).strip().isdecimal():
            raise InputError(f"{file} row {position + 2}: {number} {row[number]!r} is no slice number, from 0.")
        cells = {str(name): str(cell) for name, cell in row.items() if name not in (volume, number)}
        labels.setdefault(str(_path(str(row[volume]))), {})[int(row[number])] = cells
    return labels


def unpack_stacks(label_file: Path, columns: tuple[str, str], spacing: Sequence[float]) -> Iterator[Packed]:
    """Yield a volume for each value of the volume column, its images ordered by the position column.

    Cells: those that are the same in all rows of a volume; of 0/1 labels that differ, 1 where any slice has it. Masks
    are stacked alike. Positions are numbers of any unit; where they are uneven, the volume is a `PackedFailure`.

    Parameters
    ----------
    label_file
        Grey images, one row each.
    columns
        Of volume and position.
    spacing
        mm from column to column, row to row and slice to slice; empty where unknown, and so the volume says.

    Raises
    ------
    InputError
        If a column is missing or a position is no number.
    """
    of_volume, of_position = columns
    rows = list(_rows(label_file))
    for name in columns:
        if rows and name not in rows[0]:
            raise InputError(f"{label_file} has no column {name!r}.{suggest(name, rows[0])}")
    volumes: dict[str, list[Row]] = {}
    for row in rows:
        volumes.setdefault(row[of_volume].strip(), []).append(row)
    for name, members in volumes.items():
        try:
            ordered = _in_order(members, of_position)
            yield _stacked(name, ordered, label_file.parent, spacing)
        except FocusmapError as error:
            yield PackedFailure(name, str(error))


def _in_order(rows: Sequence[Row], column: str) -> list[Row]:
    positions = pd.to_numeric(pd.Series([row[column] for row in rows]), errors="coerce").to_numpy(dtype=np.float64)
    odd = np.flatnonzero(~np.isfinite(positions))
    if len(odd):
        raise InputError(f"{column} {rows[odd[0]][column]!r} of {rows[odd[0]]['path']} is no number.")
    order = np.argsort(positions, kind="stable")
    steps, ordered = np.diff(positions[order]), [rows[i] for i in order]
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    uneven = np.flatnonzero((steps <= 0) | (np.abs(steps - usual) > UNEVEN * usual))
    if len(uneven):
        gaps = [f"{steps[i]:g} between {ordered[i]['path']} and {ordered[i + 1]['path']}" for i in uneven]
        raise InputError(f"its positions are uneven: {listed(gaps, 3)}, where {usual:g} is usual.")
    return ordered


def _stacked(name: str, rows: Sequence[Row], folder: Path, spacing: Sequence[float]) -> PackedVolume:
    planes: list[np.ndarray] = []
    masks: list[dict[str, np.ndarray]] = []
    for row in rows:
        image = read_image(folder / _path(row["path"]))
        if image.n_channels != 1 or len(image.source_shape) != 2:
            raise InputError(f"{row['path']} is no grey image.")
        if planes and image.pixels[0].shape != planes[0].shape:
            raise InputError(f"{row['path']} has {image.source_shape} pixels, and {rows[0]['path']} {planes[0].shape}.")
        planes.append(image.pixels[0])
        masks.append(_masks(row, folder, image.source_shape))
    # Columns, rows, slices; rows run to the back and columns to the patient's left, as a slice is read.
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]) if spacing else None
    empty = np.zeros(planes[0].shape, dtype=bool)
    marked = {
        column: np.stack([mask.get(column, empty).T for mask in masks], axis=-1)
        for column in dict.fromkeys(column for mask in masks for column in mask)
    }
    voxels = np.stack([plane.T for plane in planes], axis=-1)
    return PackedVolume(_file_stem(name), voxels[np.newaxis], affine, _common_cells(rows), marked)


def _file_stem(name: str) -> str:
    return str(_path(name)).removesuffix(".gz").removesuffix(".nii")


def _common_cells(rows: Sequence[Row]) -> dict[str, str]:
    """Return the cells in which all rows agree, and of 0/1 columns that differ whether any row has 1."""
    common = {}
    for name in _cells(rows[0]):
        cells = {row[name].strip() for row in rows}
        if len(cells) == 1:
            common[name] = cells.pop()
        elif cells <= {"0", "1", ""}:
            common[name] = "1" if "1" in cells else ""
    return common


def unpack_parts(label_file: Path, parts: Sequence[str]) -> Iterator["Packed"]:
    """Yield each part of each image of a label file, as an image of its own.

    Cells: the file's own, ``view`` (the part, behind the view that the file names) and, where the file has no column
    of that name, ``case`` (the image that it is a part of). Masks are cut alike.

    Raises
    ------
    InputError
        If there is no path column, or two parts have one name. An image that cannot be read is a `PackedFailure`.
    """
    boxes = dict(parse_part(part) for part in parts)
    if len(boxes) < len(parts):
        raise InputError(f"--parts: two of {', '.join(parts)} have one name.")
    for row in _rows(label_file):
        try:
            yield from _parts_of(row, label_file.parent, boxes)
        except FocusmapError as error:
            yield PackedFailure(row["path"], str(error))


def _parts_of(row: Row, folder: Path, boxes: Mapping[str, Shares]) -> Iterator[Packed]:
    path = _path(row["path"])
    image = read_image(folder / path)
    if len(image.source_shape) != 2:
        raise InputError(f"{path} is a volume; parts are cut of images.")
    masks = _masks(row, folder, image.source_shape)
    for part, shares in boxes.items():
        slices = shares_box(shares, image.source_shape).slices
        own, view = _cells(row), f"{row.get('view', '')} {part}".strip()
        cells = {**own, "case": own.get("case") or row.get("image_id") or str(path), "view": view}
        cut = {name: mask[slices] for name, mask in masks.items()}
        yield PackedImage(f"{path.with_suffix('')}.{part}", image.pixels[(slice(None), *slices)], cells, cut)


def refuse_links_of(label_file: Path) -> None:
    """Raise `InputError` where images or masks of a label file are symbolic links out of its folder."""
    for row in _rows(label_file):
        cells = [cell for name, cell in row.items() if cell and (name == "path" or _is_mask(name))]
        # Those that name a place outside are refused where they are read.
        inside = [cell for cell in cells if ".." not in Path(cell).parts]
        refuse_links_out(label_file.parent, inside, follow=False)


def _rows(label_file: Path, made: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a label file; `InputError` if it has no path column, or one that is to be made."""
    table = read_table(label_file)
    path_column = next((name for name in PATH_COLUMNS if name in table), None)
    taken = [name for name in made if name in table]
    if path_column is None or taken:
        fact = f"has a column {taken[0]!r} already" if taken else f"has none of the columns {', '.join(PATH_COLUMNS)}"
        raise InputError(f"{label_file}: {fact}.")
    for row in table.rename(columns={path_column: "path"}).to_dict("records"):
        yield {str(name): str(cell) for name, cell in row.items()}


def _cells(row: Row) -> dict[str, str]:
    """Return the cells that are kept: all but the path, the id and the masks."""
    return {name: cell for name, cell in row.items() if name not in ("path", "image_id") and not _is_mask(name)}


def _is_mask(name: str) -> bool:
    return name == "mask" or name.startswith("mask_")


def _path(text: str) -> PurePosixPath:
    path = PurePosixPath(text.strip().replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"path {str(path)!r} leaves the label file's folder.")
    return path


def _masks(row: Row, folder: Path, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the masks of a row; `InputError` if one has another shape than its image."""
    masks = {name: read_mask(folder / _path(cell)) for name, cell in row.items() if _is_mask(name) and cell}
    if any(mask.shape != shape for mask in masks.values()):
        raise InputError("a mask has another size than its image.")
    return masks
