"""Which training images an epoch shows, and how often: a function of (seed, epoch, labels) alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from focusmap.study.recipe import Sampling
from focusmap.study.task import Task
from focusmap.training.batches import epoch_order

DRAW_STREAM = 1


@dataclass(frozen=True)
class Drawn:
    """The images of an epoch, in order.

    Parameters
    ----------
    positions
        ``(M,)`` among the training images; some may come more than once, others not at all.
    copies
        ``(M,)``: how often the image has come before in this epoch, so that each copy is augmented differently.
    """

    positions: np.ndarray
    copies: np.ndarray

    def take(self, chosen: np.ndarray) -> "Drawn":
        """Return the images at `chosen` places of the order."""
        return Drawn(self.positions[chosen], self.copies[chosen])


def draw_epoch(rarity: np.ndarray, sampling: Sampling, seed: int, epoch: int) -> Drawn:
    """Return the images of an epoch, given how rare each is: `rarity_of` ``(N,)``, 1 for the commonest."""
    key = np.array([seed, epoch], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, DRAW_STREAM]))
    members = SAMPLINGS[sampling](rarity, generator)
    positions = members[epoch_order(len(members), seed, epoch)]
    return Drawn(positions, _copies(positions))


def expected_draws(rarity: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Return how often each image comes in an epoch, on average, ``(N,)``.

    >>> expected_draws(np.array([1.0, 1.0, 1.0, 3.0]), "weighted")
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    scales = {"weighted": len(rarity) / rarity.sum(), "over": 1.0, "under": 1 / rarity.max()}
    return np.ones(len(rarity)) if sampling == "all" else np.asarray(rarity * scales[sampling])


def rarity_of(task: Task, truth: np.ndarray) -> np.ndarray:
    """Return how many times rarer than its target's commonest class an image's rarest class is, ``(N,)``, at least 1.

    So repeat factors are chosen from the rarest category of an image (Gupta et al. 2019, LVIS, section 3.4). Unknown
    truth and continuous targets have no say.

    >>> from focusmap.study.task import Target
    >>> rarity_of(Task((Target("a"),)), np.array([[0.0], [0.0], [0.0], [1.0], [np.nan]])).tolist()
    [1.0, 1.0, 1.0, 3.0, 1.0]
    """
    rarity = np.ones(len(truth))
    for column, target in zip(truth.T, task.targets, strict=True):
        known = ~np.isnan(column)
        if target.kind == "continuous" or not known.any():
            continue
        labels = (column[known] >= 0.5 if target.kind == "binary" else column[known]).astype(np.int64)
        counts = np.bincount(labels)
        rarity[known] = np.maximum(rarity[known], counts.max() / counts[labels])
    return rarity


def _all(rarity: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    del generator
    return np.arange(len(rarity))


def _weighted(rarity: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return generator.choice(len(rarity), size=len(rarity), p=rarity / rarity.sum())


def _over(rarity: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.repeat(np.arange(len(rarity)), np.floor(rarity + generator.random(len(rarity))).astype(np.int64))


def _under(rarity: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.flatnonzero(generator.random(len(rarity)) < rarity / rarity.max())


SAMPLINGS: dict[Sampling, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "all": _all, "weighted": _weighted, "over": _over, "under": _under,
}  # fmt: skip


def _copies(positions: np.ndarray) -> np.ndarray:
    """Return how often each value stands earlier in the array.

    >>> _copies(np.array([5, 3, 5, 5, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(positions, kind="stable")
    _, first, counts = np.unique(positions[order], return_index=True, return_counts=True)
    copies = np.empty(len(positions), dtype=np.int64)
    copies[order] = np.arange(len(positions)) - np.repeat(first, counts)
    return copies
