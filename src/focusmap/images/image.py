"""An image as it was stored: pixels, where they lie in the patient, and which file they came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Image:
    """One image or volume in stored units.

    Parameters
    ----------
    pixels : (C, *spatial) uint8, uint16, int16 or float32
        C is 1 for grey and 3 for red, green, blue; of a volume, the number of its modalities. Spatial axes of a 2-D
        image are rows and columns, those of a volume the file's own.
    source
        The file.
    source_shape
        Spatial shape of the image in the file, seen upright; `pixels` may be a reduced copy of it.
    affine : (4, 4) float or None
        From array indices to mm in the patient, towards right, front and top; None where the file does not say.
    notes
        What was made of odd values in the file, one sentence each, for the audit to say.
    """

    pixels: Pixels
    source: Path
    source_shape: tuple[int, ...]
    affine: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_channels(self) -> int:
        """Return 1 for grey and 3 for colour."""
        return int(self.pixels.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the spatial shape of `pixels`."""
        return tuple(self.pixels.shape[1:])


def voxel_sizes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the size in mm of a voxel along each axis of the array, ``(3,)``.

    >>> voxel_sizes(np.diag([-0.5, 0.5, 3.0, 1.0])).tolist()
    [0.5, 0.5, 3.0]
    """
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def as_image(plane: Pixels, source: Path, source_shape: tuple[int, int] | None = None) -> Image:
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
        If pixels are infinite, or none is a number.
    """
    plane, notes = without_nan(plane, "pixels")
    channels = plane[np.newaxis] if plane.ndim == 2 else np.moveaxis(plane, -1, 0)
    if len(channels) == 3 and is_grey(channels):
        channels = channels[:1]
    rows, columns = source_shape or plane.shape[:2]
    return Image(channels, source, (int(rows), int(columns)), notes=notes)


def without_nan(values: Pixels, what: str) -> tuple[Pixels, tuple[str, ...]]:
    """Return values in which NaN is background, and a note where there was one.

    Background is 0, or the lowest value where that is below: what lies outside the field of view is no bright place.

    Raises
    ------
    UnreadableImageError
        If values are infinite, or none is a number.

    >>> without_nan(np.array([np.nan, -3, 5], np.float32), "pixels")
    (array([-3., -3.,  5.], dtype=float32), ('1 of 3 pixels is NaN and taken as background (-3)',))
    """
    if values.dtype.kind != "f" or (known := np.isfinite(values)).all():
        return values, ()
    missing = np.isnan(values)
    n_missing = int(missing.sum())
    n_infinite = int(values.size - known.sum()) - n_missing
    if n_infinite or n_missing == values.size:
        found = f"{n_infinite} infinite {what}" if n_infinite else f"no {what} that are numbers"
        raise UnreadableImageError(f"holds {found}; {what} that are not finite numbers have no value. Write 0 there")
    background = min(0.0, float(values[known].min()))
    verb = "is" if n_missing == 1 else "are"
    note = f"{n_missing} of {values.size} {what} {verb} NaN and taken as background ({background:g})"
    return np.where(missing, np.asarray(background, values.dtype), values), (note,)


def over_black(plane: Pixels) -> Pixels:
    """Return a plane or volume ``(*spatial, C)`` without its alpha channel, laid over black as padding is.

    Two and four channels have alpha as their last one, from 0 to the greatest value of their type, or 1 of decimals.
    """
    if plane.ndim == 2 or plane.shape[-1] not in (2, 4):
        return plane
    colour, alpha = plane[..., :-1], plane[..., -1:]
    opaque = 1.0 if plane.dtype == np.float32 else float(np.iinfo(plane.dtype).max)  # type: ignore[type-var]
    if alpha.min() == opaque:
        return colour
    laid = np.empty(colour.shape, plane.dtype)
    # Row by row: in double precision the whole would take several times the memory of the image.
    for row in range(len(plane)):
        seen = colour[row] * (alpha[row] / opaque)
        laid[row] = np.rint(seen) if plane.dtype.kind in "iu" else seen
    return cast(Pixels, laid)


def is_grey(channels: Pixels) -> bool:
    """Return True if all channels ``(C, *spatial)`` are the same."""
    # Real colour shows on a coarse grid already, which spares most colour images the full comparison.
    return all(
        np.array_equal(channels[0, ::step, ::step], other[::step, ::step]) for step in (16, 1) for other in channels[1:]
    )
