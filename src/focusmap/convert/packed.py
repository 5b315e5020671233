"""An image as it stands in a packed data set: pixels, the cells of its row in the label file, and its masks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from focusmap.images.image import Pixels


@dataclass(frozen=True, eq=False)
class PackedImage:
    """One image of a packed data set.

    Parameters
    ----------
    name
        Of its file, without suffix; may have folders. No two images of a data set have the same.
    pixels : (C, rows, columns)
        Grey with one channel, colour with three.
    cells
        Column to cell, as text.
    masks
        Mask column (``mask`` or ``mask_TARGET``) to `(rows, columns) bool`.
    """

    name: str
    pixels: Pixels
    cells: Mapping[str, str]
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PackedVolume:
    """One volume of a packed data set.

    Parameters
    ----------
    name, cells
        As of an image.
    voxels : (C, *spatial)
        Any number of modalities; the first axis of space runs along columns, the second along rows, the third from
        slice to slice.
    affine
        From voxels to mm towards right, front and top, or None where that is unknown.
    masks
        Mask column to `(*spatial) bool`.
    """

    name: str
    voxels: NDArray[np.generic]
    affine: NDArray[np.float64] | None
    cells: Mapping[str, str]
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class PackedFailure:
    """An image or volume of a packed data set that cannot be read, and why."""

    name: str
    reason: str


Packed: TypeAlias = PackedImage | PackedVolume | PackedFailure
