"""What a conversion may be told: the same for Python and the command line. Nothing here imports numpy or pandas."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from focusmap.errors import InputError
from focusmap.settings import Setting, described, settle
from focusmap.study.recipe import numbers


def names(text: str) -> tuple[str, ...]:
    """Return names that are written with commas between them.

    >>> names("left-half, right-half")
    ('left-half', 'right-half')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parts_or_boxes(text: str) -> tuple[str, ...]:
    """Return names with commas, or boxes with semicolons between them.

    >>> parts_or_boxes("scan=0,0,1,.5;fundus=0,.5,1,1")
    ('scan=0,0,1,.5', 'fundus=0,.5,1,1')
    """
    return names(text) if "=" not in text else tuple(part.strip() for part in text.split(";") if part.strip())


@described
@dataclass(frozen=True)
class ConvertRequest:
    """What to make of the source, besides unpacking it; at most one of these."""

    parts: Annotated[
        tuple[str, ...],
        Setting(
            "cut each image of a label file: left-half, right-half, top-half, bottom-half, or your own boxes as "
            "NAME=TOP,LEFT,BOTTOM,RIGHT in shares of the image, separated by ';'",
            "NAME,NAME|NAME=BOX;NAME=BOX",
            parse=parts_or_boxes,
        ),
        "Parts, such as `left-half` or `scan=0.1,0.4,0.8,1`: each image of a label file becomes one image per part.",
    ] = ()
    volumes: Annotated[bool, Setting("make one volume from each DICOM series")] = False
    slices: Annotated[bool, Setting("make slices from the volumes of a label file")] = False
    slice_labels: Annotated[
        Path | None,
        Setting("labels of individual slices, for --slices", "CSV"),
        "Table of the labels of individual slices, for `slices`; without one, slices have the label of their volume.",
    ] = None
    neighbours: Annotated[
        bool,
        Setting("store the slices before and after as red and blue"),
        "Store the neighbours of each slice as colours, so that nets of images see some depth.",
    ] = False
    stack: Annotated[
        tuple[str, ...],
        Setting("make volumes from images; columns of volume and position", "COL,COL", parse=names),
        "Columns of a label file that name the volume of each image and its position in it.",
    ] = ()
    spacing: Annotated[
        tuple[float, ...],
        Setting("voxel size of --stack, along columns, rows and slices", "MM,MM,MM", parse=numbers),
        "mm from column to column, row to row and slice to slice of `stack`; empty where unknown.",
    ] = ()

    def __post_init__(self) -> None:
        settle(self)
        if sum(map(bool, (self.parts, self.volumes, self.slices, self.stack))) > 1:
            raise InputError("choose one of --parts, --volumes, --slices and --stack.")
        if (self.slice_labels or self.neighbours) and not self.slices:
            raise InputError("--slice-labels and --neighbours belong to --slices.")
        if self.stack and len(self.stack) != 2:
            raise InputError("--stack needs the columns of volume and position, such as --stack volume,slice.")
        if self.spacing and (len(self.spacing) != 3 or min(self.spacing) <= 0 or not self.stack):
            raise InputError("--spacing needs three sizes in mm above 0, and --stack.")
