"""A number with its 95 % interval: percentiles of a patient-clustered bootstrap, and Wilson's for proportions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from focusmap.basics import Json, Reason, reason_entries
from focusmap.statistics.resampling import Clusters, Distribution, Resampling, resample

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
TOO_FEW = Reason("too-few")
BOOTSTRAP = "patient-clustered bootstrap"
FEWEST_PATIENTS = 3
"""Two say nothing of how patients vary."""


@dataclass(frozen=True)
class Interval:
    """A metric and its 95 % interval.

    Parameters
    ----------
    value
        None where the metric is undefined; then `reason` says why.
    low, high
        Limits; None where there is no interval, though there may be a value; then `reason` says why.
    method
        How the limits were found.
    reason
        Why something is None; None where nothing is.
    n_dropped
        Resamples in which the metric was undefined (one class only, say) and which the limits therefore leave out.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    reason: Reason | None = None
    n_dropped: int = 0

    @classmethod
    def undefined(cls, reason: Reason, method: str = BOOTSTRAP) -> "Interval":
        """Return an interval without value."""
        return cls(None, None, None, method, reason)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON; `reason` and `n_dropped` only where they say something.

        >>> Interval(0.5, 0.4, 0.6, "Wilson").to_dict()
        {'value': 0.5, 'low': 0.4, 'high': 0.6, 'method': 'Wilson'}
        """
        values: dict[str, Json] = {"value": self.value, "low": self.low, "high": self.high, "method": self.method}
        values |= reason_entries(self.reason)
        if self.n_dropped:
            values["n_dropped"] = self.n_dropped
        return values


def percentile_interval(distribution: Distribution, reason: Reason, *, centred: bool = False) -> Interval:
    """Return the 2.5th to 97.5th percentile of the resamples as an interval.

    Parameters
    ----------
    distribution
        Value and resamples; undefined resamples are dropped and counted.
    reason
        Said where the value is undefined.
    centred
        Move the resamples so that their mean is the value. For errors that resampling inflates, such as the expected
        calibration error, whose plain percentiles may all lie above the value. Limits stay at 0 or above.
    """
    if np.isnan(distribution.value):
        return Interval.undefined(reason)
    drawn = distribution.resamples[~np.isnan(distribution.resamples)]
    n_dropped = len(distribution.resamples) - len(drawn)
    if not len(drawn):
        return Interval(distribution.value, None, None, BOOTSTRAP, TOO_FEW, n_dropped)
    if centred:
        drawn = np.maximum(drawn - drawn.mean() + distribution.value, 0.0)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    method = f"{BOOTSTRAP}, centred" if centred else BOOTSTRAP
    return Interval(distribution.value, float(low), float(high), method, None, n_dropped)


def proportion_interval(distribution: Distribution, reason: Reason, n_units: int) -> Interval:
    """Return Wilson's interval of a proportion over the effective number of images that its patients amount to.

    Percentiles of a bootstrap cover too little where few patients stand behind a proportion (85 to 92 % at 10 to 25 of
    them). The rule is Franco et al.'s: Wilson's interval, over as many images as would spread so much if they were
    independent, times (z / t)^2 for the few patients (Korn and Graubard), where t has one degree of freedom less than
    there are patients.

    Parameters
    ----------
    distribution
        Value and resamples.
    reason
        Said where the value is undefined.
    n_units
        Patients that have a row on which the proportion rests.

    References
    ----------
    Korn and Graubard, Survey Methodology 24 (1998), 193-201. Franco, Little, Louis and Slud, Journal of Survey
    Statistics and Methodology 7 (2019), 334-364.
    """
    from scipy.special import stdtrit

    plain = percentile_interval(distribution, reason)
    share = plain.value
    if share is None or plain.low is None or n_units < FEWEST_PATIENTS or share in (0.0, 1.0):
        return bounded_interval(plain, n_units)
    drawn = distribution.resamples[~np.isnan(distribution.resamples)]
    spread = float(drawn.var()) * n_units / (n_units - 1)
    n_alike = share * (1 - share) / spread if spread > 0 else float(n_units)
    n_effective = n_alike * (Z / float(stdtrit(n_units - 1, (1 + LEVEL) / 2))) ** 2
    limits = wilson(share * n_effective, n_effective)
    return replace(plain, low=limits.low, high=limits.high, method="clustered Wilson")


def bounded_interval(interval: Interval, n_units: int) -> Interval:
    """Return the interval of a proportion; where it has shrunk to 0 or to 1, Wilson's over `n_units` instead.

    A bootstrap cannot draw an error that the sample does not hold: of a perfect result it says [1, 1]. Then each of
    the `n_units` independent patients (for the AUROC: disjoint pairs of a positive and a negative patient, all in the
    right order) counts as one success, which gives a lower limit that errs on the wide side. Any other value that hangs
    on a single unit has no interval: resampling cannot say how another patient would have come out.

    >>> bounded_interval(Interval(1.0, 1.0, 1.0, "bootstrap"), 10).low.__round__(3)
    0.722
    """
    if interval.value not in (0.0, 1.0) or not interval.low == interval.high == interval.value or n_units == 0:
        alone = n_units == 1 and interval.low is not None
        return replace(interval, low=None, high=None, reason=TOO_FEW) if alone else interval
    limits = wilson(int(interval.value) * n_units, n_units)
    method = f"Wilson over {n_units} patients or pairs of patients (no resample differs from {interval.value:g})"
    return replace(interval, low=limits.low, high=limits.high, method=method)


def difference_interval(interval: Interval, n_units: int) -> Interval:
    """Return the interval of a paired difference; without limits where resampling cannot say how it would vary.

    So it is where a metric rests on one of `n_units` patients, or pairs of them, and where every resample has the same
    difference, unless that is 0: then the two are one.

    >>> difference_interval(Interval(0.5, 0.5, 0.5, "bootstrap"), 10).reason
    'too few patients, or too few of a class, to resample'
    """
    is_stuck = interval.low == interval.high and interval.value != 0
    if interval.low is None or (n_units != 1 and not is_stuck):
        return interval
    return replace(interval, low=None, high=None, reason=TOO_FEW)


def bootstrap(
    metric: Callable[[np.ndarray], np.ndarray],
    clusters: Sequence[str] | np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of any metric, resampling clusters (patients) and not images.

    Parameters
    ----------
    metric
        From image weights ``(N, b)``, one column a resample, to ``(b,)`` values; NaN where undefined. The weight of an
        image is the number of times that its patient was drawn.
    clusters
        ``(N,)`` patient identifiers.
    n_resamples, seed
        Number of resamples, and the seed that makes them repeatable.

    References
    ----------
    Field and Welsh, J R Stat Soc B 69 (2007), 369-390.

    Examples
    --------
    >>> y = np.array([0.0, 1.0, 2.0, 3.0, 1.0, 2.0])
    >>> mean = bootstrap(lambda weights: y @ weights / weights.sum(axis=0), ["a", "a", "b", "b", "c", "c"])
    >>> mean.value, mean.low, mean.high
    (1.5, 0.5, 2.5)
    """
    grouped = Clusters.of(clusters)

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        return {"metric": metric(multiplicities[grouped.codes])}

    distributions = resample({"": statistic}, Resampling(grouped, n_resamples, seed))
    return percentile_interval(distributions[""]["metric"], Reason("undefined-here"))


def pair_units(truth: np.ndarray, clusters: Clusters) -> int:
    """Return how many disjoint pairs of a positive and a negative patient there are at least.

    >>> pair_units(np.array([1, 0, 0, np.nan]), Clusters.single(4))
    1
    """
    return min(clusters.count(truth >= 0.5), clusters.count(truth < 0.5))


def wilson(n_successes: float, n: float) -> Interval:
    """Return a proportion with Wilson's score interval (Wilson, JASA 22 (1927), 209-212); counts may be effective ones.

    >>> interval = wilson(8, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.4902, 0.9433)
    """
    if n == 0:
        return Interval.undefined(Reason("no-observation"), "Wilson")
    share, shrink = n_successes / n, 1 + Z**2 / n
    centre = (share + Z**2 / (2 * n)) / shrink
    margin = Z / shrink * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    # At the ends a limit is exactly 0 or 1, but for rounding.
    low = centre - margin if n_successes else 0.0
    high = centre + margin if n_successes < n else 1.0
    return Interval(share, low, high, "Wilson")
