"""How well one map finds one mask, in any number of dimensions.

M is the map, G the mask, Omega all pixels. Every measure is NaN where G is empty, and higher is better.
"""

import numpy as np

N_BINS = 256


def pointing_hit(heat_map: np.ndarray, mask: np.ndarray) -> float:
    """Return 1 where the highest point of the map lies in the mask, else 0 (Zhang et al. 2016, section 4.1).

    A constant map points nowhere and is a miss. Of several highest points, the share inside counts: what one of
    them, drawn at random, would score on average.

    Parameters
    ----------
    heat_map
        ``(*spatial) float``.
    mask
        ``(*spatial) bool``.

    >>> pointing_hit(np.array([[0.0, 2.0]]), np.array([[False, True]]))
    1.0
    """
    if not mask.any():
        return np.nan
    highest = heat_map.max()
    if highest == heat_map.min():
        return 0.0
    return float(mask[heat_map == highest].mean())


def chance(mask: np.ndarray) -> float:
    """Return |G| / |Omega|: the hit rate of a point drawn at random.

    >>> chance(np.array([[False, True, False, False]]))
    0.25
    """
    return float(mask.mean()) if mask.any() else np.nan


def energy_pointing(heat_map: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of the map's positive sum that lies in the mask (Wang et al. 2020, Score-CAM, section 4.3).

    0 to 1; 0 where the map is positive nowhere.

    >>> energy_pointing(np.array([[1.0, 3.0]]), np.array([[False, True]]))
    0.75
    """
    if not mask.any():
        return np.nan
    energy = np.maximum(heat_map, 0).astype(np.float64)
    total = energy.sum()
    return float(energy[mask].sum() / total) if total > 0 else 0.0


def iou_at(heat_map: np.ndarray, mask: np.ndarray, cut: float) -> float:
    """Return |P and G| / |P or G| for P = {M >= cut}.

    >>> iou_at(np.array([[1.0, 2.0, 3.0]]), np.array([[False, False, True]]), 2.0)
    0.5
    """
    if not mask.any():
        return np.nan
    region = heat_map >= cut
    return float((region & mask).sum() / (region | mask).sum())


def dice_at(heat_map: np.ndarray, mask: np.ndarray, cut: float) -> float:
    """Return 2 |P and G| / (|P| + |G|) for P = {M >= cut}.

    >>> round(dice_at(np.array([[1.0, 2.0, 3.0]]), np.array([[False, False, True]]), 2.0), 3)
    0.667
    """
    iou = iou_at(heat_map, mask, cut)
    return 2 * iou / (1 + iou)


def otsu_cut(heat_map: np.ndarray) -> float:
    """Return the cut that best splits the map's values in two (Otsu 1979, eq. 14), of 256 equal bins.

    Scaling or shifting the map scales and shifts the cut, so it needs no min-max map. Infinite for a constant map,
    which no value then reaches.

    >>> cut = otsu_cut(np.array([0.0, 0.1, 0.9, 1.0]))
    >>> bool(0.1 < cut <= 0.9)
    True
    """
    low, high = float(heat_map.min()), float(heat_map.max())
    if low == high:
        return np.inf
    counts, edges = np.histogram(heat_map, bins=N_BINS, range=(low, high))
    share = np.cumsum(counts) / heat_map.size
    centres = (edges[:-1] + edges[1:]) / 2
    mean = np.cumsum(counts * centres) / heat_map.size
    # sigma_B^2(k) = (mu_T w(k) - mu(k))^2 / (w(k) (1 - w(k))); the last k leaves one class empty.
    w, mu = share[:-1], mean[:-1]
    between = (mean[-1] * w - mu) ** 2 / (w * (1 - w))
    return float(edges[1:-1][int(np.argmax(between))])
