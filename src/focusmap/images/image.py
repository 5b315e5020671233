"""An image as it was stored: pixels, where they lie in the patient, and its file; grey levels and grids changed.

Pixels are areas, not points: pixel i covers [i, i + 1], its centre lies at i + 0.5 (``align_corners=False``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import UnreadableImageError

Scaling = Literal["image", "range"]
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
    pixel_spacing
        Of a 2-D image without affine: from row to row and from column to column in the patient, in mm; None unknown.
    """

    pixels: Pixels
    source: Path
    source_shape: tuple[int, ...]
    affine: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    pixel_spacing: tuple[float, float] | None = None

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
        fault = f"{n_infinite} infinite {what}" if n_infinite else f"no {what} that are numbers"
        raise UnreadableImageError(f"holds {fault}; {what} that are not finite numbers have no value. Write 0 there")
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


# So many values say where percentiles lie; sorting all of a large volume takes seconds.
SAMPLED = 2**25


def to_bytes(pixels: Pixels, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Return pixels on the scale 0 to 255: 8-bit ones as they are, others between two percentiles."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    step = pixels.size // SAMPLED + 1
    low, high = np.percentile(pixels if step == 1 else pixels.ravel()[::step], window)
    if high <= low:
        # A few bright specks on an empty image lie outside of both percentiles, and are all there is to see.
        low, high = float(pixels.min()), float(pixels.max())
    scale = 255 / (high - low) if high > low else 0.0
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(scale)
    levels: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return levels


def interpolation(n_cells: int, start: float, extent: float, n_out: int) -> NDArray[np.float32]:
    """Return the `(n_out, n_cells)` weights of linear interpolation along one axis.

    Output pixel i has its centre at ``start + (i + 0.5) / n_out * extent`` of the axis, cell j its own
    at ``(j + 0.5) / n_cells``. Beyond the outermost centres the outermost value holds.
    """
    centres = (start + (np.arange(n_out) + 0.5) / n_out * extent) * n_cells - 0.5
    centres = np.clip(centres, 0, n_cells - 1)
    lower = np.minimum(centres.astype(np.intp), max(n_cells - 2, 0))
    upper = np.minimum(lower + 1, n_cells - 1)
    weights = np.zeros((n_out, n_cells), np.float32)
    position = np.arange(n_out)
    weights[position, lower] += 1 - (centres - lower)
    weights[position, upper] += centres - lower
    return weights


def averaging(n_cells: int, start: float, extent: float, n_out: int) -> NDArray[np.float32]:
    """Return the `(n_out, n_cells)` weights of the mean over what each output pixel covers, for axes that shrink.

    Output pixel i covers ``start + [i, i + 1] / n_out * extent`` of the axis, cell j ``[j, j + 1] / n_cells``.

    >>> averaging(4, 0.0, 1.0, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    edges = (start + np.arange(n_out + 1) / n_out * extent) * n_cells
    first, last = np.arange(n_cells), np.arange(1, n_cells + 1)
    shared = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
    shared = np.clip(shared, 0, None)
    return np.asarray(shared / np.maximum(shared.sum(axis=1, keepdims=True), 1e-9), dtype=np.float32)


def along(weights: NDArray[np.float32], values: NDArray[np.floating], axis: int) -> NDArray[np.float32]:
    """Return values with one axis brought to another grid: the `(n_out, n_in)` weights applied along it."""
    return np.asarray(np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis))
