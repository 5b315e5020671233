"""Contiguous blocks of a sequence of slices dealt to parts, with a gap between them.

Without patient ids, neighbouring slices may show one patient. Blocks that follow each other in the sequence and are
kept apart by rows that nobody uses share at most the patients who are longer than the gap.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from focusmap.errors import InputError

UNUSED = -1
MAX_ROUNDS = 16


def deal_blocks(order: np.ndarray, strata: np.ndarray, fractions: Sequence[float], gap: int) -> np.ndarray:
    """Return the part of each row, ``(N,) int``; -1 for the rows of the gaps.

    Where the classes follow each other in long runs, each run is cut into one block a part. Where they alternate,
    the whole sequence is cut, into as many rounds of blocks as it takes for every class to reach every part.

    Parameters
    ----------
    order : (N,)
        Rank of each row in the sequence, as `sequence_ranks` gives it; equal ranks stay together.
    strata : (N, K) bool
        As `label_matrix` gives them.
    fractions
        Share of each part.
    gap
        Rows left out where one part ends and another begins.

    Raises
    ------
    InputError
        If the sequence is too short for every class to reach every part.
    """
    rows = np.argsort(order, kind="stable")
    ranks, ordered = order[rows], strata[rows]
    pieces = _class_runs(ordered, shortest=max(gap, 1) * len(fractions))
    rounds = 1
    while rounds <= MAX_ROUNDS:
        parts = _leave_gaps(_cut(pieces, ranks, fractions, rounds), gap)
        if _every_class_everywhere(parts, ordered, len(fractions)):
            dealt = np.empty(len(rows), dtype=int)
            dealt[rows] = parts
            return dealt
        pieces, rounds = [(0, len(rows))], rounds * 2
    raise InputError(
        f"{len(rows)} rows in sequence are too few for contiguous blocks with gaps of {gap} rows in {len(fractions)} "
        "parts that each hold every class. Use fewer folds if there are any, or name a patient column with --patient; "
        "if no two rows are of one patient, say --patient none in the place of --block."
    )


def sequence_ranks(cells: Sequence[str]) -> np.ndarray:
    """Return the rank of each cell, ``(N,) int``: by number where all are numbers, else by text.

    >>> sequence_ranks(["10", "9", "9"])
    array([1, 0, 0])
    """
    numbers = pd.to_numeric(pd.Series(list(cells)), errors="coerce").to_numpy(dtype=np.float64)
    keys = np.asarray(cells, dtype=str) if np.isnan(numbers).any() else numbers
    return np.unique(keys, return_inverse=True)[1]


def _class_runs(strata: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    """Return start and end of each stretch of one class; strays shorter than `shortest` go with what they follow."""
    changes = np.flatnonzero((strata[1:] != strata[:-1]).any(axis=1)) + 1
    long = [start for start, end in pairwise([0, *changes.tolist(), len(strata)]) if end - start >= shortest]
    starts = [start for before, start in pairwise(long) if (strata[before] != strata[start]).any()]
    return list(pairwise([0, *starts, len(strata)]))


def _cut(pieces: list[tuple[int, int]], ranks: np.ndarray, fractions: Sequence[float], rounds: int) -> np.ndarray:
    """Cut each piece `rounds` times into one block a part; every other round runs backwards, which saves gaps."""
    parts = np.zeros(len(ranks), dtype=int)
    forward = list(range(len(fractions)))
    for number, (start, end) in enumerate(pieces):
        turns = [forward[:: -1 if (number + turn) % 2 else 1] for turn in range(rounds)]
        sequence = [part for turn in turns for part in turn]
        shares = np.cumsum([fractions[part] / rounds for part in sequence])
        cuts = [_at_change(ranks, start + round(share * (end - start)), start, end) for share in shares[:-1]]
        for part, low, high in zip(sequence, [start, *cuts], [*cuts, end], strict=True):
            parts[low:high] = part
    return parts


def _at_change(ranks: np.ndarray, cut: int, start: int, end: int) -> int:
    """Move a cut forward to where the rank changes."""
    while start < cut < end and ranks[cut] == ranks[cut - 1]:
        cut += 1
    return cut


def _leave_gaps(parts: np.ndarray, gap: int) -> np.ndarray:
    left = parts.copy()
    for change in np.flatnonzero(parts[1:] != parts[:-1]) + 1:
        low = max(0, int(change) - gap // 2)
        left[low : low + gap] = UNUSED
    return left


def _every_class_everywhere(parts: np.ndarray, strata: np.ndarray, n_parts: int) -> bool:
    classes = strata[:, strata.any(axis=0)]
    return all((parts == part).any() and classes[parts == part].any(axis=0).all() for part in range(n_parts))
