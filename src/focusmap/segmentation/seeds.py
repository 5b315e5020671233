"""Seeds of lesion and background from a heat map, and the thresholds that make them.

A map's scale here: its negative part is 0 and its highest value 1, case by case. Both thresholds are on that scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from focusmap.basics import InputError
from focusmap.evaluation import MapOnMask, dice_at

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

    @property
    def middle(self) -> float:
        """Where a raw map becomes a mask: midway between both."""
        return (self.background + self.foreground) / 2


def scaled(heat_map: np.ndarray) -> np.ndarray:
    """Return the map ``(*spatial) float32`` with its negative part 0 and its highest value 1; 0 if it has none above 0.

    >>> scaled(np.array([-1.0, 1.0, 4.0])).tolist()
    [0.0, 0.25, 1.0]
    """
    positive = np.maximum(heat_map, 0).astype(np.float32)
    highest = positive.max(initial=0)
    return np.asarray(positive / highest) if highest > 0 else positive


def centred(region: np.ndarray, threshold: float) -> np.ndarray:
    """Return values between 0 and 1 with `threshold` moved to 1/2, linear on either side.

    >>> centred(np.array([0.0, 0.2, 0.6, 1.0]), 0.2).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """
    return np.asarray(np.interp(region, [0, threshold, 1], [0, 1 / 2, 1]))


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
    low, high = otsu_thresholds(np.asarray(counts))
    return SeedThresholds(low / N_BINS, high / N_BINS, len(shown))


def otsu_thresholds(counts: np.ndarray) -> tuple[int, int]:
    """Return the first bins of the middle and the upper of three classes with the greatest variance between them."""
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
    by = noise - thresholds.middle
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
