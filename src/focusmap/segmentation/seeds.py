"""Seeds of lesion and background from a heat map, and the growth of a few points of a lesion to its region.

A map's scale here: its negative part is 0 and its highest value 1, case by case. Both thresholds are on that scale.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import dia_array

from focusmap.basics import InputError
from focusmap.evaluation import MapOnMask, dice_at
from focusmap.segmentation.affinity import offsets_within, similarity, squared_distances

IGNORED = -1
N_BINS = 256
# What so large a share of the places of cases without a lesion stays below is noise.
NOISE_SHARE = 0.99
HIGHEST_THRESHOLD = 0.95
# What so large a share of cases without a lesion stays below is usual at a place; of fewer cases nothing is.
FEWEST_WITHOUT, USUAL_SHARE = 20, 0.99
# Where masks choose: thresholds in equal steps, of which the first is the lowest that is not everywhere.
THRESHOLDS: np.ndarray = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class SeedThresholds:
    """The thresholds of a scaled map.

    Parameters
    ----------
    background
        Below it a voxel is background.
    foreground
        From it on a voxel is lesion.
    n_cases, n_masks
        What they were chosen on: cases, and masks that were looked at.
    """

    background: float
    foreground: float
    n_cases: int = 0
    n_masks: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.background <= self.foreground <= 1:
            raise InputError(
                f"seeds: background {self.background:g} and foreground {self.foreground:g} must lie between 0 and 1, "
                "background at or below foreground."
            )


def scaled(heat_map: np.ndarray) -> np.ndarray:
    """Return the map ``(*spatial) float32`` with its negative part 0 and its highest value 1; 0 if it has none above 0.

    >>> scaled(np.array([-1.0, 1.0, 4.0])).tolist()
    [0.0, 0.25, 1.0]
    """
    positive = np.maximum(heat_map, 0).astype(np.float32)
    highest = positive.max(initial=0)
    return np.asarray(positive / highest) if highest > 0 else positive


def seeds_of(heat_map: np.ndarray, thresholds: SeedThresholds) -> np.ndarray:
    """Return ``(*spatial) int8`` for a scaled map: 1 lesion, 0 background, -1 the band between, which is ignored.

    >>> seeds_of(np.array([0.1, 0.4, 0.9]), SeedThresholds(0.2, 0.6)).tolist()
    [0, -1, 1]
    """
    marked = np.full(heat_map.shape, IGNORED, dtype=np.int8)
    marked[heat_map < thresholds.background] = 0
    marked[heat_map >= thresholds.foreground] = 1
    return marked


def seed_thresholds(maps: Sequence[np.ndarray]) -> SeedThresholds:
    """Return the thresholds that best part the values of all maps in three, without a mask: Otsu's method with two.

    They maximise the variance between background, band and lesion (Otsu 1979, eq. 18, with three classes) over the
    pooled voxels of scaled maps, of `N_BINS` equal bins. Without a map that has values: 0.3 and 0.6.

    >>> values = np.repeat([0.05, 0.5, 0.95], [80, 10, 10])
    >>> thresholds = seed_thresholds([values])
    >>> 0.05 < thresholds.background <= 0.5 < thresholds.foreground <= 0.95
    True
    """
    shown = [heat_map for heat_map in maps if heat_map.max(initial=0) > 0]
    if not shown:
        return SeedThresholds(0.3, 0.6)
    counts = sum(np.histogram(heat_map, N_BINS, (0, 1))[0] / heat_map.size for heat_map in shown)
    low, high = _two_thresholds(np.asarray(counts))
    return SeedThresholds(low / N_BINS, high / N_BINS, len(shown))


def _two_thresholds(counts: np.ndarray) -> tuple[int, int]:
    """Return the first bins of the middle and of the upper class of three that lie furthest apart."""
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * (np.arange(len(counts)) + 0.5))])

    def spread(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Weight times squared mean of the bins from `start` to `stop`."""
        within = weight[stop] - weight[start]
        return np.asarray(
            np.divide((moment[stop] - moment[start]) ** 2, within, out=np.zeros(within.shape), where=within > 0)
        )

    low, high = np.meshgrid(*[np.arange(1, len(counts))] * 2, indexing="ij")
    between = spread(np.zeros_like(low), low) + spread(low, high) + spread(high, np.full_like(high, len(counts)))
    best = int(np.argmax(np.where(low < high, between, -1)))
    return int(low.flat[best]), int(high.flat[best])


def noise_level(with_lesion: Sequence[np.ndarray], without: Sequence[np.ndarray]) -> float:
    """Return how high maps reach where there is no lesion, on the scale of the typical map of a case with one.

    Parameters
    ----------
    with_lesion, without
        Maps ``(*spatial)`` in one unit, not scaled: each case's highest value is what is compared.

    Returns
    -------
    float
        The value that `NOISE_SHARE` of the places of cases without a lesion stay below, by the median of the highest
        values of cases with one; 0 where there are none of either.
    """
    highest = [heat_map.max() for heat_map in with_lesion if heat_map.max(initial=0) > 0]
    if not highest or not without:
        return 0.0
    places = np.concatenate([np.maximum(heat_map, 0).ravel() for heat_map in without])
    return float(np.quantile(places, NOISE_SHARE) / np.median(highest))


def standing_out(maps: Sequence[np.ndarray], without: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``(N, *spatial) bool``: where maps are above what is usual at that place in cases without a lesion.

    A net may have evidence at one end of every volume, which says nothing of one case. Of fewer than 20 cases without
    a lesion nothing is known to be usual, and every place stands out.
    """
    if len(without) < FEWEST_WITHOUT:
        return np.ones((len(maps), *maps[0].shape), dtype=bool)
    usual = np.quantile(np.stack(without), USUAL_SHARE, axis=0)
    return np.stack([heat_map > usual for heat_map in maps])


def raised(thresholds: SeedThresholds, noise: float) -> SeedThresholds:
    """Return the thresholds moved up together, so that the middle between them is not below the noise.

    Where a lesion is a small share of all places, Otsu's method parts the noise in three and not the lesion from it.

    >>> moved = raised(SeedThresholds(0.125, 0.375), 0.5)
    >>> (moved.background, moved.foreground), raised(SeedThresholds(0.125, 0.375), 0.1).foreground
    ((0.375, 0.625), 0.375)
    """
    by = noise - (thresholds.background + thresholds.foreground) / 2
    if by <= 0:
        return thresholds
    background, foreground = (
        min(threshold + by, HIGHEST_THRESHOLD) for threshold in (thresholds.background, thresholds.foreground)
    )
    return replace(thresholds, background=background, foreground=foreground)


def seed_thresholds_by_masks(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> SeedThresholds:
    """Return thresholds that masks have chosen, and how many of them.

    Foreground is the threshold of the greatest mean Dice, background half of it. `maps` are scaled ones ``(*spatial)``,
    and `masks` ``(*spatial) bool`` on the same grids, none of them empty.
    """
    pairs = [MapOnMask.of(heat_map, mask) for heat_map, mask in zip(maps, masks, strict=True)]
    dice = [np.mean([dice_at(pair, float(threshold)) for pair in pairs]) for threshold in THRESHOLDS]
    foreground = float(THRESHOLDS[int(np.argmax(dice))])
    return SeedThresholds(foreground / 2, foreground, len(maps), len(masks))


# Features of so many voxels are compared with the points at a time: what is computed of them stays in the cache.
CHUNK = 256


def highest_points(heat_map: np.ndarray, share: float, least: int = 5) -> np.ndarray:
    """Return the flat positions of the highest voxels of a map ``(*spatial)``: a share of all, at least `least`.

    >>> highest_points(np.array([[0.1, 0.9], [0.5, 0.2]]), 0.25, least=1).tolist()
    [1]
    """
    n = min(max(round(share * heat_map.size), least), heat_map.size)
    return np.argsort(-heat_map, axis=None, kind="stable")[:n]


def grow(features: torch.Tensor, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how much each voxel is like some points: sum over points of w_p S(p, q), weights made to sum to 1.

    Parameters
    ----------
    features : (K, *spatial)
    points : (P,) int
        Flat positions of the points.
    weights : (P,)
        How much each says, not all 0.

    Returns
    -------
    (*spatial) float32
        Between 0 and 1; those of at least a threshold lambda join the region.
    """
    flat = features.flatten(1).T.float()
    shares = torch.from_numpy(weights / weights.sum()).to(flat)
    own = flat[torch.from_numpy(points).to(flat.device)]
    found = [similarity(squared_distances(own, part)).T @ shares for part in torch.split(flat, CHUNK)]
    return np.asarray(torch.cat(found).reshape(features.shape[1:]).cpu().numpy())


def transitions(features: torch.Tensor, radius: float, beta: float) -> "dia_array[np.float32]":
    """Return the walk's matrix ``(N, N)``: S^beta between voxels no further apart than `radius`, each row of sum 1.

    A voxel may stay where it is, as S(p, p) = 1 says, so that no row is empty. It is stored by diagonals: a step to a
    neighbour is one of them, as a rule, and there are 28 within a radius of 3 in 2-D and 122 in 3-D.
    """
    diagonals = _diagonals(features.float().cpu(), radius, beta)
    n, offsets = diagonals[0].size, np.array(list(diagonals))
    values = np.stack([diagonal.ravel() for diagonal in diagonals.values()])
    matrix: dia_array[np.float32] = dia_array((values, offsets), shape=(n, n))
    sums = matrix @ np.ones(n, np.float32)
    for diagonal, offset in zip(matrix.data, offsets, strict=True):
        diagonal[max(offset, 0) : n + min(offset, 0)] /= sums[max(-offset, 0) : n - max(offset, 0)]
    return matrix


def _diagonals(features: torch.Tensor, radius: float, beta: float) -> dict[int, np.ndarray]:
    """Return S^beta by how far apart flat positions are, ``(*spatial)`` each, by columns as SciPy stores them."""
    shape = tuple(features.shape[1:])
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    found: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(shape, np.float32))
    found[0] += 1
    # S is symmetric: a step and the one back are worked out together.
    for step in (step for step in offsets_within(radius, len(shape)) if step > (0,) * len(shape)):
        if any(abs(by) >= side for by, side in zip(step, shape, strict=True)):
            continue
        here, there = _overlap(step), _overlap([-by for by in step])
        squares = (features[:, *here] - features[:, *there]).square().sum(dim=0)
        like, offset = similarity(squares).pow(beta).numpy(), sum(map(operator.mul, step, strides))
        # In a narrow grid two steps may share a diagonal; they never share a place on it.
        found[offset][there] += like
        found[-offset][here] += like
    return found


def _overlap(step: Sequence[int]) -> tuple[slice, ...]:
    """Return the voxels that have a neighbour at a step: of an axis of 5, those at 0 to 3 have one at +1."""
    return tuple(slice(max(-by, 0), -by if by > 0 else None) for by in step)


def walk(matrix: "dia_array[np.float32]", heat_map: np.ndarray, n_steps: int) -> np.ndarray:
    """Return the map ``(*spatial)`` after so many steps of the walk, each voxel the mean of where it may step to.

    >>> from scipy.sparse import dia_array
    >>> walk(dia_array([[0.5, 0.5], [0.0, 1.0]]), np.array([0.0, 1.0]), 2).tolist()
    [0.75, 1.0]
    """
    walked = heat_map.ravel()
    for _ in range(n_steps):
        walked = matrix @ walked
    return np.asarray(walked).reshape(heat_map.shape)


@dataclass(frozen=True)
class Refining:
    """What an image-edge refinement works on.

    Parameters
    ----------
    image : (C, *spatial)
        Standardised: mean 0 and deviation 1.
    region : (*spatial) float
        What is known so far, between 0 and 1.
    marked : (*spatial) int8
        Seeds: 1 lesion, 0 background, -1 to be decided.
    """

    image: np.ndarray
    region: np.ndarray
    marked: np.ndarray


def keep_as_is(case: Refining) -> np.ndarray:
    """Return the region as it is."""
    return case.region


def random_walker(case: Refining) -> np.ndarray:
    """Return the probability of lesion from the random walker between the seeds (Grady 2006); seeds stay as marked.

    The region itself where either kind of seed is missing.
    """
    from skimage.segmentation import random_walker as walker

    kinds = set(np.unique(case.marked).tolist())
    if not {0, 1} <= kinds:
        return case.region
    if IGNORED not in kinds:
        return np.asarray(case.marked, dtype=np.float32)
    # Its labels are from 1 on, and 0 is to be decided.
    found = walker(
        case.image, case.marked.astype(int) + 1, beta=90, mode="cg_j", tol=1e-5, return_full_prob=True, channel_axis=0
    )
    return np.asarray(found[1], dtype=np.float32)


def superpixels(case: Refining) -> np.ndarray:
    """Return the region's mean within each superpixel (SLIC, Achanta et al. 2012): each votes as a whole."""
    from skimage.segmentation import slic

    shape = case.region.shape
    n_segments = max(int(np.prod(shape) / 4 ** len(shape)), 2)
    segments = slic(case.image, n_segments=n_segments, compactness=0.1, channel_axis=0, start_label=0)
    totals = np.bincount(segments.ravel(), case.region.ravel()) / np.maximum(np.bincount(segments.ravel()), 1)
    return np.asarray(totals[segments], dtype=np.float32)


EDGES: dict[str, Callable[[Refining], np.ndarray]] = {
    "none": keep_as_is,
    "random-walker": random_walker,
    "superpixels": superpixels,
}
