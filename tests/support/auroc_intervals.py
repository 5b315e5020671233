"""The patient-clustered interval of one AUROC, put together as an evaluation does it."""

from collections.abc import Sequence

import numpy as np

from focusmap.basics import Reason
from focusmap.statistics import Clusters, Resampling, resample
from focusmap.statistics.intervals import Interval, bounded_interval, pair_units, percentile_interval
from focusmap.statistics.ranking import rank


def bootstrap_auroc(
    truth: np.ndarray, score: np.ndarray, patients: Sequence[str] | np.ndarray, n_resamples: int, seed: int = 0
) -> Interval:
    """Return the interval of truth and score ``(N,)``; undefined, with a reason, of one class."""
    clusters = Clusters.of(patients)
    ranking = rank(truth >= 0.5, score, clusters)
    found = resample({"": lambda drawn: {"auroc": ranking.auroc(drawn)}}, Resampling(clusters, n_resamples, seed))
    interval = percentile_interval(found[""]["auroc"], Reason("one-class"))
    return bounded_interval(interval, pair_units(truth, clusters))
