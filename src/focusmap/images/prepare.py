"""From an image to the input of a net, and from a map of that input back to the image's own grid.

How volumes are prepared stands in `focusmap.images.volumes`; what reads a file takes both.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import InputError, UnreadableImageError, suggest
from focusmap.images import volumes
from focusmap.images.crop import WHOLE, Box, crop_box, parse_crop
from focusmap.images.image import Image, Scaling, interpolation, to_bytes
from focusmap.images.read import read_image

if TYPE_CHECKING:
    # Imported at run time it would bring pandas into every worker process.
    from focusmap.basics import Json

Uint8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Preparation:
    """The steps from an image to a square input of uint8 pixels.

    Parameters
    ----------
    size
        Rows and columns of the input. The image keeps its aspect: its longer side fills the square, the rest is 0.
    channels
        1: colour becomes its luma. 3: grey is repeated.
    window
        Percentiles of images that are not 8 bit which become 0 and 255.
    crop
        What is kept: ``whole``, ``foreground``, a named part or a box (see `focusmap.images.crop`).
    scaling
        How a net is shown the bytes. ``image``: less the mean of the image's own content, by its own deviation.
        ``range``: 0 to 255 as -1 to 1, as EfficientNet-Lite's ImageNet weights were trained.
    """

    size: int = 224
    channels: Literal[1, 3] = 1
    window: tuple[float, float] = (0.5, 99.5)
    crop: str = WHOLE
    scaling: Scaling = "image"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"preparation: size is {self.size}; at least 1 was expected.")
        if self.channels not in (1, 3):
            raise InputError(f"preparation: channels is {self.channels}; 1 or 3 was expected.")
        if not 0 <= self.window[0] < self.window[1] <= 100:
            raise InputError(f"preparation: window is {self.window}; two rising percentiles were expected.")
        if self.scaling not in get_args(Scaling):
            raise InputError(f"preparation: scaling {self.scaling!r} is not one of {', '.join(get_args(Scaling))}.")
        parse_crop(self.crop)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (channels, rows, columns)."""
        return self.channels, self.size, self.size

    def to_dict(self) -> "dict[str, Json]":
        """Return plain values for a file."""
        written: dict[str, Json] = {**asdict(self), "window": list(self.window)}
        # Files of before the scaling could be chosen do not name it.
        return written if self.scaling != "image" else {key: written[key] for key in written if key != "scaling"}

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
        size, channels, window, crop, scaling = (values.get(item.name, item.default) for item in fields(cls))
        ends = (
            [float(end) for end in window if isinstance(end, int | float)] if isinstance(window, list | tuple) else []
        )
        if not isinstance(size, int) or len(ends) != 2 or not isinstance(crop, str):
            raise InputError("preparation: size must be a whole number, window two percentiles and crop a text.")
        return cls(size, cast(Literal[1, 3], channels), (ends[0], ends[1]), crop, cast(Scaling, scaling))


@dataclass(frozen=True)
class Placement:
    """Where a prepared square comes from.

    Parameters
    ----------
    source_shape
        (rows, columns) of the image in its file.
    crop
        The box of it that fills the square.
    size
        Side of the square, in which padding was measured out.
    """

    source_shape: tuple[int, int]
    crop: Box
    size: int

    @property
    def content(self) -> tuple[slice, slice]:
        """Return where in the square the image lies; the rest is padding."""
        return content_box(self.crop.shape, self.size).slices


AnyPreparation: TypeAlias = Preparation | volumes.VolumePreparation
AnyPlacement: TypeAlias = Placement | volumes.VolumePlacement


def preparation_from(values: "Mapping[str, Json]") -> AnyPreparation:
    """Return the preparation written in a file, of images or, where it has a shape, of volumes."""
    return volumes.VolumePreparation.from_dict(values) if "shape" in values else Preparation.from_dict(values)


def content_box(source_shape: tuple[int, int], size: int) -> Box:
    """Return where an image of `source_shape` (rows, columns) lies in its prepared square.

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


def prepare_file(path: Path, preparation: AnyPreparation) -> tuple[Uint8Array, AnyPlacement]:
    """Return the prepared image or volume of a file, `(C, *spatial)`, and where it comes from.

    Raises
    ------
    MissingFileError, UnreadableImageError
        As `read_image`; if there is a volume where an image is prepared, or the other way round.
    """
    if isinstance(preparation, volumes.VolumePreparation):
        image = _read(path, 3)
        try:
            return volumes.prepare_volume(image, preparation)
        except UnreadableImageError as error:
            raise UnreadableImageError(f"{path}: {error}.") from None
    # An image read at a reduced size has no pixels to spare for a crop.
    image = _read(path, 2, at_least=preparation.size if preparation.crop == WHOLE else None)
    crop = crop_box(image, preparation.crop)
    rows, columns = image.source_shape
    return _fill_square(image, crop, preparation), Placement((rows, columns), crop, preparation.size)


def _read(path: Path, n_axes: int, at_least: int | None = None) -> Image:
    image = read_image(path, at_least)
    if len(image.source_shape) == n_axes:
        return image
    sides = " x ".join(map(str, image.source_shape))
    if n_axes == 2:
        raise UnreadableImageError(
            f"{path}: is a volume of {sides} voxels; an image was expected. Make slices of volumes with "
            "focusmap convert LABELS.csv --slices --out DIR, or train a net of volumes, such as --model resnet18-3d."
        )
    raise UnreadableImageError(f"{path}: is an image of {sides} pixels; a volume was expected.")


def standardised_file(path: Path, preparation: AnyPreparation) -> tuple[FloatArray, AnyPlacement]:
    """Return what a net is shown of a file, `(C, *spatial) float32`, and where it comes from.

    Raises
    ------
    MissingFileError, UnreadableImageError
        As `prepare_file`.
    """
    pixels, placement = prepare_file(path, preparation)
    mean, std = (np.array([value], np.float32) for value in scale_of(pixels, placement, preparation))
    return standardise(pixels[np.newaxis], mean, std)[0], placement


def _fill_square(image: Image, crop: Box, preparation: Preparation) -> Uint8Array:
    size, is_whole = preparation.size, crop.shape == image.source_shape
    assert is_whole or image.shape == image.source_shape, "a reduced image cannot be cropped"
    kept = image.pixels if is_whole else image.pixels[(slice(None), *crop.slices)]
    box = content_box(crop.shape, size)
    content = _match_channels(_resize(to_bytes(kept, preparation.window), box), preparation.channels)
    square = np.zeros((preparation.channels, size, size), np.uint8)
    square[(slice(None), *box.slices)] = content
    return square


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
    """Return pixels less a mean, divided by a deviation.

    Parameters
    ----------
    pixels : (N, C, *spatial) uint8
    mean, std : (N,) float32
        Of each image, as `scale_of` gives and the store keeps them.
    """
    shape = (-1, *[1] * (pixels.ndim - 1))
    shifted: FloatArray = pixels.astype(np.float32) - mean.astype(np.float32).reshape(shape)
    shifted /= std.astype(np.float32).reshape(shape)
    return shifted


def scale_of(pixels: Uint8Array, placement: AnyPlacement, preparation: AnyPreparation) -> tuple[float, float]:
    """Return what is taken off a prepared image `(C, *spatial)`, and what it is divided by, for a net to see it.

    See `Preparation.scaling`: the statistics of its content, or the middle and the half of the range of bytes.
    """
    if preparation.scaling == "range":
        return 127.5, 127.5
    return content_statistics(pixels, placement)


def content_statistics(pixels: Uint8Array, placement: AnyPlacement) -> tuple[float, float]:
    """Return mean and standard deviation of a prepared image `(C, *spatial)` without its padding.

    A constant image has the deviation 1, so that it is standardised to zeros.
    """
    content = pixels[(slice(None), *placement.content)]
    return float(content.mean()), float(content.std()) or 1.0


def to_source(maps: NDArray[np.floating], placement: AnyPlacement) -> FloatArray:
    """Return maps of the prepared input in the grid of the image or volume: linear, the padding cropped.

    What was cropped away, the net has not seen: there the maps are 0.

    Parameters
    ----------
    maps : (..., *grid) float
        Any resolution; the grid covers the whole input.
    placement
        Where the input comes from.

    Returns
    -------
    (..., *source_shape) float32
    """
    if isinstance(placement, volumes.VolumePlacement):
        return volumes.volume_to_source(maps, placement)
    crop, size = placement.crop, placement.size
    box = content_box(crop.shape, size)
    down = interpolation(maps.shape[-2], box.top / size, box.height / size, crop.height)
    across = interpolation(maps.shape[-1], box.left / size, box.width / size, crop.width)
    placed = np.zeros((*maps.shape[:-2], *placement.source_shape), np.float32)
    placed[(..., *crop.slices)] = np.matmul(np.matmul(down, maps.astype(np.float32)), across.T)
    return placed


def mask_to_input(mask: NDArray[np.bool_], placement: AnyPlacement) -> NDArray[np.bool_]:
    """Return a mask `(*source_shape)` on the prepared input; the padding is outside.

    A cell of the input is inside where at least half of what it covers is.
    """
    if isinstance(placement, volumes.VolumePlacement):
        return volumes.volume_mask_to_input(mask, placement)
    image = Image(mask[np.newaxis].astype(np.uint8) * np.uint8(255), Path(), mask.shape)
    inside: NDArray[np.bool_] = _fill_square(image, placement.crop, Preparation(placement.size))[0] >= 128
    return inside
