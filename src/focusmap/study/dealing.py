"""Images dealt to parts: whole patients with every label's share in each, or contiguous blocks with a gap between.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, Algorithm 1) with patients in the place of
examples: a patient counts with the number of images that carry the label. Added for small studies, where a patient
with many images can fill a part alone: no part stays empty; a label that few patients have is spread over as many
parts as it can reach; and of several deals the one is kept whose shares of images and of patients are nearest.

Without patient ids, neighbouring slices may show one patient. Blocks that follow each other in the sequence and are
kept apart by rows that nobody uses share at most the patients who are longer than the gap.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from focusmap.basics import InputError
from focusmap.study.measurements import numbers_in
from focusmap.study.task import Task

N_BINS = 4
N_DEALS = 64
PATIENTS_DEALT = 20_000
PARTS = re.compile(r"\d+|\D+")


def label_matrix(task: Task, truth: np.ndarray) -> np.ndarray:
    """Return ``(N, K) bool``: which of the K strata each image belongs to.

    Both sides of a binary target, each class of a class list, and the quarters of a continuous target are strata.
    An unknown (NaN) belongs to none.
    """
    columns: list[np.ndarray] = []
    for position, target in enumerate(task.targets):
        values = truth[:, position]
        if target.kind == "binary":
            columns += [values >= 0.5, values < 0.5]
        elif target.is_number:
            columns += _quarters(values)
        else:
            columns += [values == index for index in range(len(target.classes))]
    # Without labels there is one stratum, of nobody.
    return np.stack(columns or [np.full(len(truth), False)], axis=1)


def _quarters(values: np.ndarray) -> list[np.ndarray]:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return []
    cuts = np.quantile(known, np.arange(1, N_BINS) / N_BINS)
    bins = np.where(np.isnan(values), -1, np.searchsorted(cuts, values))
    return [bins == index for index in range(N_BINS)]


def stratify(patients: Sequence[str], strata: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Return the part of each image, ``(N,) int``; all images of a patient share one, whatever the order of the rows.

    Parameters
    ----------
    patients
        Patient of each image.
    strata : (N, K) bool
        As `label_matrix` gives them.
    fractions
        Share of each part; they sum to 1.
    seed
        Equal seeds give equal parts.

    Raises
    ------
    InputError
        If there are fewer patients than parts.

    Examples
    --------
    >>> stratify(["a", "a", "b", "c"], np.ones((4, 1), bool), [0.5, 0.25, 0.25], seed=0).shape
    (4,)
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) < len(fractions):
        raise InputError(f"{len(names)} patients cannot fill {len(fractions)} parts. Use fewer folds or add patients.")
    # The last column counts images, so that it settles ties and places patients without a known label.
    columns = np.concatenate([strata, np.ones((len(owner), 1), bool)], axis=1)
    counts = np.zeros((len(names), columns.shape[1]))
    np.add.at(counts, owner, columns)
    rng = np.random.default_rng(seed)
    # Large studies even out by themselves; small ones get more tries in the same time.
    n_deals = min(max(PATIENTS_DEALT // len(names), 1), N_DEALS)
    shares = np.asarray(fractions, dtype=np.float64)
    deals = [_Dealer(counts, shares, rng).deal() for _ in range(n_deals)]
    return min(deals, key=lambda deal: _distance(deal, counts, shares))[owner]


def _distance(part: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> float:
    """Return how far the parts are from their shares of images and of patients; 0 is exact.

    Each label's squared error is divided by what a fair coin would leave, n p (1 - p), so that rare labels count
    as much as common ones.
    """
    distance = 0.0
    for weights in (counts, (counts > 0).astype(np.float64)):
        total = weights.sum(axis=0)
        held = np.stack([weights[part == index].sum(axis=0) for index in range(len(shares))])
        fair = np.outer(shares * (1 - shares), total)
        error = (held - np.outer(shares, total)) ** 2
        distance += float((error[:, total > 0] / fair[:, total > 0]).sum())
    return distance


class _Dealer:
    """Deals patients, ``counts (P, K + 1)``, to parts; `wanted` is what each part still lacks of each label."""

    def __init__(self, counts: np.ndarray, fractions: np.ndarray, rng: np.random.Generator) -> None:
        self.counts = counts
        self.wanted = np.outer(fractions, counts.sum(axis=0))
        self.reached = np.zeros(self.wanted.shape, dtype=bool)
        self.part = np.full(len(counts), -1)
        self.turn = rng.permutation(len(counts))
        self.luck = rng.random(len(fractions))

    def deal(self) -> np.ndarray:
        while (self.part < 0).any():
            label = self._rarest_label()
            waiting = np.flatnonzero((self.part < 0) & (self.counts[:, label] > 0))
            # By lot and not by size: were large patients placed first, they would all go to train.
            order = waiting[np.argsort(self.turn[waiting])]
            for place, patient in enumerate(order):
                self._give(int(patient), self._choose(label, len(order) - place))
        return self.part

    def _rarest_label(self) -> int:
        left = (self.counts[self.part < 0] > 0).sum(axis=0)
        return int(np.where(left > 0, left, len(self.counts) + 1).argmin())

    def _choose(self, label: int, n_waiting: int) -> int:
        candidates = np.flatnonzero(self._open_parts(label, n_waiting))
        keys = (self.luck[candidates], self.wanted[candidates, -1], self.wanted[candidates, label])
        return int(candidates[np.lexsort(keys)[-1]])

    def _open_parts(self, label: int, n_waiting: int) -> np.ndarray:
        empty, lacking = ~self.reached[:, -1], ~self.reached[:, label]
        if (self.part < 0).sum() <= empty.sum():
            return empty
        return lacking if n_waiting <= lacking.sum() else np.ones(len(empty), dtype=bool)

    def _give(self, patient: int, part: int) -> None:
        self.part[patient] = part
        self.wanted[part] -= self.counts[patient]
        self.reached[part] |= self.counts[patient] > 0


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


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in PARTS.findall(text)]


def sequence_ranks(cells: Sequence[str]) -> np.ndarray:
    """Return the rank of each cell, ``(N,) int``: by number where all are numbers, else by the numbers in texts.

    >>> sequence_ranks(["10", "9", "9"]), sequence_ranks(["slice 10", "slice 9"])
    (array([1, 0, 0]), array([1, 0]))
    """
    numbers = numbers_in(cells)
    if not np.isnan(numbers).any():
        return np.unique(numbers, return_inverse=True)[1]
    ordered = sorted(set(cells), key=_natural)
    rank = {cell: place for place, cell in enumerate(ordered)}
    return np.array([rank[cell] for cell in cells], dtype=int)


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
