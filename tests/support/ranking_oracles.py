"""Slow, obvious versions of the statistics, written from their definitions."""

from collections.abc import Callable

import numpy as np


def pairwise_auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Share of pairs in the right order, a tie counting one half: one pair after the other."""
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in score[positive == 1] for b in score[positive == 0]]
    return float(np.mean(wins)) if wins else float("nan")


def stepwise_average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    """Walk down the distinct scores; add precision times the recall gained at each."""
    total, area, recall = positive.sum(), 0.0, 0.0
    if not total:
        return float("nan")
    for level in sorted(set(score), reverse=True):
        called = score >= level
        gained = positive[called].sum() / total
        area += (gained - recall) * positive[called].mean()
        recall = gained
    return area


def bootstrap_by_rows(
    metric: Callable[[np.ndarray], float], codes: np.ndarray, multiplicities: np.ndarray
) -> np.ndarray:
    """Write every resample out as rows, patient by patient, and evaluate the metric on those rows."""
    values = []
    for drawn in multiplicities.T.astype(int):
        rows = [
            row for patient, times in enumerate(drawn) for _ in range(times) for row in np.flatnonzero(codes == patient)
        ]
        values.append(metric(np.array(rows, dtype=int)))
    return np.array(values)


def obuchowski_variance(positive: np.ndarray, score: np.ndarray, codes: np.ndarray) -> float:
    """Variance of the AUROC by the sums of Obuchowski (1997), cluster by cluster and pair by pair."""

    def outranks(a: float, b: float) -> float:
        return 1.0 if a > b else 0.5 if a == b else 0.0

    x, y = np.flatnonzero(positive == 1), np.flatnonzero(positive == 0)
    v10 = {i: np.mean([outranks(score[i], score[j]) for j in y]) for i in x}
    v01 = {j: np.mean([outranks(score[i], score[j]) for i in x]) for j in y}
    area = np.mean(list(v10.values()))
    s10 = s01 = s11 = 0.0
    for cluster in set(codes):
        a = sum(v10[i] - area for i in x if codes[i] == cluster)
        b = sum(v01[j] - area for j in y if codes[j] == cluster)
        s10, s01, s11 = s10 + a * a, s01 + b * b, s11 + a * b
    i10, i01, i = len(set(codes[x])), len(set(codes[y])), len(set(codes))
    s10 *= i10 / ((i10 - 1) * len(x))
    s01 *= i01 / ((i01 - 1) * len(y))
    s11 *= i / (i - 1)
    return s10 / len(x) + s01 / len(y) + 2 * s11 / (len(x) * len(y))
