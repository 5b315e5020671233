"""A picture as it was stored: pixels, where they lie in the patient, and which file they came from."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16] | NDArray[np.float32]

MAX_PIXELS_2D = 100_000_000
"""A mammogram has 14 million; what claims more than this is damaged or an attack."""
MAX_VOXELS = 500_000_000
"""A thorax of 512 x 512 x 800 has 210 million."""


@dataclass(frozen=True, eq=False)
class Image:
    """One picture or volume in stored units.

    Parameters
    ----------
    pixels : (C, *spatial) uint8, uint16, int16 or float32
        C is 1 for grey and 3 for red, green, blue; of a volume, the number of its modalities. Spatial axes of a 2-D
        picture are rows and columns, those of a volume the file's own.
    source
        The file.
    source_shape
        Spatial shape of the picture in the file, seen upright; `pixels` may be a reduced copy of it.
    affine : (4, 4) float or None
        From array indices to mm in the patient, towards right, front and top; None where the file does not say.
    """

    pixels: Pixels
    source: Path
    source_shape: tuple[int, ...]
    affine: NDArray[np.float64] | None = None

    @property
    def n_channels(self) -> int:
        """Return 1 for grey and 3 for colour."""
        return int(self.pixels.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the spatial shape of `pixels`."""
        return tuple(self.pixels.shape[1:])


def check_plane_size(rows: int, columns: int) -> None:
    """Raise `UnreadableImageError` if a 2-D picture of this size is not plausible; call it before decoding.

    >>> check_plane_size(1024, 1024)
    >>> check_plane_size(100_000, 100_000)
    Traceback (most recent call last):
    focusmap.errors.UnreadableImageError: claims 100000 x 100000 pixels; at most 100 million are read
    """
    if rows < 1 or columns < 1:
        raise UnreadableImageError(f"claims {rows} x {columns} pixels")
    if rows * columns > MAX_PIXELS_2D:
        limit = MAX_PIXELS_2D // 1_000_000
        raise UnreadableImageError(f"claims {rows} x {columns} pixels; at most {limit} million are read")


def check_volume_size(shape: tuple[int, ...]) -> None:
    """Raise `UnreadableImageError` if a volume of this shape is not plausible; call it before decoding."""
    if min(shape) < 1:
        raise UnreadableImageError(f"claims {' x '.join(map(str, shape))} voxels")
    if math.prod(shape) > MAX_VOXELS:
        limit = MAX_VOXELS // 1_000_000
        raise UnreadableImageError(f"claims {' x '.join(map(str, shape))} voxels; at most {limit} million are read")


def voxel_sizes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the size in mm of a voxel along each axis of the array, ``(3,)``.

    >>> voxel_sizes(np.diag([-0.5, 0.5, 3.0, 1.0])).tolist()
    [0.5, 0.5, 3.0]
    """
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def as_picture(plane: Pixels, source: Path, source_shape: tuple[int, int] | None = None) -> Image:
    """Return the image of a decoded plane; colour whose channels are all the same becomes grey.

    Parameters
    ----------
    plane : (rows, columns) or (rows, columns, 1 or 3)
        As decoders return it.
    source
        The file.
    source_shape
        Rows and columns in the file if `plane` was decoded at a reduced size.

    Raises
    ------
    UnreadableImageError
        If pixels are not finite.
    """
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise UnreadableImageError("holds pixels that are not finite numbers")
    channels = plane[np.newaxis] if plane.ndim == 2 else np.moveaxis(plane, -1, 0)
    if len(channels) == 3 and _is_grey(channels):
        channels = channels[:1]
    rows, columns = source_shape or plane.shape[:2]
    return Image(channels, source, (int(rows), int(columns)))


def _is_grey(channels: Pixels) -> bool:
    # Real colour shows on a coarse grid already, which spares most colour pictures the full comparison.
    return all(
        np.array_equal(channels[0, ::step, ::step], other[::step, ::step]) for step in (16, 1) for other in channels[1:]
    )
