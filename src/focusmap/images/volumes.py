"""From a volume to the input of a net, from a map of it back to the volume's own grid, and to slices to look at.

A volume is turned to one convention first: its axes run towards the patient's right, front and top, as near as its
voxel grid comes. Nothing is turned by less than 90 degrees, so that each axis is resampled on its own and the way back
is exact. Voxels are areas, as pixels are in `focusmap.images.image`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import InputError, UnreadableImageError, suggest
from focusmap.images.crop import FOREGROUND, WHOLE
from focusmap.images.image import Image, Pixels, Scaling, along, averaging, interpolation, to_bytes, voxel_sizes

if TYPE_CHECKING:
    from focusmap.basics import Json


Three: TypeAlias = tuple[float, float, float]
Window: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

FOREGROUND_SIDE = 64
FOREGROUND_LEVEL = 0.1
FOREGROUND_SHARE = 0.1


@dataclass(frozen=True)
class VolumePreparation:
    """The steps from a volume to an input of uint8 voxels.

    Parameters
    ----------
    shape
        Voxels of the input towards the patient's right, front and top.
    channels
        Modalities, each on a grey scale of its own.
    spacing
        Size of the input's voxels in mm: what lies around the middle of the volume, or of its foreground, is padded or
        cropped to `shape`. Without one, each axis is stretched to fill it.
    window
        Percentiles of volumes that are not 8 bit which become 0 and 255.
    crop
        What is kept: ``whole`` or ``foreground``.
    scaling
        As of `focusmap.images.prepare.Preparation`.
    """

    shape: tuple[int, int, int]
    channels: int = 1
    spacing: Three | None = None
    window: tuple[float, float] = (0.5, 99.5)
    crop: str = WHOLE
    scaling: Scaling = "image"

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"preparation: shape is {self.shape}; three whole numbers of at least 1 were expected.")
        if self.spacing is not None and (len(self.spacing) != 3 or min(self.spacing) <= 0):
            raise InputError(f"preparation: spacing is {self.spacing}; three sizes in mm above 0 were expected.")
        if self.scaling not in get_args(Scaling):
            raise InputError(f"preparation: scaling {self.scaling!r} is not one of {', '.join(get_args(Scaling))}.")
        if self.crop not in (WHOLE, FOREGROUND):
            raise InputError(f"preparation: crop {self.crop!r} is for images; a volume's is {WHOLE} or {FOREGROUND}.")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (channels, *shape)."""
        return (self.channels, *self.shape)

    def to_dict(self) -> "dict[str, Json]":
        """Return plain values for a file."""
        spacing: Json = None if self.spacing is None else list(self.spacing)
        written = {**asdict(self), "shape": list(self.shape), "spacing": spacing, "window": list(self.window)}
        # Files of before the scaling could be chosen do not name it.
        return written if self.scaling != "image" else {key: written[key] for key in written if key != "scaling"}

    @classmethod
    def from_dict(cls, values: "Mapping[str, Json]") -> "VolumePreparation":
        """Return the preparation written in a file; a key that is not known is an error.

        >>> VolumePreparation.from_dict({"shape": [96, 96, 24]}).spacing is None
        True
        """
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"preparation: unknown key {key!r}.{suggest(key, known)}")
        scaling = values.get("scaling", "image")
        match {"channels": 1, "spacing": None, "window": [0.5, 99.5], "crop": WHOLE, **values}:
            case {"shape": [int(a), int(b), int(c)], "channels": int(n), "window": [low, high], "crop": str(crop)}:
                sides = values.get("spacing")
                spacing = tuple(float(str(side)) for side in sides) if isinstance(sides, list) else None
                window = (float(str(low)), float(str(high)))
                return cls((a, b, c), n, spacing, window, crop, cast(Scaling, scaling))  # type: ignore[arg-type]  # checked
        raise InputError(f"preparation: of a volume needs shape, channels, window and crop; found {dict(values)!r}.")


@dataclass(frozen=True)
class VolumePlacement:
    """Where a prepared volume comes from.

    Parameters
    ----------
    source_shape
        Voxels of the volume along the axes of its file.
    axes
        Of the file, in the order towards right, front and top.
    flips
        Whether the file's axis runs the other way.
    window
        What the input covers of each turned axis, from and to, in voxels of the file; it may reach beyond the volume.
    shape
        Of the input.
    affine
        Of the file's voxels, which a map in its grid inherits.
    """

    source_shape: tuple[int, ...]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    window: Window
    shape: tuple[int, int, int]
    affine: NDArray[np.float64] | None = field(default=None, compare=False)

    @property
    def content(self) -> tuple[slice, ...]:
        """Return where in the input the volume lies; the rest is padding."""
        return tuple(
            slice(int(inside[0]), int(inside[-1]) + 1) for inside in (np.flatnonzero(self._inside(k)) for k in range(3))
        )

    def turned(self, array: np.ndarray) -> np.ndarray:
        """Return ``(..., *source_shape)`` towards right, front and top."""
        n = array.ndim - 3
        moved = array.transpose(*range(n), *(n + axis for axis in self.axes))
        return np.asarray(np.flip(moved, self._flipped(n)))

    def turned_back(self, array: np.ndarray) -> np.ndarray:
        """Return what `turned` was given."""
        n = array.ndim - 3
        flipped = np.asarray(np.flip(array, self._flipped(n)))
        return flipped.transpose(*range(n), *(n + self.axes.index(axis) for axis in range(3)))

    def _flipped(self, n: int) -> tuple[int, ...]:
        return tuple(n + k for k in range(3) if self.flips[k])

    def _length(self, k: int) -> int:
        return self.source_shape[self.axes[k]]

    def _inside(self, k: int) -> NDArray[np.bool_]:
        """Return which cells of the input along axis k have their centre in the volume."""
        (first, last), n = self.window[k], self.shape[k]
        centres = first + (np.arange(n) + 0.5) / n * (last - first)
        return (centres >= 0) & (centres <= self._length(k))

    def sampling(self, k: int) -> NDArray[np.float32]:
        """Return the weights from the voxels along turned axis k to the cells of the input; 0 in the padding."""
        (first, last), length, n = self.window[k], self._length(k), self.shape[k]
        weigh = averaging if last - first > n else interpolation
        weights = weigh(length, first / length, (last - first) / length, n)
        return weights * self._inside(k)[:, None]

    def drawing(self, k: int, n_cells: int) -> NDArray[np.float32]:
        """Return the weights from the cells of a map along turned axis k to the voxels; 0 where no cell lies."""
        (first, last), length = self.window[k], self._length(k)
        centres = (np.arange(length) + 0.5 - first) / (last - first)
        weights = interpolation(n_cells, -first / (last - first), length / (last - first), length)
        return weights * ((centres >= 0) & (centres <= 1))[:, None]


def prepare_volume(image: Image, preparation: VolumePreparation) -> tuple[NDArray[np.uint8], VolumePlacement]:
    """Return the input of a net, `(channels, *shape) uint8`, and where it comes from.

    Raises
    ------
    UnreadableImageError
        If the volume has other channels than the preparation, or no known spacing where one is asked for.
    """
    if image.n_channels != preparation.channels:
        raise UnreadableImageError(f"holds {image.n_channels} channels; {preparation.channels} were expected")
    placement = _place(image, preparation)
    return _to_input(image.pixels, placement, preparation.window), placement


def volume_mask_to_input(mask: NDArray[np.bool_], placement: VolumePlacement) -> NDArray[np.bool_]:
    """Return a mask `(*source_shape)` on the grid of the input: cells of which at least half are marked."""
    marked = placement.turned(mask).astype(np.float32)
    for k in range(3):
        marked = along(placement.sampling(k), marked, k)
    return np.asarray(marked >= 0.5)


def volume_to_source(maps: NDArray[np.floating], placement: VolumePlacement) -> NDArray[np.float32]:
    """Return maps `(..., *grid)` of the whole input in the volume's own grid, `(..., *source_shape) float32`.

    Linear between the centres of cells. What the input does not cover, the net has not seen: there the maps are 0.
    """
    n = maps.ndim - 3
    drawn = maps.astype(np.float32)
    for k in range(3):
        drawn = along(placement.drawing(k, maps.shape[n + k]), drawn, n + k)
    return np.ascontiguousarray(placement.turned_back(drawn), dtype=np.float32)


def _to_input(pixels: Pixels, placement: VolumePlacement, window: tuple[float, float]) -> NDArray[np.uint8]:
    kept = []
    seen = tuple(slice(max(int(np.floor(first)), 0), max(int(np.ceil(last)), 1)) for first, last in placement.window)
    for channel in placement.turned(pixels):
        # A channel at a time, the axis that shrinks most first: a thorax in float32 takes 800 MB.
        levels: np.ndarray = to_bytes(channel[seen], window)
        for k in sorted(range(3), key=lambda k: placement.shape[k] / levels.shape[k]):
            levels = along(placement.sampling(k)[:, seen[k]], levels, k)
        kept.append(np.rint(np.clip(levels, 0, 255)).astype(np.uint8))
    return np.stack(kept)


def _place(image: Image, preparation: VolumePreparation) -> VolumePlacement:
    axes, flips = orientation(image.affine)
    whole: Window = tuple((0.0, float(image.source_shape[axis])) for axis in axes)  # type: ignore[assignment]  # three
    placed = VolumePlacement(image.source_shape, axes, flips, whole, preparation.shape, image.affine)
    if preparation.crop == FOREGROUND:
        placed = replace(placed, window=foreground_window(placed.turned(image.pixels)))
    if preparation.spacing is None:
        return placed
    if image.affine is None:
        raise UnreadableImageError("does not say how large its voxels are; leave spacing out of the recipe")
    sizes = voxel_sizes(image.affine)[list(axes)]
    halves = [n * wanted / size / 2 for n, wanted, size in zip(placed.shape, preparation.spacing, sizes, strict=True)]
    middles = [(first + last) / 2 for first, last in placed.window]
    window: Window = tuple((m - half, m + half) for m, half in zip(middles, halves, strict=True))  # type: ignore[assignment]
    return replace(placed, window=window)


def orientation(affine: NDArray[np.float64] | None) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return which axis of the array runs towards right, front and top most nearly, and which of these run backwards.

    Without an affine, the array's own order.

    >>> orientation(np.diag([-1.0, -1.0, 5.0, 1.0]))
    ((0, 1, 2), (True, True, False))
    """
    if affine is None:
        return (0, 1, 2), (False, False, False)
    from nibabel.orientations import io_orientation

    axes = io_orientation(affine)
    order = np.argsort(axes[:, 0])
    backwards = axes[order, 1] < 0
    return (int(order[0]), int(order[1]), int(order[2])), (bool(backwards[0]), bool(backwards[1]), bool(backwards[2]))


def foreground_window(channels: np.ndarray) -> Window:
    """Return the window around all that is not dark background; the whole volume where nothing stands out.

    Foreground is what lies above a tenth of the way from the 0.5th to the 99.5th percentile, on a grid of at most 64 a
    side. Specks, less than a tenth of the largest region each, do not count.

    Parameters
    ----------
    channels : (C, *spatial)
        White is bright. The brightest channel decides.

    >>> dark = np.zeros((1, 32, 32, 8), np.uint8)
    >>> dark[:, 10:20, 4:30, 2:5] = 200
    >>> foreground_window(dark)
    ((9.0, 21.0), (3.0, 31.0), (1.0, 6.0))
    """
    from scipy import ndimage

    volume = np.max(channels, axis=0)
    steps = [-(-n // FOREGROUND_SIDE) for n in volume.shape]
    small = volume[tuple(slice(step // 2, None, step) for step in steps)].astype(np.float32)
    low, high = np.percentile(small, (0.5, 99.5))
    regions, n_regions = ndimage.label(small > low + FOREGROUND_LEVEL * (high - low))
    if not n_regions:
        return tuple((0.0, float(n)) for n in volume.shape)  # type: ignore[return-value]  # three axes
    sizes = np.bincount(regions.ravel())[1:]
    large = np.isin(regions, 1 + np.flatnonzero(sizes >= FOREGROUND_SHARE * sizes.max()))
    ends = []
    for k, (step, n) in enumerate(zip(steps, volume.shape, strict=True)):
        filled = np.flatnonzero(large.any(axis=tuple(axis for axis in range(3) if axis != k)))
        # One step wider on each side.
        ends.append((float(max((filled[0] - 1) * step, 0)), float(min((filled[-1] + 2) * step, n))))
    return ends[0], ends[1], ends[2]


SHOWN_WINDOW = (0.5, 99.5)
SAGITTAL, CORONAL, AXIAL = range(3)
# By the direction that is stepped through: those that rows and columns run along. Rows then run downwards or, in axial
# slices, to the back, columns to the patient's left or, in sagittal ones, to the back.
ROWS_AND_COLUMNS = {AXIAL: (1, 0), CORONAL: (2, 0), SAGITTAL: (2, 1)}


@dataclass(frozen=True)
class SliceView:
    """How a volume is laid out: the axis stepped through, those of rows and columns, and which are turned round.

    Slices keep the order of their file, so that slice i is the file's own.
    """

    across: int
    rows: int
    columns: int
    flip_rows: bool = False
    flip_columns: bool = False

    def stack(self, volume: np.ndarray) -> np.ndarray:
        """Return ``(..., n_slices, rows, columns)`` of a volume ``(..., *spatial)``."""
        n = volume.ndim - 3
        laid = volume.transpose(*range(n), n + self.across, n + self.rows, n + self.columns)
        turned = tuple(n + 1 + k for k, flip in enumerate((self.flip_rows, self.flip_columns)) if flip)
        return np.asarray(np.flip(laid, turned))


def slice_view(shape: tuple[int, ...], affine: NDArray[np.float64] | None) -> SliceView:
    """Return how a volume is read: slice by slice along the axis of the largest voxels, or else of the fewest.

    Without an affine columns run along the first axis that is left and rows along the second, as the file has them.

    >>> slice_view((256, 256, 24), np.diag([-1.0, -1.0, 1.0, 1.0]))
    SliceView(across=2, rows=1, columns=0, flip_rows=False, flip_columns=False)
    """
    if affine is None:
        across = max(range(3), key=lambda axis: (-shape[axis], axis))
        columns, rows = (axis for axis in range(3) if axis != across)
        return SliceView(across, rows, columns)
    axes, backwards = orientation(affine)
    sizes = voxel_sizes(affine)
    direction = max(range(3), key=lambda k: (round(sizes[axes[k]], 3), -shape[axes[k]], k))
    rows, columns = ROWS_AND_COLUMNS[direction]
    return SliceView(axes[direction], axes[rows], axes[columns], not backwards[rows], not backwards[columns])


def middle_slice(image: Image) -> np.ndarray:
    """Return an image ``(C, rows, columns)`` to show for an image: itself, or the first modality's middle slice."""
    if len(image.source_shape) == 2:
        return image.pixels
    stack = slice_view(image.source_shape, image.affine).stack(image.pixels[:1])
    return to_bytes(stack[:, stack.shape[1] // 2], SHOWN_WINDOW)


def shown_stack(image: Image) -> tuple[NDArray[np.uint8], SliceView]:
    """Return the slices ``(n_slices, rows, columns)`` of a volume's first modality in grey, and their layout."""
    view = slice_view(image.source_shape, image.affine)
    return np.asarray(view.stack(to_bytes(image.pixels[0], SHOWN_WINDOW)), dtype=np.uint8), view
