"""Area under the ROC curve and average precision, for many resamples from one sort.

The scores are sorted once. Each distinct score of a positive image is a *level*; each negative image lies between
two levels or ties with one. With multiplicities ``m`` of the clusters, the positives on each level and the negatives
above it are sparse matrix products and one cumulative sum: exact, ties included.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from focusmap.statistics.formulas import ratio
from focusmap.statistics.resampling import Clusters

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Incidence: TypeAlias = csr_array[np.float64, tuple[int, int]]


@dataclass(frozen=True)
class Ranking:
    """Images sorted by score, counted by level (rows, highest score first) and cluster (columns).

    Parameters
    ----------
    positives
        ``(K, G)`` positive images on each of K levels.
    between
        ``(K + 1, G)`` negative images between level k - 1 (included) and level k (excluded).
    tied
        ``(J, G)`` negative images on those levels where there are any.
    tied_levels
        ``(J,)`` their positions among the K levels.
    """

    positives: "Incidence"
    between: "Incidence"
    tied: "Incidence"
    tied_levels: np.ndarray

    def areas(self, multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``auroc`` and ``average_precision``, each ``(b,)``, for ``(G, b)`` multiplicities of the clusters.

        Higher is better; NaN where a resample holds one class only (average precision: no positive image).
        """
        positives = self.positives @ multiplicities
        above = np.cumsum(self.between @ multiplicities, axis=0)
        tied = self.tied @ multiplicities
        return {
            "auroc": self._auroc(positives, above, tied),
            "average_precision": self._average_precision(positives, above, tied),
        }

    def auroc(self, multiplicities: np.ndarray) -> np.ndarray:
        """Return the area under the ROC curve alone, ``(b,)``: 1 - (negatives above + tied / 2) / all pairs."""
        above = np.cumsum(self.between @ multiplicities, axis=0)
        return self._auroc(self.positives @ multiplicities, above, self.tied @ multiplicities)

    def _auroc(self, positives: np.ndarray, above: np.ndarray, tied: np.ndarray) -> np.ndarray:
        wrong = np.einsum("kb,kb->b", positives, above[:-1])
        wrong += np.einsum("kb,kb->b", positives[self.tied_levels], tied) / 2
        return 1.0 - ratio(wrong, positives.sum(axis=0) * above[-1])

    def _average_precision(self, positives: np.ndarray, above: np.ndarray, tied: np.ndarray) -> np.ndarray:
        hits = np.cumsum(positives, axis=0)
        called = hits + above[:-1]
        called[self.tied_levels] += tied
        precision = np.divide(hits, called, out=called, where=called > 0)
        return ratio(np.einsum("kb,kb->b", positives, precision), positives.sum(axis=0))


def rank(positive: np.ndarray, score: np.ndarray, clusters: Clusters) -> Ranking:
    """Return the ranking of ``(N,) bool`` truth by ``(N,)`` scores; neither holds NaN."""
    levels = np.unique(score[positive])
    n_levels = len(levels)
    not_below = n_levels - np.searchsorted(levels, score[~positive], side="left")
    above = n_levels - np.searchsorted(levels, score[~positive], side="right")
    tied = not_below != above
    tied_levels, tied_rows = np.unique(above[tied], return_inverse=True)
    codes = clusters.codes[~positive]
    level_of_positive = n_levels - 1 - np.searchsorted(levels, score[positive])
    return Ranking(
        _incidence(level_of_positive, clusters.codes[positive], (n_levels, clusters.n)),
        _incidence(not_below, codes, (n_levels + 1, clusters.n)),
        _incidence(tied_rows.reshape(-1), codes[tied], (len(tied_levels), clusters.n)),
        tied_levels,
    )


def _incidence(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> "Incidence":
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def auroc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the area under the ROC curve: the chance that a positive image scores above a negative one.

    Parameters
    ----------
    truth
        ``(N,)``, positive where at least 0.5; rows with NaN are left out.
    score
        ``(N,)``, higher means more likely positive; ties count one half.
    weights
        ``(N,)`` multiplicities; 1 where not given.

    Returns
    -------
    float
        0 to 1, higher is better; NaN if only one class is present.

    References
    ----------
    Hanley and McNeil, Radiology 143 (1982), 29-36.

    Examples
    --------
    >>> auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    return _area("auroc", truth, score, weights)


def average_precision(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the average precision: precision at each level weighted by the recall that it adds (no interpolation).

    Parameters and their meaning are those of `auroc`; NaN if no image is positive, 1 if all are.

    >>> round(average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    return _area("average_precision", truth, score, weights)


def _area(name: str, truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None) -> float:
    known = ~np.isnan(truth)
    multiplicities = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    ranking = rank(truth[known] >= 0.5, score[known], Clusters.single(int(known.sum())))
    return float(ranking.areas(multiplicities[known, None])[name][0])
