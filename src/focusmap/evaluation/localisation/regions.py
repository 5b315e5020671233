"""How well one region covers one mask, in any number of dimensions: overlap, distance of the surfaces, size.

P is the region, G the mask, both ``(*spatial) bool`` on one grid. Measures that have no value are NaN.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np

# mm^2 of an image stay; mm^3 of a volume become mL.
MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Overlap:
    """Voxels of a region P, of the mask G, of both, and of their grid; those of several grids add up.

    >>> found = Overlap.of(np.array([True, True, False]), np.array([True, False, False]))
    >>> round(found.dice, 3), found.sensitivity, found.specificity
    (0.667, 1.0, 0.5)
    """

    n_region: int
    n_mask: int
    n_both: int
    n_voxels: int

    @classmethod
    def of(cls, region: np.ndarray, mask: np.ndarray) -> Self:
        """Count the voxels of one grid."""
        n_region, n_mask, n_both = (int(np.count_nonzero(part)) for part in (region, mask, region & mask))
        return cls(n_region, n_mask, n_both, mask.size)

    def __add__(self, other: Self) -> Self:
        n_region, n_mask, n_both, n_voxels = np.add(astuple(self), astuple(other)).tolist()
        return type(self)(n_region, n_mask, n_both, n_voxels)

    @property
    def dice(self) -> float:
        """2 |P and G| / (|P| + |G|); NaN where the mask is empty, 0 where only the region is."""
        return 2 * self.n_both / (self.n_region + self.n_mask) if self.n_mask else math.nan

    @property
    def sensitivity(self) -> float:
        """|P and G| / |G|; NaN where the mask is empty."""
        return self.n_both / self.n_mask if self.n_mask else math.nan

    @property
    def specificity(self) -> float:
        """The share of the voxels outside the mask that the region leaves out; NaN where the mask is everything."""
        n_outside = self.n_voxels - self.n_mask
        return 1 - (self.n_region - self.n_both) / n_outside if n_outside else math.nan


def surface_distances(region: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance of every border voxel of each to the other's border, both ways together; lower is better.

    Parameters
    ----------
    region, mask
        A border voxel is one with a neighbour outside along an axis, or at the end of the image.
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
    """Return the size of a region: mm^2 of an image, mL of a volume; None where the spacing is unknown.

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
