"""How far readers agree beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha, with intervals.

Votes are ``(N, R) int``: the class that each of R readers gave each of N images, -1 where a reader has not read it.
Intervals resample patients, as everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from focusmap.basics import Reason
from focusmap.statistics import Interval, bounded_interval, percentile_interval, ratio
from focusmap.statistics.resampling import Clusters, Distribution, Resampling, Statistic, resample

Metric = Literal["nominal", "ordinal"]
ONE_CLASS = Reason("one-class-read")
ROUNDING = 1e-12
NO_OVERLAP = Reason("read-once")


@dataclass(frozen=True)
class Pair:
    """Two readers, by position: the images that both have read, share of equal answers, and Cohen's kappa."""

    a: int
    b: int
    n: int
    agreement: Interval
    kappa: Interval


@dataclass(frozen=True)
class Agreement:
    """How far all readers agree on one label.

    Parameters
    ----------
    fleiss
        Fleiss' kappa over the `n_fleiss` images that were read `n_each` times, the commonest number of readings.
    alpha
        Krippendorff's alpha over all images that were read twice or more.
    pairs
        Every two readers.
    """

    fleiss: Interval
    n_fleiss: int
    n_each: int
    alpha: Interval
    metric: Metric
    pairs: tuple[Pair, ...]


def reader_agreement(
    votes: np.ndarray, n_classes: int, resampling: Resampling, metric: Metric = "nominal"
) -> Agreement:
    """Return the agreement of all readers and of every two, each with its patient-clustered interval.

    Parameters
    ----------
    votes : (N, R) int
        Class of each reading, -1 where there is none.
    n_classes
        Number of classes, C.
    resampling
        Clusters of the N images, number of resamples, seed.
    metric
        What alpha takes for the distance of two classes: 0 or 1, or the number of readings between them.
    """
    clusters = resampling.clusters
    couples = list(combinations(range(votes.shape[1]), 2))
    counts = count_votes(votes, n_classes)
    chosen, n_each = fleiss_images(counts)
    statistics: dict[str, Statistic] = {
        "fleiss": fleiss_kappa(counts[chosen], clusters.take(chosen)),
        "alpha": krippendorff_alpha(counts, clusters, metric),
        **{f"{a}-{b}": cohen_kappa(votes[:, [a, b]], n_classes, clusters) for a, b in couples},
    }
    distributions = resample(statistics, resampling)
    pairs = [_pair(a, b, votes, distributions[f"{a}-{b}"], clusters) for a, b in couples]
    fleiss = _interval(distributions["fleiss"]["kappa"], ONE_CLASS if chosen.any() else NO_OVERLAP)
    overlaps = (counts.sum(axis=1) > 1).any()
    alpha = _interval(distributions["alpha"]["alpha"], ONE_CLASS if overlaps else NO_OVERLAP)
    return Agreement(fleiss, int(chosen.sum()), n_each, alpha, metric, tuple(pairs))


def count_votes(votes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return ``(N, C) int``: how often each image was given each class.

    >>> count_votes(np.array([[0, 1, 1], [-1, 0, -1]]), 2)
    array([[1, 2],
           [1, 0]])
    """
    return np.asarray((votes[:, :, None] == np.arange(n_classes)).sum(axis=1))


def cohen_kappa(votes: np.ndarray, n_classes: int, clusters: Clusters) -> Statistic:
    """Return the statistic ``kappa`` and ``agreement`` of two readers over the images that both have read.

    kappa = (p_o - p_e) / (1 - p_e), with p_o the share of equal answers and p_e what the two would share by chance
    (Cohen, Educational and Psychological Measurement 20 (1960), 37-46). 1 is full agreement, 0 is chance; undefined
    where both give one and the same class throughout.

    Parameters
    ----------
    votes : (N, 2) int
        Class of each reading, -1 where there is none.

    Examples
    --------
    >>> votes = np.array([[0, 0]] * 20 + [[0, 1]] * 5 + [[1, 0]] * 10 + [[1, 1]] * 15)
    >>> cohen_kappa(votes, 2, Clusters.single(50))(np.ones((50, 1)))["kappa"].round(3)
    array([0.4])
    """
    both = np.all(votes >= 0, axis=1)
    cells = (votes[both, 0] * n_classes + votes[both, 1])[:, None] == np.arange(n_classes**2)
    sums = clusters.take(both).sums(cells.astype(np.float64))

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        table = (sums @ multiplicities).reshape(n_classes, n_classes, -1)
        n = table.sum(axis=(0, 1))
        observed = ratio(np.einsum("ccb->b", table), n)
        expected = ratio((table.sum(axis=0) * table.sum(axis=1)).sum(axis=0), n**2)
        return {"agreement": observed, "kappa": _beyond_chance(observed, expected)}

    return statistic


def fleiss_images(counts: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which images have the commonest number of readings above one, ``(N,) bool``, and that number.

    Fleiss' kappa wants equally many readings of every image, though not by the same readers. Of equally common
    numbers the larger is taken; 0 where no image was read twice.
    """
    n_readings = counts.sum(axis=1)
    n_images = np.bincount(n_readings[n_readings > 1])
    if not len(n_images):
        return np.zeros(len(counts), dtype=bool), 0
    n_each = int(len(n_images) - 1 - np.argmax(n_images[::-1]))
    return n_readings == n_each, n_each


def fleiss_kappa(counts: np.ndarray, clusters: Clusters) -> Statistic:
    """Return the statistic ``kappa`` of images that were read equally often, n times each.

    P_i = (sum_j n_ij^2 - n) / (n (n - 1)), p_j the share of all readings in class j, P_e = sum_j p_j^2, and
    kappa = (mean P_i - P_e) / (1 - P_e) (Fleiss, Psychological Bulletin 76 (1971), 378-382).

    Parameters
    ----------
    counts : (N, C) int
        Readings of each image in each class; all rows have one sum, 2 or more.

    Examples
    --------
    >>> fleiss_kappa(np.array([[2, 0], [0, 2]]), Clusters.single(2))(np.ones((2, 1)))["kappa"]
    array([1.])
    """
    n = counts.sum(axis=1, keepdims=True)
    alike = ((counts**2).sum(axis=1, keepdims=True) - n) / (n * (n - 1))
    sums = clusters.sums(np.concatenate([alike, counts / n, np.ones_like(alike)], axis=1))

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        totals = sums @ multiplicities
        shares = ratio(totals[1:-1], totals[-1])
        return {"kappa": _beyond_chance(ratio(totals[0], totals[-1]), (shares**2).sum(axis=0))}

    return statistic


def krippendorff_alpha(counts: np.ndarray, clusters: Clusters, metric: Metric = "nominal") -> Statistic:
    """Return the statistic ``alpha`` of any number of readings an image; images read once count for nothing.

    alpha = 1 - D_o / D_e from the coincidences o_ck = sum_u n_uc (n_uk - [c = k]) / (m_u - 1), where image u was
    read m_u times (Krippendorff, Content Analysis, 2nd ed. 2004, chapter 11). 1 is full agreement, 0 is chance.

    Parameters
    ----------
    counts : (N, C) int
        Readings of each image in each class.

    Examples
    --------
    >>> krippendorff_alpha(np.array([[2, 0], [0, 2]]), Clusters.single(2))(np.ones((2, 1)))["alpha"]
    array([1.])
    """
    n_classes = counts.shape[1]
    read = counts.sum(axis=1) > 1
    read_twice = counts[read]
    pairs = read_twice[:, :, None] * (read_twice[:, None, :] - np.eye(n_classes))
    coincidences = (pairs / (read_twice.sum(axis=1) - 1)[:, None, None]).reshape(len(read_twice), n_classes**2)
    sums = clusters.take(read).sums(coincidences)

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        table = (sums @ multiplicities).reshape(n_classes, n_classes, -1)
        n_c = table.sum(axis=1)
        n = n_c.sum(axis=0)
        distance = DISTANCES[metric](n_c)
        observed = ratio((table * distance).sum(axis=(0, 1)), n)
        expected = ratio((n_c[:, None] * n_c[None] * distance).sum(axis=(0, 1)), n * (n - 1))
        return {"alpha": 1 - ratio(observed, expected)}

    return statistic


def _nominal(n_c: np.ndarray) -> np.ndarray:
    """Return ``(C, C, 1)``: 1 for different classes."""
    return np.asarray(1 - np.eye(len(n_c)))[:, :, None]


def _ordinal(n_c: np.ndarray) -> np.ndarray:
    """Return ``(C, C, b)``: the squared number of readings from class c to class k, half of each end's own."""
    middle = np.cumsum(n_c, axis=0) - n_c / 2
    return np.asarray((middle[:, None] - middle[None]) ** 2)


DISTANCES: dict[Metric, Callable[[np.ndarray], np.ndarray]] = {"nominal": _nominal, "ordinal": _ordinal}


def _beyond_chance(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    room = 1 - expected
    return ratio(observed - expected, np.where(room > ROUNDING, room, 0.0))


def _pair(a: int, b: int, votes: np.ndarray, found: dict[str, Distribution], clusters: Clusters) -> Pair:
    both = np.all(votes[:, [a, b]] >= 0, axis=1)
    reason = ONE_CLASS if both.any() else Reason("read-apart")
    agreement = bounded_interval(percentile_interval(found["agreement"], reason), clusters.count(both))
    return Pair(a, b, int(both.sum()), agreement, _interval(found["kappa"], reason))


def _interval(distribution: Distribution, reason: Reason) -> Interval:
    """Return the percentile interval; no limits where the readers never differ, which no resample can change."""
    interval = percentile_interval(distribution, reason)
    if interval.value is None or interval.value < 1 - ROUNDING:
        return interval
    return Interval(interval.value, None, None, interval.method, Reason("never-differ"), interval.n_dropped)
