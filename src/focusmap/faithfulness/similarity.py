"""How alike two maps are: structural similarity and rank correlation, signed and absolute.

Each map is divided by its greatest absolute value first, so that only its shape counts; an empty map has no shape. It
is left out and counted. Maps are compared signed, and by their absolute values: a map that only turns from positive to
negative still shows the same structure. SSIM is a product whose factors for brightness and structure both change their
sign when a map does, so that it would call a map and its opposite alike; maps with negative values are therefore moved
from -1 .. 1 into 0 .. 1 before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from focusmap.errors import InputError
from focusmap.files import Json

SIGMA, RADIUS = 1.5, 5  # a window of 11 pixels
C1, C2 = 0.01**2, 0.03**2  # of a data range of 1
MOST_PAIRS = 200


@dataclass(frozen=True)
class Similarity:
    """SSIM and Spearman's correlation of n pairs of maps, each ``(n,)``, and how many pairs held an empty map."""

    ssim: np.ndarray
    spearman: np.ndarray
    n_empty: int = 0

    @property
    def median_ssim(self) -> float:
        """The median; NaN of no pair."""
        return float(np.median(self.ssim)) if len(self.ssim) else np.nan

    @property
    def median_spearman(self) -> float:
        """The median of those that are defined; NaN of none."""
        known = self.spearman[~np.isnan(self.spearman)]
        return float(np.median(known)) if len(known) else np.nan

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        ssim, spearman = (None if np.isnan(x) else x for x in (self.median_ssim, self.median_spearman))
        return {"ssim": ssim, "spearman": spearman, "n": len(self.ssim), "n_empty": self.n_empty}


@dataclass(frozen=True)
class Comparison:
    """The similarity of maps as they are, and of their absolute values."""

    signed: Similarity
    absolute: Similarity

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        return {"signed": self.signed.to_dict(), "absolute": self.absolute.to_dict()}


def compare(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Return how alike the maps ``(N, *spatial)`` of one source are to those of another, pair by pair."""
    pairs = list(zip(first, second, strict=True))
    return Comparison(_similarity(pairs), _similarity([(np.abs(a), np.abs(b)) for a, b in pairs]))


def between_images(maps: np.ndarray, labels: Sequence[int], seed: int = 0) -> Comparison:
    """Return how alike maps of different images of the same label are: the level of knowing the label alone.

    Parameters
    ----------
    maps
        ``(N, *spatial)``, each of another image or another label.
    labels
        ``(N,)`` label that each map explains.
    seed
        Of the at most 200 pairs that are drawn.
    """
    pairs = [(i, j) for i, j in combinations(range(len(maps)), 2) if labels[i] == labels[j]]
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:MOST_PAIRS]
    chosen = np.array([pairs[k] for k in drawn], dtype=np.intp).reshape(-1, 2)
    return compare(maps[chosen[:, 0]], maps[chosen[:, 1]])


def pooled(comparisons: Sequence[Comparison]) -> Comparison:
    """Return all pairs of several comparisons as one."""
    return Comparison(*(_pool([getattr(one, name) for one in comparisons]) for name in ("signed", "absolute")))


def structural_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean SSIM (Wang et al. 2004, eq. 13): Gaussian window of 11 pixels a side, data range 1.

    As in the paper, only windows that lie inside count.

    Parameters
    ----------
    first, second
        ``(*spatial) float``, each side at least 11.

    Returns
    -------
    float
        At most 1, for equal maps; 0 for unrelated ones.

    Raises
    ------
    InputError
        If a side is shorter than the window.

    >>> structural_similarity(np.eye(12), np.eye(12))
    1.0
    """
    from scipy.ndimage import gaussian_filter

    if min(first.shape) <= 2 * RADIUS:
        raise InputError(f"SSIM needs maps of at least {2 * RADIUS + 1} pixels a side; found {first.shape}.")

    def windowed(values: np.ndarray) -> np.ndarray:
        mean = gaussian_filter(values, SIGMA, radius=RADIUS)
        return np.asarray(mean[(slice(RADIUS, -RADIUS),) * values.ndim])

    x, y = first.astype(np.float64), second.astype(np.float64)
    mu_x, mu_y = windowed(x), windowed(y)
    var_x, var_y = windowed(x * x) - mu_x**2, windowed(y * y) - mu_y**2
    cov = windowed(x * y) - mu_x * mu_y
    ssim = (2 * mu_x * mu_y + C1) * (2 * cov + C2) / ((mu_x**2 + mu_y**2 + C1) * (var_x + var_y + C2))
    return float(ssim.mean())


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of the ranks of all pixels, ties sharing theirs; NaN where a map is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values.ravel()) for values in (first, second)]
    x, y = (rank - rank.mean() for rank in ranks)
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 0 else np.nan


def _similarity(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Similarity:
    full = [(a / np.abs(a).max(), b / np.abs(b).max()) for a, b in pairs if a.any() and b.any()]
    positive = [(a, b) if min(a.min(), b.min()) >= 0 else ((a + 1) / 2, (b + 1) / 2) for a, b in full]
    ssim = np.array([structural_similarity(a, b) for a, b in positive], dtype=np.float64)
    return Similarity(ssim, np.array([spearman(a, b) for a, b in full], dtype=np.float64), len(pairs) - len(full))


def _pool(parts: Sequence[Similarity]) -> Similarity:
    return Similarity(
        np.concatenate([part.ssim for part in parts]),
        np.concatenate([part.spearman for part in parts]),
        sum(part.n_empty for part in parts),
    )
