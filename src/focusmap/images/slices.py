"""A volume as a stack of slices, each laid out as a radiologist reads it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focusmap.images.image import Image, voxel_sizes
from focusmap.images.resampling import to_bytes
from focusmap.images.volumes import orientation

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
