"""Patient-clustered bootstrap of 14 AUROCs x 10,000 images x 1,000 resamples, beside a scikit-learn loop.

The loop is timed on some of the resamples and scaled to all; both see the same resamples, and the largest difference
between their numbers is printed.

    python benchmarks/intervals.py [--measured 20]
"""

import argparse
from time import perf_counter

import numpy as np
from sklearn.metrics import roc_auc_score

from focusmap.statistics import Clusters, Resampling, rank, resample

N_LABELS, N_IMAGES, N_PATIENTS, N_RESAMPLES = 14, 10_000, 2_500, 1_000


def make_study() -> tuple[np.ndarray, np.ndarray, Clusters]:
    """Truth and scores ``(N, T)`` of prevalence 1 % to 50 %; scores of three decimals, so that many tie."""
    generator = np.random.default_rng(0)
    truth = generator.random((N_IMAGES, N_LABELS)) < np.geomspace(0.01, 0.5, N_LABELS)
    scores = np.round(generator.normal(size=truth.shape) + truth, 3)
    return truth, scores, Clusters.of(generator.integers(0, N_PATIENTS, N_IMAGES))


def ours(truth: np.ndarray, scores: np.ndarray, clusters: Clusters) -> np.ndarray:
    """AUROCs ``(T, B)`` of all resamples."""
    rankings = {str(t): rank(truth[:, t], scores[:, t], clusters) for t in range(N_LABELS)}
    statistics = {name: lambda m, r=ranking: {"auroc": r.auroc(m)} for name, ranking in rankings.items()}
    found = resample(statistics, Resampling(clusters, N_RESAMPLES))
    return np.stack([metrics["auroc"].resamples for metrics in found.values()])


def scikit_learn_loop(truth: np.ndarray, scores: np.ndarray, resamples: list[np.ndarray]) -> np.ndarray:
    """AUROCs ``(T, b)`` of resamples given as row positions."""
    return np.array([[roc_auc_score(truth[rows, t], scores[rows, t]) for rows in resamples] for t in range(N_LABELS)])


def rows_of(clusters: Clusters, n_measured: int) -> list[np.ndarray]:
    multiplicities = np.concatenate(list(Resampling(clusters, n_measured).blocks()), axis=1).astype(int)
    return [np.repeat(np.arange(N_IMAGES), drawn[clusters.codes]) for drawn in multiplicities.T]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", type=int, default=20, help="resamples of the loop that are timed")
    n_measured = parser.parse_args().measured
    truth, scores, clusters = make_study()
    ours(truth, scores, clusters)  # the first call imports scipy
    start = perf_counter()
    fast = ours(truth, scores, clusters)
    seconds = perf_counter() - start
    rows = rows_of(clusters, n_measured)
    start = perf_counter()
    slow = scikit_learn_loop(truth, scores, rows)
    loop_seconds = (perf_counter() - start) * N_RESAMPLES / n_measured
    print(f"{N_LABELS} AUROCs x {N_IMAGES:,} images of {N_PATIENTS:,} patients x {N_RESAMPLES:,} resamples")
    print(f"focusmap            {seconds:8.2f} s")
    print(f"scikit-learn loop   {loop_seconds:8.1f} s (scaled from {n_measured} resamples)")
    print(f"ratio               {loop_seconds / seconds:8.0f}")
    print(f"largest difference  {np.abs(fast[:, :n_measured] - slow).max():8.1e} over {slow.size} AUROCs")


if __name__ == "__main__":
    main()
