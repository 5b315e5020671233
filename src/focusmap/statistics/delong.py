"""DeLong's interval of the AUROC, and of the difference of two, where patients have several images.

Obuchowski (Biometrics 53 (1997), 567-578) sums DeLong's structural components over each cluster. Symbols are hers:
``M`` positive and ``N`` negative images; ``V10`` of a positive image is the share of negatives that it outranks,
``V01`` of a negative image the share of positives that outrank it; ``I10``, ``I01`` and ``I`` are the numbers of
clusters with a positive, with a negative, and with any image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, tanh
from statistics import NormalDist

import numpy as np

from focusmap.basics import Reason
from focusmap.statistics.intervals import FEWEST_PATIENTS, TOO_FEW, Interval, Z, bounded_interval, pair_units
from focusmap.statistics.resampling import Clusters

METHOD = "clustered DeLong"


@dataclass(frozen=True)
class PairedDifference:
    """AUROC of the first model minus that of the second, on the same images.

    Parameters
    ----------
    difference
        With 95 % limits (normal); above 0 the first is better.
    p
        Two-sided; None where the difference has no variance.
    """

    difference: Interval
    p: float | None


def clustered_delong(truth: np.ndarray, score: np.ndarray, clusters: Sequence[str] | np.ndarray) -> Interval:
    """Return the AUROC with its clustered DeLong interval, computed on the logit scale so that it stays in 0 to 1.

    Parameters
    ----------
    truth, score
        ``(N,)``; truth is positive where at least 0.5, and rows with NaN truth are left out.
    clusters
        ``(N,)`` patient identifiers; with all different ones this is DeLong's own interval (Biometrics 44 (1988)).

    Returns
    -------
    Interval
        Undefined with one class only; without limits where a class comes from a single patient; Wilson's over
        disjoint pairs of patients where the AUROC is exactly 0 or 1.

    Examples
    --------
    >>> truth, score = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.3, 0.4, 0.35, 0.7, 0.8])
    >>> found = clustered_delong(truth, score, list("abcdef"))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.889, 0.261, 0.995)
    """
    grouped, positive, scores = _known(truth, [score], clusters)
    if positive.all() or not positive.any():
        return Interval.undefined(Reason("one-class"), METHOD)
    areas, covariance = areas_and_covariance(positive, scores, grouped)
    area, variance = float(areas[0]), float(covariance[0, 0])
    if np.unique(grouped.codes).size < FEWEST_PATIENTS:
        return Interval(area, None, None, METHOD, TOO_FEW)
    if np.isnan(variance):
        return Interval(area, None, None, METHOD, Reason("one-patient"))
    if variance <= 0:
        n_pairs = pair_units(positive.astype(np.float64), grouped)
        return bounded_interval(Interval(area, area, area, METHOD), n_pairs)
    low, high = _logit_limits(area, variance**0.5)
    return Interval(area, low, high, METHOD)


def paired_delong(
    truth: np.ndarray, score_a: np.ndarray, score_b: np.ndarray, clusters: Sequence[str] | np.ndarray
) -> PairedDifference:
    """Return AUROC(a) - AUROC(b) with its clustered DeLong interval and p value.

    Arrays are those of `clustered_delong`. Undefined with one class only, or where one patient holds all of a class.
    """
    method = f"paired {METHOD}"
    grouped, positive, scores = _known(truth, [score_a, score_b], clusters)
    if positive.all() or not positive.any():
        return PairedDifference(Interval.undefined(Reason("one-class"), method), None)
    areas, covariance = areas_and_covariance(positive, scores, grouped)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if np.isnan(variance):
        return PairedDifference(Interval(difference, None, None, method, Reason("one-patient")), None)
    # Rounding leaves a variance near 1e-18 where the two models rank alike.
    error = max(variance, 0.0) ** 0.5 if variance > 1e-15 else 0.0
    interval = Interval(difference, difference - Z * error, difference + Z * error, method)
    return PairedDifference(interval, 2 * NormalDist().cdf(-abs(difference) / error) if error else None)


def _known(
    truth: np.ndarray, scores: list[np.ndarray], ids: Sequence[str] | np.ndarray
) -> tuple[Clusters, np.ndarray, list[np.ndarray]]:
    known = ~np.isnan(truth)
    return Clusters.of(np.asarray(ids)[known]), truth[known] >= 0.5, [score[known] for score in scores]


def areas_and_covariance(
    positive: np.ndarray, scores: list[np.ndarray], clusters: Clusters
) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas ``(S,)`` of S scores and their covariance ``(S, S)``, NaN where a class has one cluster."""
    of_positives, of_negatives = clusters.take(positive), clusters.take(~positive)
    v10 = np.stack([_outranked(score[positive], score[~positive]) for score in scores], axis=1)
    v01 = 1 - np.stack([_outranked(score[~positive], score[positive]) for score in scores], axis=1)
    areas = v10.mean(axis=0)
    d10, d01 = of_positives.sums(v10 - areas), of_negatives.sums(v01 - areas)  # V10(X_i.) - m_i A, V01(Y_i.) - n_i A
    i10, i01, i = (np.unique(c.codes).size for c in (of_positives, of_negatives, clusters))
    if min(i10, i01) < 2:
        return areas, np.full((len(scores), len(scores)), np.nan)
    m, n = int(positive.sum()), int((~positive).sum())
    s10, s01 = i10 / ((i10 - 1) * m) * d10 @ d10.T, i01 / ((i01 - 1) * n) * d01 @ d01.T
    s11 = i / (i - 1) * d10 @ d01.T
    return areas, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def _outranked(score: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each score the share of the others below it, ties one half."""
    ordered = np.sort(others)
    below, not_above = (np.searchsorted(ordered, score, side=side) for side in ("left", "right"))
    return np.asarray((below + not_above) / (2 * len(others)))


def _logit_limits(area: float, error: float) -> tuple[float, float]:
    middle, margin = log(area / (1 - area)), Z * error / (area * (1 - area))
    # The logistic function as a tanh, which cannot overflow.
    return (1 + tanh((middle - margin) / 2)) / 2, (1 + tanh((middle + margin) / 2)) / 2
