"""Grey levels on 8 bits, and one axis of a grid brought to another: what images and volumes are prepared with.

Pixels are areas, not points: pixel i covers [i, i + 1], its centre lies at i + 0.5 (``align_corners=False``).
"""

import numpy as np
from numpy.typing import NDArray

from focusmap.images.image import Pixels

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
