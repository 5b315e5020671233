"""Images that stand twice in a cohort: exactly, or nearly.

A near-duplicate is found on 32-pixel thumbnails in two steps. Their correlation must pass `CORRELATION`. Dark grey
X-rays of different patients can come near that, since they share the outline of a chest; so what is left after the
mean of all other images is taken away must correlate too (`DETAIL`), unless the two are all but identical (`SAME`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

CORRELATION = 0.97
DETAIL = 0.85
SAME = 0.999
BLOCK = 1024
MAX_PAIRS = 100_000


@dataclass(frozen=True)
class NearPair:
    """Positions of two images, `a` before `b`, and the correlation of their thumbnails."""

    a: int
    b: int
    correlation: float


def exact_groups(digests: Sequence[str]) -> list[list[int]]:
    """Return the positions of images whose pixels are equal, group by group; an empty digest belongs to none.

    >>> exact_groups(["x", "y", "x", "", ""])
    [[0, 2]]
    """
    column = pd.Series(list(digests))
    repeated = column[(column != "") & column.duplicated(keep=False)]
    return [list(rows) for _, rows in repeated.groupby(repeated, sort=False).groups.items()]


def near_pairs(thumbnails: np.ndarray, usable: np.ndarray) -> list[NearPair]:
    """Return the pairs of nearly equal images, the nearest first; at most `MAX_PAIRS` of them.

    Parameters
    ----------
    thumbnails : (N, rows, columns)
        Any scale; constant ones are in no pair.
    usable : (N,) bool
        Images to compare.
    """
    if not usable.any():
        return []
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    kept = np.flatnonzero(usable & (flat.max(axis=1) > flat.min(axis=1)))
    pairs: list[NearPair] = []
    for a, b, correlation in _candidates(unit_rows(flat[kept])):
        pairs += [NearPair(int(i), int(j), float(r)) for i, j, r in zip(kept[a], kept[b], correlation, strict=True)]
        if len(pairs) > MAX_PAIRS:
            break
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair.a, pair.b))[:MAX_PAIRS]


def unit_rows(flat: np.ndarray) -> np.ndarray:
    """Return each row centred and of length 1 (zero if constant), so that inner products are correlations."""
    centred = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-9), dtype=np.float32)


def _candidates(unit: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield positions and correlations of near pairs, `BLOCK` rows at a time, so that memory stays small."""
    mean = unit.mean(axis=0) if len(unit) else np.zeros(unit.shape[1], np.float32)
    rest = unit - mean
    along, square = rest @ mean, np.einsum("ij,ij->i", rest, rest)
    for start in range(0, len(unit), BLOCK):
        product = rest[start : start + BLOCK] @ rest[start:].T
        correlation = product + along[start : start + BLOCK, None] + along[None, start:] + mean @ mean
        a, b = np.nonzero(np.triu(correlation > CORRELATION, k=1))
        r = correlation[a, b]
        detail = _detail(product[a, b], square[start + a], square[start + b], len(unit))
        near = (detail > DETAIL) | (r > SAME)
        yield start + a[near], start + b[near], np.minimum(r[near], 1.0)


def _detail(product: np.ndarray, square_a: np.ndarray, square_b: np.ndarray, n: int) -> np.ndarray:
    """Return the correlation of two images less the mean of the other n - 2.

    With r the images less the mean of all n, that is u_a = r_a + c (r_a + r_b), c = 1 / (n - 2), and u_b alike;
    all inner products follow from those of r.
    """
    if n <= 2:
        return np.ones_like(product)
    c = 1 / (n - 2)
    both = square_a + 2 * product + square_b
    top = product + c * (square_a + 2 * product + square_b) + c**2 * both
    length_a = square_a + 2 * c * (square_a + product) + c**2 * both
    length_b = square_b + 2 * c * (square_b + product) + c**2 * both
    return np.asarray(top / np.sqrt(np.maximum(length_a * length_b, 1e-20)))
