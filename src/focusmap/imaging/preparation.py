"""From a picture to the input of a net, and from a map of that input back to the picture's own grid.

Pixels are areas, not points: pixel i covers [i, i + 1], its centre lies at i + 0.5 (``align_corners=False``).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import InputError, suggest
from focusmap.imaging.crop import Box, crop_box
from focusmap.imaging.readers import read_image
from focusmap.values.crop import WHOLE, parse_crop
from focusmap.values.image import Image, Pixels

if TYPE_CHECKING:
    # Imported at run time it would bring pandas into every worker process.
    from focusmap.values.files import Json

Uint8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Preparation:
    """The steps from a picture to a square input of uint8 pixels.

    Parameters
    ----------
    size
        Rows and columns of the input. The picture keeps its aspect: its longer side fills the square, the rest is 0.
    channels
        1: colour becomes its luma. 3: grey is repeated.
    window
        Percentiles of pictures that are not 8 bit which become 0 and 255.
    crop
        What is kept: ``whole``, ``foreground``, a named part or a box (see `focusmap.values.crop`).
    """

    size: int = 224
    channels: Literal[1, 3] = 1
    window: tuple[float, float] = (0.5, 99.5)
    crop: str = WHOLE

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"preparation: size is {self.size}; at least 1 was expected.")
        if self.channels not in (1, 3):
            raise InputError(f"preparation: channels is {self.channels}; 1 or 3 was expected.")
        if not 0 <= self.window[0] < self.window[1] <= 100:
            raise InputError(f"preparation: window is {self.window}; two rising percentiles were expected.")
        parse_crop(self.crop)

    def to_dict(self) -> "dict[str, Json]":
        """Return plain values for a file."""
        return {**asdict(self), "window": list(self.window)}

    @classmethod
    def from_dict(cls, values: "Mapping[str, Json]") -> "Preparation":
        """Return the preparation written in a file; a key that is not known is an error.

        >>> Preparation.from_dict({"size": 64}).size
        64
        """
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"preparation: unknown key {key!r}.{suggest(key, known)}")
        size, channels, window, crop = (values.get(item.name, item.default) for item in fields(cls))
        ends = (
            [float(end) for end in window if isinstance(end, int | float)] if isinstance(window, list | tuple) else []
        )
        if not isinstance(size, int) or len(ends) != 2 or not isinstance(crop, str):
            raise InputError("preparation: size must be a whole number, window two percentiles and crop a text.")
        return cls(size, cast(Literal[1, 3], channels), (ends[0], ends[1]), crop)


@dataclass(frozen=True)
class Placement:
    """Where a prepared square comes from.

    Parameters
    ----------
    source_shape
        (rows, columns) of the picture in its file.
    crop
        The box of it that fills the square.
    """

    source_shape: tuple[int, int]
    crop: Box


def content_box(source_shape: tuple[int, int], size: int) -> Box:
    """Return where a picture of `source_shape` (rows, columns) lies in its prepared square.

    >>> content_box((100, 200), 64)
    Box(top=16, left=0, height=32, width=64)
    """
    rows, columns = source_shape
    longer = max(rows, columns)
    height, width = max(1, round(rows * size / longer)), max(1, round(columns * size / longer))
    return Box((size - height) // 2, (size - width) // 2, height, width)


def prepare(image: Image, preparation: Preparation) -> Uint8Array:
    """Return the input of a net: `(channels, size, size) uint8`, aspect kept, antialiased, padded with 0."""
    return _fill_square(image, crop_box(image, preparation.crop), preparation)


def prepare_file(path: Path, preparation: Preparation) -> tuple[Uint8Array, Placement]:
    """Return the prepared picture of a file and where it comes from.

    Raises
    ------
    MissingFileError, UnreadableImageError
        As `read_image`.
    """
    # A picture read at a reduced size has no pixels to spare for a crop.
    image = read_image(path, at_least=preparation.size if preparation.crop == WHOLE else None)
    crop = crop_box(image, preparation.crop)
    return _fill_square(image, crop, preparation), Placement((image.source_shape[0], image.source_shape[1]), crop)


def standardised_file(path: Path, preparation: Preparation) -> tuple[FloatArray, Placement]:
    """Return what a net is shown of a file, `(channels, size, size) float32`, and where it comes from.

    Raises
    ------
    MissingFileError, UnreadableImageError
        As `read_image`.
    """
    pixels, placement = prepare_file(path, preparation)
    mean, std = (np.array([value], np.float32) for value in content_statistics(pixels, placement.crop.shape))
    return standardise(pixels[np.newaxis], mean, std)[0], placement


def _fill_square(image: Image, crop: Box, preparation: Preparation) -> Uint8Array:
    size, is_whole = preparation.size, crop.shape == image.source_shape
    assert is_whole or image.shape == image.source_shape, "a reduced picture cannot be cropped"
    kept = image.pixels if is_whole else image.pixels[(slice(None), *crop.slices)]
    box = content_box(crop.shape, size)
    content = _match_channels(_resize(_to_bytes(kept, preparation.window), box), preparation.channels)
    square = np.zeros((preparation.channels, size, size), np.uint8)
    square[(slice(None), *box.slices)] = content
    return square


def _to_bytes(pixels: Pixels, window: tuple[float, float]) -> Uint8Array:
    """Return pixels on the scale 0 to 255: 8-bit ones as they are, others between two percentiles."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    low, high = np.percentile(pixels, window)
    if high <= low:
        # A few bright specks on an empty picture lie outside of both percentiles, and are all there is to see.
        low, high = float(pixels.min()), float(pixels.max())
    scale = 255 / (high - low) if high > low else 0.0
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(scale)
    levels: Uint8Array = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return levels


def _resize(pixels: Uint8Array, box: Box) -> Uint8Array:
    """Return pixels `(C, height, width)`: area averages when shrinking, cubic when enlarging."""
    import cv2

    plane = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    shrinks = box.height * box.width < plane.shape[0] * plane.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(plane, (box.width, box.height), interpolation=method), np.uint8)
    return resized.reshape(box.height, box.width, -1).transpose(2, 0, 1)


def _match_channels(pixels: Uint8Array, channels: Literal[1, 3]) -> Uint8Array:
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    # Luma of ITU-R BT.601, as JPEG has it.
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixels, axes=1)
    return np.rint(luma).astype(np.uint8)[np.newaxis]


def standardise(pixels: Uint8Array, mean: FloatArray, std: FloatArray) -> FloatArray:
    """Return pixels with each picture's own mean 0 and standard deviation 1.

    Parameters
    ----------
    pixels : (N, C, H, W) uint8
    mean, std : (N,) float32
        Of each picture's content, as the store keeps them.
    """
    shape = (-1, 1, 1, 1)
    shifted: FloatArray = pixels.astype(np.float32) - mean.astype(np.float32).reshape(shape)
    shifted /= std.astype(np.float32).reshape(shape)
    return shifted


def content_statistics(pixels: Uint8Array, kept_shape: tuple[int, int]) -> tuple[float, float]:
    """Return mean and standard deviation of a prepared picture `(C, size, size)` without its padding.

    `kept_shape` is (rows, columns) of what was kept of the picture: `Placement.crop`. A constant picture has the
    deviation 1, so that it is standardised to zeros.
    """
    box = content_box(kept_shape, pixels.shape[-1])
    content = pixels[(slice(None), *box.slices)]
    return float(content.mean()), float(content.std()) or 1.0


def to_source(maps: NDArray[np.floating], placement: Placement, size: int) -> FloatArray:
    """Return maps of the prepared square in the picture's own grid: bilinear, the padding cropped.

    What was cropped away, the net has not seen: there the maps are 0.

    Parameters
    ----------
    maps : (..., h, w) float
        Any resolution; h and w cover the whole square.
    placement
        Where the square comes from.
    size
        Side of the prepared square, in which padding was measured out.

    Returns
    -------
    (..., rows, columns) float32
    """
    crop = placement.crop
    box = content_box(crop.shape, size)
    down = _interpolation(maps.shape[-2], box.top / size, box.height / size, crop.height)
    across = _interpolation(maps.shape[-1], box.left / size, box.width / size, crop.width)
    placed = np.zeros((*maps.shape[:-2], *placement.source_shape), np.float32)
    placed[(..., *crop.slices)] = np.matmul(np.matmul(down, maps.astype(np.float32)), across.T)
    return placed


def mask_to_input(mask: NDArray[np.bool_], placement: Placement, size: int) -> NDArray[np.bool_]:
    """Return a mask `(rows, columns)` of the picture on the prepared square `(size, size)`; the padding is outside.

    A pixel of the square is inside where at least half of what it covers is.
    """
    image = Image(mask[np.newaxis].astype(np.uint8) * np.uint8(255), Path(), mask.shape)
    inside: NDArray[np.bool_] = _fill_square(image, placement.crop, Preparation(size))[0] >= 128
    return inside


def _interpolation(n_cells: int, start: float, extent: float, n_out: int) -> FloatArray:
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
