"""Means over targets that leave out what is undefined, and name it."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from focusmap.files import Json
from focusmap.reasons import Reason
from focusmap.statistics.intervals import Interval, bounded_interval, percentile_interval
from focusmap.statistics.resampling import Distribution

Resampled: TypeAlias = Mapping[str, Mapping[str, Distribution]]
"""By target, then by metric."""

AVERAGED = ("auroc", "average_precision")  # other metrics depend on each target's own threshold or scale


def means_over_targets(
    found: Resampled,
    units: Mapping[str, Mapping[str, int]],
    bounded: Callable[[Interval, int], Interval] = bounded_interval,
) -> dict[str, Json]:
    """Return the plain mean of AUROC and of average precision over the targets for which they are defined.

    Parameters
    ----------
    found
        Distributions by target and metric, all from the same resamples.
    units
        By target and metric, the patients on which a bounded metric rests; none where it has no bounds.
    bounded
        What becomes of an interval that rests on so many patients.

    Returns
    -------
    dict
        By metric ``value, low, high, n_targets, left_out``; metrics that no target has are absent.
    """
    means: dict[str, Json] = {}
    for metric in AVERAGED:
        having = {name: metrics[metric] for name, metrics in found.items() if metric in metrics}
        if having:
            rests_on = {name: units.get(name, {}).get(metric, 0) for name in having}
            means[metric] = _mean(having, rests_on, bounded)
    return means


def _mean(
    having: Mapping[str, Distribution], units: Mapping[str, int], bounded: Callable[[Interval, int], Interval]
) -> dict[str, Json]:
    """Averaged resample by resample, so that the interval knows how the targets hang together."""
    defined = {name: distribution for name, distribution in having.items() if not np.isnan(distribution.value)}
    left_out: list[Json] = [name for name in having if name not in defined]
    reason = Reason("undefined-for-all")
    if not defined:
        return {**Interval.undefined(reason).to_dict(), "n_targets": 0, "left_out": left_out}
    value = float(np.mean([distribution.value for distribution in defined.values()]))
    drawn = np.mean([distribution.resamples for distribution in defined.values()], axis=0)
    interval = percentile_interval(Distribution(value, drawn), reason)
    interval = bounded(interval, min(units[name] for name in defined))
    return {**interval.to_dict(), "n_targets": len(defined), "left_out": left_out}
