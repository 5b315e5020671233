"""How well one region covers one mask, in any number of dimensions: overlap, distance of the surfaces, size.

P is the region, G the mask, both ``(*spatial) bool`` on one grid. Measures that have no value are NaN.
"""

import math
from collections.abc import Sequence

import numpy as np

# mm^2 of a picture stay; mm^3 of a volume become mL.
MM3_PER_ML = 1000.0


def dice(region: np.ndarray, mask: np.ndarray) -> float:
    """Return 2 |P and G| / (|P| + |G|); NaN where the mask is empty, 0 where only the region is.

    >>> round(dice(np.array([True, True, False]), np.array([True, False, False])), 3)
    0.667
    """
    if not mask.any():
        return math.nan
    return float(2 * np.count_nonzero(region & mask) / (np.count_nonzero(region) + np.count_nonzero(mask)))


def sensitivity(region: np.ndarray, mask: np.ndarray) -> float:
    """Return |P and G| / |G|; NaN where the mask is empty."""
    return float(np.count_nonzero(region & mask) / np.count_nonzero(mask)) if mask.any() else math.nan


def specificity(region: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of the voxels outside the mask that the region leaves out; NaN where the mask is everything."""
    outside = ~mask
    return float(np.count_nonzero(outside & ~region) / np.count_nonzero(outside)) if outside.any() else math.nan


def surface_distances(region: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance of every border voxel of each to the other's border, both ways together; lower is better.

    Parameters
    ----------
    region, mask
        A border voxel is one with a neighbour outside along an axis, or at the end of the picture.
    spacing
        Of the axes, in mm; 1 each for distances in voxels.

    Returns
    -------
    (n,) float
        Empty where either is.
    """
    if not region.any() or not mask.any():
        return np.empty(0)
    window = _window(region | mask)
    borders = [_border(part)[window] for part in (region, mask)]
    from scipy.ndimage import distance_transform_edt

    first, second = (distance_transform_edt(~border, sampling=spacing) for border in borders)
    return np.concatenate([second[borders[0]], first[borders[1]]])


def hd95(distances: np.ndarray) -> float:
    """Return the 95th percentile of `surface_distances`, both ways pooled; NaN of none."""
    return float(np.percentile(distances, 95)) if len(distances) else math.nan


def average_surface_distance(distances: np.ndarray) -> float:
    """Return the mean of `surface_distances`, both ways pooled; NaN of none."""
    return float(distances.mean()) if len(distances) else math.nan


def extent(n_voxels: int, spacing: Sequence[float] | None) -> float | None:
    """Return the size of a region: mm^2 of a picture, mL of a volume; None where the spacing is unknown.

    >>> extent(50, (0.5, 0.5)), extent(2000, (1.0, 1.0, 2.0)), extent(7, None)
    (12.5, 4.0, None)
    """
    if spacing is None:
        return None
    return n_voxels * math.prod(spacing) / (MM3_PER_ML if len(spacing) == 3 else 1.0)


def _border(region: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return np.asarray(region & ~binary_erosion(region))


def _window(either: np.ndarray) -> tuple[slice, ...]:
    """Return the box that holds both; distances between them need nothing beyond it."""
    places = np.nonzero(either)
    return tuple(slice(int(place.min()), int(place.max()) + 1) for place in places)
