"""Convert: packed data sets, or the pictures and volumes of a label file, to images and a label file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.errors import InputError, MissingFileError
from focusmap.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from focusmap.convert.conversion import Conversion
    from focusmap.convert.packed import Packed


@dataclass(frozen=True)
class ConvertRequest:
    """What is made of the source, beside unpacking it; at most one of these is asked for.

    Parameters
    ----------
    parts
        Parts, such as ``left-half`` or ``scan=0.1,0.4,0.8,1``: each picture of a label file becomes one picture a part.
    volumes
        Each DICOM series becomes one volume, and not a picture a frame.
    slices
        Each volume of a label file becomes its slices.
    slice_labels
        Table of the labels of single slices, for `slices`; without one, slices have their volume's.
    neighbours
        Show each slice with its neighbours as colours, for nets of pictures that are to see some depth.
    stack
        Columns of a label file that say to which volume, and where in it, each picture belongs.
    spacing
        mm from column to column, row to row and slice to slice of `stack`; empty where unknown.
    """

    parts: tuple[str, ...] = ()
    volumes: bool = False
    slices: bool = False
    slice_labels: Path | None = None
    neighbours: bool = False
    stack: tuple[str, ...] = ()
    spacing: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.parts, self.volumes, self.slices, self.stack))) > 1:
            raise InputError("choose one of --parts, --volumes, --slices and --stack.")
        if (self.slice_labels or self.neighbours) and not self.slices:
            raise InputError("--slice-labels and --neighbours belong to --slices.")
        if self.stack and len(self.stack) != 2:
            raise InputError("--stack needs the columns of volume and position, such as --stack volume,slice.")
        if self.spacing and (len(self.spacing) != 3 or min(self.spacing) <= 0 or not self.stack):
            raise InputError("--spacing needs three sizes in mm above 0, and --stack.")


def convert(
    source: Path,
    out: Path,
    request: ConvertRequest = ConvertRequest(),
    *,
    force: bool = False,
    progress: Progress = silent,
) -> "Conversion":
    """Write the pictures or volumes of `source` and their ``labels.csv`` to `out`, and return what was written.

    Parameters
    ----------
    source
        A packed data set (`focusmap.convert.conversion.PACKINGS`), or a label file.
    out
        Folder.
    request
        What is made of it.
    force
        Replace what is there.
    progress
        Called as the work goes on.

    Raises
    ------
    MissingFileError, InputError
        If the source is missing or of no known kind, or `out` holds files and `force` is not given.
    """
    from focusmap.convert.conversion import write_packed

    if not source.exists():
        raise MissingFileError(f"{source}: no such file.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not force):
        raise InputError(f"{out}: holds files already. Choose another --out, or add --force.")
    try:
        return write_packed(_unpack(source, request), out, progress)
    except InputError as error:
        raise error if str(error).startswith(str(source)) else InputError(f"{source}: {error}") from None


def _unpack(source: Path, request: ConvertRequest) -> "Iterator[Packed]":
    from focusmap.convert.conversion import find_packing
    from focusmap.convert.dicom_volume import unpack_dicom_volumes
    from focusmap.convert.slices_and_stacks import SliceOptions, unpack_parts, unpack_slices, unpack_stacks

    if request.parts:
        return unpack_parts(source, request.parts)
    if request.slices:
        return unpack_slices(source, SliceOptions(request.slice_labels, request.neighbours))
    if request.stack:
        return unpack_stacks(source, (request.stack[0], request.stack[1]), request.spacing)
    if request.volumes:
        return unpack_dicom_volumes(source)
    return find_packing(source).unpack(source)
