"""How well one map finds one mask, in any number of dimensions; and the threshold of a focus map.

M is the map, G the mask, Omega all pixels. Every measure is NaN where G is empty, and higher is better for all but
`chance`. None depends on where a pixel lies, only on its value and on whether it is in the mask. So the values of the
map, and those in the mask, are sorted once, and every measure at every threshold follows from the two arrays, exactly.

One threshold a label, chosen on tune and never changed again. With masks: the one with the greatest mean IoU. Without
masks: the smallest region that keeps a stated share of the evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from focusmap.basics import Json

N_BINS = 256


@dataclass(frozen=True)
class SortedMap:
    """A map ``(*spatial) float`` and its values in ascending order, ``(N,)``: sorted once for many masks."""

    heat_map: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, heat_map: np.ndarray) -> "SortedMap":
        """Return the map with its values sorted."""
        return cls(heat_map, np.sort(heat_map, axis=None))

    def on(self, mask: np.ndarray) -> "MapOnMask":
        """Return the map held against a mask ``(*spatial) bool``."""
        return MapOnMask(self.values, np.sort(self.heat_map[mask]))


@dataclass(frozen=True)
class MapOnMask:
    """A map held against a mask.

    Parameters
    ----------
    values
        ``(N,) float``, all values of the map, ascending.
    inside
        ``(G,) float``, those in the mask G, ascending.
    """

    values: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, heat_map: np.ndarray, mask: np.ndarray) -> "MapOnMask":
        """Return a map ``(*spatial) float`` held against a mask ``(*spatial) bool``."""
        return SortedMap.of(heat_map).on(mask)

    @property
    def is_empty(self) -> bool:
        """True if the mask is empty."""
        return not len(self.inside)

    @property
    def is_constant(self) -> bool:
        """True if the map has one value only."""
        return bool(self.values[0] == self.values[-1])

    def reaching(self, threshold: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return |P| and |P and G| for P = {M >= threshold}, for each threshold."""
        # In the precision of the map, or else numpy copies all values.
        same = np.asarray(threshold, dtype=self.values.dtype)
        n_region = len(self.values) - np.searchsorted(self.values, same, side="left")
        return n_region, len(self.inside) - np.searchsorted(self.inside, same, side="left")

    @cached_property
    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return |P| and |P and G|, each ``(G,)``, for the values in the mask as thresholds."""
        return self.reaching(self.inside)


def pointing_hit(pair: MapOnMask) -> float:
    """Return 1 where the highest point of the map lies in the mask, else 0 (Zhang et al. 2016, section 4.1).

    A constant map points nowhere and is a miss. Of several highest points, the share inside counts: what one of
    them, drawn at random, would score on average.

    >>> pointing_hit(MapOnMask.of(np.array([[0.0, 2.0]]), np.array([[False, True]])))
    1.0
    """
    if pair.is_empty:
        return np.nan
    if pair.is_constant:
        return 0.0
    n_highest, n_inside = pair.reaching(pair.values[-1])
    return float(n_inside / n_highest)


def chance(pair: MapOnMask) -> float:
    """Return |G| / |Omega|: the hit rate of a point drawn at random, and the size of the lesion.

    >>> chance(MapOnMask.of(np.zeros((1, 4)), np.array([[False, True, False, False]])))
    0.25
    """
    return len(pair.inside) / len(pair.values) if not pair.is_empty else np.nan


def energy_pointing(pair: MapOnMask) -> float:
    """Return the share of the map's positive sum that lies in the mask (Wang et al. 2020, Score-CAM, section 4.3).

    0 to 1; 0 where the map is positive nowhere.

    >>> energy_pointing(MapOnMask.of(np.array([[1.0, 3.0]]), np.array([[False, True]])))
    0.75
    """
    if pair.is_empty:
        return np.nan
    total = _positive_sum(pair.values)
    return _positive_sum(pair.inside) / total if total > 0 else 0.0


def _positive_sum(ascending: np.ndarray) -> float:
    return float(ascending[np.searchsorted(ascending, 0) :].sum(dtype=np.float64))


def rank_accuracy(pair: MapOnMask) -> float:
    """Return the share of the |G| highest pixels that lies in the mask (Arras et al., Information Fusion 81 (2022)).

    0 to 1. Pixels that tie for the last places count by their share inside, so a constant map scores chance.

    >>> rank_accuracy(MapOnMask.of(np.array([[1.0, 4.0, 3.0, 0.0]]), np.array([[True, True, False, False]])))
    0.5
    """
    if pair.is_empty:
        return np.nan
    n = len(pair.inside)
    last = pair.values[-n]
    reaching, reaching_inside = pair.reaching(last)
    above, above_inside = pair.reaching(np.nextafter(last, np.inf))
    tied_inside = (n - above) * (reaching_inside - above_inside) / (reaching - above)
    return float((above_inside + tied_inside) / n)


def pixel_auprc(pair: MapOnMask) -> float:
    """Return the average precision of the pixels: precision at each level, weighted by the recall that it adds.

    That is the mean, over the pixels of the mask, of the precision of the region {M >= the pixel's own value}. 0 to 1;
    a constant map scores chance.

    >>> round(pixel_auprc(MapOnMask.of(np.array([[4.0, 3.0, 2.0]]), np.array([[True, False, True]]))), 4)
    0.8333
    """
    if pair.is_empty:
        return np.nan
    n_region, n_inside = pair.levels
    return float((n_inside / n_region).mean())


def iou_at(pair: MapOnMask, threshold: float) -> float:
    """Return |P and G| / |P or G| for P = {M >= threshold}.

    >>> iou_at(MapOnMask.of(np.array([[1.0, 2.0, 3.0]]), np.array([[False, False, True]])), 2.0)
    0.5
    """
    if pair.is_empty:
        return np.nan
    n_region, n_inside = pair.reaching(threshold)
    return float(n_inside / (n_region + len(pair.inside) - n_inside))


def dice_at(pair: MapOnMask, threshold: float) -> float:
    """Return 2 |P and G| / (|P| + |G|) for P = {M >= threshold}.

    >>> round(dice_at(MapOnMask.of(np.array([[1.0, 2.0, 3.0]]), np.array([[False, False, True]])), 2.0), 3)
    0.667
    """
    iou = iou_at(pair, threshold)
    return 2 * iou / (1 + iou)


def best_threshold(pair: MapOnMask) -> float:
    """Return the threshold of the highest IoU with this very mask: an oracle, which no reader has. Infinite of no mask.

    The best region ends on a pixel of the mask, since a lower threshold that adds none can only add what is outside.

    >>> best_threshold(MapOnMask.of(np.array([[1.0, 2.0, 3.0]]), np.array([[False, True, True]])))
    2.0
    """
    if pair.is_empty:
        return np.inf
    n_region, n_inside = pair.levels
    return float(pair.inside[np.argmax(n_inside / (n_region + len(pair.inside) - n_inside))])


def area_threshold(pair: MapOnMask, n_pixels: int) -> float:
    """Return the threshold that the `n_pixels` highest pixels reach, with ties of the last; infinite for none.

    >>> area_threshold(MapOnMask.of(np.array([[1.0, 2.0, 3.0]]), np.array([[False, False, True]])), 2)
    2.0
    """
    return float(pair.values[-n_pixels]) if n_pixels else np.inf


def otsu_threshold(pair: MapOnMask) -> float:
    """Return the threshold that best splits the map's values in two (Otsu 1979, eq. 14), of 256 equal bins.

    Scaling or shifting the map does the same to the threshold, so it needs no min-max map. Infinite for a constant map,
    which no value then reaches.

    >>> threshold = otsu_threshold(MapOnMask.of(np.array([0.0, 0.1, 0.9, 1.0]), np.ones(4, bool)))
    >>> bool(0.1 < threshold <= 0.9)
    True
    """
    if pair.is_constant:
        return np.inf
    edges = np.linspace(pair.values[0], pair.values[-1], N_BINS + 1, dtype=np.float64)
    below = np.searchsorted(pair.values, edges[1:-1], side="left")
    counts = np.diff(below, prepend=0, append=len(pair.values))
    share = np.cumsum(counts) / len(pair.values)
    centres = (edges[:-1] + edges[1:]) / 2
    mean = np.cumsum(counts * centres) / len(pair.values)
    # sigma_B^2(k) = (mu_T w(k) - mu(k))^2 / (w(k) (1 - w(k))); the last k leaves one class empty.
    w, mu = share[:-1], mean[:-1]
    between = (mean[-1] * w - mu) ** 2 / (w * (1 - w))
    return float(edges[1:-1][int(np.argmax(between))])


def measure(pair: MapOnMask) -> dict[str, float]:
    """Return every measure of one map that needs nothing but the map and the mask.

    ``iou`` and ``dice`` are those at Otsu's threshold, ``iou_best`` and ``dice_best`` those at the best threshold, an
    oracle. ``miou`` is the IoU at Otsu's threshold too, but NaN where the map is constant and hence no region is shown:
    CheXlocalize takes its mean over true positives with a region (Saporta et al. 2022, and `true_pos_only` of their
    code). ``energy_ratio`` is energy pointing over chance: 1 is a map that knows nothing.

    >>> found = measure(MapOnMask.of(np.array([[0.0, 1.0]]), np.array([[False, True]])))
    >>> found["iou"], found["auprc"], found["energy_ratio"]
    (1.0, 1.0, 2.0)
    """
    otsu, best = otsu_threshold(pair), best_threshold(pair)
    iou, energy, by_chance = iou_at(pair, otsu), energy_pointing(pair), chance(pair)
    return {
        "pointing_hit": pointing_hit(pair),
        "chance": by_chance,
        "energy_pointing": energy,
        "energy_ratio": energy / by_chance,
        "rank_accuracy": rank_accuracy(pair),
        "auprc": pixel_auprc(pair),
        "iou": iou,
        "dice": dice_at(pair, otsu),
        "miou": np.nan if pair.is_constant else iou,
        "iou_best": iou_at(pair, best),
        "dice_best": dice_at(pair, best),
    }


# In equal steps of the logit, since maps are sigmoids or shares: they may be as telling below 0.01 as around 1/2.
THRESHOLDS: np.ndarray = 1 / (1 + np.exp(-np.arange(-8, 8.1, 0.25)))
KEPT_SHARE = 0.8


@dataclass(frozen=True)
class MapThreshold:
    """The threshold of the focus maps of a label: at or above it lies the region of the label.

    Parameters
    ----------
    value
        Between 0 and 1.
    rule
        ``masks`` (greatest mean IoU on tune), ``evidence`` (smallest region that keeps a share of it) or ``default``.
    n_images, n_masks
        True positives of tune that it was chosen on, and how many masks of theirs were looked at.
    """

    value: float
    rule: Literal["masks", "evidence", "default"]
    n_images: int = 0
    n_masks: int = 0

    def to_dict(self) -> dict[str, Json]:
        """Return plain values that `from_dict` reads back equal."""
        return {"cut": self.value, "rule": self.rule, "n_images": self.n_images, "n_masks": self.n_masks}

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> "MapThreshold":
        """Read what `to_dict` gave."""
        return cls(**{"value" if key == "cut" else key: value for key, value in values.items()})  # type: ignore[arg-type]


def iou_at_thresholds(heat_map: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return ``(n,)``: the IoU of {M >= threshold} with the mask, at each of `THRESHOLDS`.

    Parameters
    ----------
    heat_map
        ``(*spatial) float`` between 0 and 1.
    mask
        ``(*spatial) bool``, not empty.
    """
    pair = MapOnMask.of(heat_map, mask)
    n_region, n_inside = pair.reaching(THRESHOLDS)
    return np.asarray(n_inside / (n_region + len(pair.inside) - n_inside))


def kept_at_thresholds(heat_map: np.ndarray) -> np.ndarray:
    """Return ``(n,)``: the share of the map's evidence in {M >= threshold}, at each of `THRESHOLDS`; NaN without any.

    Evidence is what stands out: sum over places of max(M - median of M, 0). A lesion fills less than half of an image,
    so that the median is the map's usual value outside of it.

    >>> heat_map = np.array([0.1, 0.1, 0.1, 0.6, 0.9])
    >>> kept = kept_at_thresholds(heat_map)
    >>> [round(float(kept[THRESHOLDS >= threshold][0]), 2) for threshold in (0.05, 0.5, 0.7)]
    [1.0, 1.0, 0.62]
    """
    evidence = np.maximum(heat_map.astype(np.float64) - np.median(heat_map), 0).ravel()
    total = evidence.sum()
    if total <= 0:
        return np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(heat_map, axis=None)
    below = np.concatenate([[0.0], np.cumsum(evidence[order])])
    return np.asarray(1 - below[np.searchsorted(heat_map.ravel()[order], THRESHOLDS)] / total)


def threshold_by_masks(ious: Sequence[np.ndarray]) -> float:
    """Return the threshold of the greatest mean IoU, the lowest of several; `ious` are of `iou_at_thresholds`."""
    return float(THRESHOLDS[np.argmax(np.mean(ious, axis=0))])


def threshold_by_evidence(kept: Sequence[np.ndarray], share: float = KEPT_SHARE) -> float:
    """Return the highest threshold at which maps keep `share` of their evidence on average: the smallest region.

    Parameters
    ----------
    kept
        As `kept_at_thresholds` gives them; maps without evidence (NaN) are left out. The lowest threshold if none has
        any.
    """
    known = [row for row in kept if not np.isnan(row).any()]
    if not known:
        return float(THRESHOLDS[0])
    # Every map keeps more than any share asked for at the lowest threshold, or the lowest threshold is the answer.
    enough = np.flatnonzero(np.mean(known, axis=0) >= share)
    return float(THRESHOLDS[enough.max(initial=0)])
