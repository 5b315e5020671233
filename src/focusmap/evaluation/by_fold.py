"""What each fold of a run reaches by itself, and their mean.

Models of different folds do not say the same of an image by the same number, so that ranking all images together can
understate each of them; the mean over folds is what such a model reaches (Forman and Scholz, SIGKDD Explorations 12
(2010), 49-57). The interval stays that of all images: folds share most of what they learn from, so that
their spread is none (Bengio and Grandvalet, JMLR 5 (2004), 1089-1105).
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from focusmap.basics import Json
from focusmap.evaluation.measures import JUDGED_BY, MEASURES
from focusmap.evaluation.metrics import EvaluationOptions, patients_of, samples_of
from focusmap.evaluation.predictions import Predictions


def by_fold(predictions: Predictions, truth: np.ndarray, folds: np.ndarray) -> dict[str, Json]:
    """Return for each target what `JUDGED_BY` says of each fold alone.

    Parameters
    ----------
    predictions, truth
        As for `focusmap.evaluation.metrics.evaluate_predictions`.
    folds
        ``(N,) int``, 0 to K - 1: which fold has tested each row.

    Returns
    -------
    dict
        By target ``metric``, ``values`` (K, None where undefined) and ``mean`` over those that are defined, or None.
    """
    clusters = patients_of(predictions)
    values: dict[str, list[Json]] = {target.name: [] for target in predictions.task.targets}
    for k in range(int(folds.max()) + 1):
        known = np.where((folds == k)[:, None], truth, np.nan)
        for name, sample in samples_of(predictions, known, clusters, EvaluationOptions()).items():
            found = MEASURES[sample.target.kind](sample).statistic(np.ones((clusters.n, 1)))
            value = float(found[JUDGED_BY[sample.target.kind]][0])
            values[name].append(None if np.isnan(value) else value)
    metrics = {target.name: JUDGED_BY[target.kind] for target in predictions.task.targets}
    return {name: {"metric": metrics[name], "values": found, "mean": _mean(found)} for name, found in values.items()}


def _mean(values: Sequence[Json]) -> float | None:
    defined = [cast(float, value) for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
