"""Patients drawn with replacement: how often each stands in each resample.

A resample is never written out as rows. It is one multiplicity a patient, and every metric of this package is
computed from multiplicities, so that sorting and summing over images happens once and not once a resample.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Statistic: TypeAlias = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""From ``(G, b)`` multiplicities of G clusters in b resamples to named ``(b,)`` values, NaN where undefined."""

BLOCK, FEWEST = 64, 4
"""Resamples at a time: those of 10,000 patients take 5 MB, about what the processor's cache holds."""
CELLS = 2**20
"""Multiplicities at a time, in 8 MB: of more than 16,384 patients fewer resamples are held, down to `FEWEST`."""


@dataclass(frozen=True)
class Clusters:
    """Which images belong together, such as those of one patient.

    Parameters
    ----------
    codes
        ``(N,) int``, the number of each image's cluster, from 0.
    n
        Number of clusters, G; a cluster may hold no image of this array.
    """

    codes: np.ndarray
    n: int

    @classmethod
    def of(cls, ids: Sequence[str] | np.ndarray) -> "Clusters":
        """Return the clusters of equal `ids`, numbered in sorted order, so that row order does not matter.

        >>> Clusters.of(["p2", "p1", "p2"]).codes
        array([1, 0, 1])
        """
        names, codes = np.unique(np.asarray(ids), return_inverse=True)
        return cls(codes.reshape(-1), len(names))

    @classmethod
    def single(cls, n: int) -> "Clusters":
        """Return clusters of one image each."""
        return cls(np.arange(n), n)

    def take(self, rows: np.ndarray) -> "Clusters":
        """Return the clusters of some rows (positions or a mask); numbering and G stay."""
        return Clusters(self.codes[rows], self.n)

    def count(self, rows: np.ndarray) -> int:
        """Return how many different clusters hold the rows of a mask ``(N,) bool``."""
        return int(np.unique(self.codes[rows]).size)

    def sums(self, *columns: np.ndarray) -> np.ndarray:
        """Return ``(k, G)``: the sum over each cluster's images of each of k columns, in arrays ``(N, any)``."""
        found = np.empty((sum(some.shape[1] for some in columns), self.n))
        for place, column in enumerate(column for some in columns for column in some.T):
            found[place] = np.bincount(self.codes, weights=column, minlength=self.n)
        return found


@dataclass(frozen=True)
class Resampling:
    """Draws of G clusters out of G with replacement, repeatable from a seed.

    Two models that are evaluated with equal clusters, number and seed see the same resamples.
    """

    clusters: Clusters
    n_resamples: int = 1000
    seed: int = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield ``(G, b) float64`` multiplicities; the same ones however many come at a time."""
        generator = np.random.default_rng(self.seed)
        block = max(FEWEST, min(BLOCK, CELLS // max(self.clusters.n, 1)))
        for start in range(0, self.n_resamples, block):
            yield _multiplicities(generator, self.clusters.n, min(block, self.n_resamples - start))


def _multiplicities(generator: np.random.Generator, n: int, n_resamples: int) -> np.ndarray:
    drawn = generator.integers(0, n, size=(n_resamples, n)) + n * np.arange(n_resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n).reshape(n_resamples, n)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


@dataclass(frozen=True)
class Distribution:
    """A metric of the sample itself, and of its resamples ``(B,)``; NaN where undefined."""

    value: float
    resamples: np.ndarray


def resample(statistics: Mapping[str, Statistic], resampling: Resampling) -> dict[str, dict[str, Distribution]]:
    """Return every metric of every statistic, on the sample and on the same resamples for all.

    Memory is bounded by one block of multiplicities and the results. One cluster or two say nothing of how clusters
    vary: all their resamples are NaN.
    """
    whole = np.ones((resampling.clusters.n, 1))
    values = {name: statistic(whole) for name, statistic in statistics.items()}
    results = {
        name: {metric: np.full(resampling.n_resamples, np.nan) for metric in metrics}
        for name, metrics in values.items()
    }
    start = 0
    for block in resampling.blocks() if resampling.clusters.n > 2 else ():
        stop = start + block.shape[1]
        for name, statistic in statistics.items():
            for metric, found in statistic(block).items():
                results[name][metric][start:stop] = found
        start = stop
    return {
        name: {metric: Distribution(float(values[name][metric][0]), drawn) for metric, drawn in metrics.items()}
        for name, metrics in results.items()
    }
