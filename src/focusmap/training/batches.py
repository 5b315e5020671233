"""Which training images an epoch shows, and how often; which of them make a batch; and the batch, of images or cases.

What an epoch shows is a function of (seed, epoch, labels) alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from focusmap.images import SIDECAR, Store, open_store, standardise
from focusmap.nets import CHANNELS_LAST, CaseBatch
from focusmap.study import Cohort, EncodedTable, Sampling, Task, images_of, split_by_size, view_numbers


@dataclass(frozen=True)
class CaseInputs:
    """N cases of P prepared images.

    Parameters
    ----------
    image_ids
        Names of the cases.
    store
        Of images, some of which may be no case's.
    images, views
        ``(P,)``: row in the store and number of the view of each image, case by case.
    starts
        ``(N + 1,)``: the images of case i are those from starts[i] to starts[i + 1].
    values
        ``(N, K) float32``: covariates of each case; K is 0 without a table.
    """

    image_ids: tuple[str, ...]
    store: Store
    images: np.ndarray
    views: np.ndarray
    starts: np.ndarray
    values: np.ndarray

    def __reduce__(self) -> tuple[object, ...]:
        """Say how another process gets this: images on a disk are opened there, not sent."""
        store = _folder_or_store(self.store)
        return _reopened_cases, (self.image_ids, store, self.images, self.views, self.starts, self.values)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {image_id: i for i, image_id in enumerate(self.image_ids)}

    def rows(self, image_ids: Sequence[str]) -> np.ndarray:
        """Return the positions of the cases named."""
        return np.array([self._positions[image_id] for image_id in image_ids], dtype=np.intp)

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of images of each of the cases at `rows`."""
        return np.asarray(self.starts[rows + 1] - self.starts[rows])

    def members(self, rows: np.ndarray) -> np.ndarray:
        """Return the places among `images` of the images of the cases at `rows`, case by case."""
        return np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])

    def read(self, rows: np.ndarray) -> CaseBatch:
        """Return the cases at `rows`, their images standardised."""
        members = self.members(rows)
        chosen, store = self.images[members], self.store
        stack = torch.from_numpy(standardise(store.pixels[chosen], store.mean[chosen], store.std[chosen]))
        return CaseBatch(
            stack.contiguous(memory_format=CHANNELS_LAST[stack.ndim]),
            torch.from_numpy(np.repeat(np.arange(len(rows)), self.sizes(rows))),
            torch.from_numpy(self.views[members].astype(np.int64)),
            torch.from_numpy(self.values[rows]),
        )

    def batches(self, rows: np.ndarray, n_images: int) -> Iterator[np.ndarray]:
        """Return `rows` in turn, as many together as have `n_images` at most; a larger case comes alone."""
        return (rows[start:stop] for start, stop in split_by_size(self.sizes(rows), n_images))


def _folder_or_store(store: Store) -> Store | Path:
    return store.folder if (store.folder / SIDECAR).is_file() else store


def _reopened_cases(image_ids: tuple[str, ...], store: Store | Path, *rest: np.ndarray) -> CaseInputs:
    return CaseInputs(image_ids, open_store(store) if isinstance(store, Path) else store, *rest)


def case_inputs(cohort: Cohort, store: Store, views: Sequence[str], values: np.ndarray | None = None) -> CaseInputs:
    """Return a cohort's cases as a training takes them.

    Parameters
    ----------
    cohort
        Of cases, each with an image in the store.
    store
        Of their images.
    views
        Names of the views, in the order of their numbers.
    values
        ``(N, K)`` covariates as numbers, or None.

    Raises
    ------
    InputError
        If an image has another view, or is not in the store.
    """
    images = images_of(cohort)
    sizes = np.bincount(images["position"], minlength=len(cohort))
    return CaseInputs(
        tuple(cohort.image_ids),
        store,
        store.rows(list(images["image_id"])),
        view_numbers(cohort, views),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.empty((len(cohort), 0), np.float32) if values is None else values,
    )


Inputs: TypeAlias = Store | EncodedTable | CaseInputs
"""What a training draws its batches from."""
Shown: TypeAlias = torch.Tensor | CaseBatch
"""What a net is shown at once: images, rows of a table, or cases."""


@dataclass(frozen=True)
class Labelled:
    """Images and what is known of them.

    Parameters
    ----------
    image_ids
        N names that the store knows.
    truth
        ``(N, T) float64``, NaN unknown.
    """

    image_ids: tuple[str, ...]
    truth: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.image_ids) == len(self.truth), (len(self.image_ids), self.truth.shape)

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class TrainingData:
    """What a net is trained on: prepared images, rows of a table or cases, the task, the labels of train and tune."""

    store: "Inputs"
    task: Task
    train: Labelled
    tune: Labelled

    def __reduce__(self) -> tuple[object, ...]:
        """Say how another process gets this: images on a disk are opened there, not sent."""
        store = self.store if isinstance(self.store, EncodedTable | CaseInputs) else _folder_or_store(self.store)
        return _reopened, (store, self.task, self.train, self.tune)


def _reopened(store: "Inputs | Path", task: Task, train: Labelled, tune: Labelled) -> TrainingData:
    return TrainingData(open_store(store) if isinstance(store, Path) else store, task, train, tune)


def epoch_order(n_images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the positions 0 to n - 1 in the order of an epoch, a function of (seed, epoch) alone."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    return generator.permutation(n_images)


def read_batch(store: "Inputs", rows: np.ndarray) -> Shown:
    """Return what a net is shown of `rows`.

    Returns
    -------
    Tensor or CaseBatch
        Standardised images ``(N, C, *spatial) float32``, channels last in memory; a table's rows as ``(N, K, 1, 1)``;
        cases.
    """
    if isinstance(store, CaseInputs):
        return store.read(rows)
    if isinstance(store, EncodedTable):
        return torch.from_numpy(store.values[rows])[:, :, None, None]
    images = standardise(store.pixels[rows], store.mean[rows], store.std[rows])
    return torch.from_numpy(images).contiguous(memory_format=CHANNELS_LAST[images.ndim])


DRAW_STREAM = 1


@dataclass(frozen=True)
class SampledImages:
    """The training images of an epoch, in order, as its sampling drew them.

    Parameters
    ----------
    positions
        ``(M,)`` among the training images; some may come more than once, others not at all.
    copies
        ``(M,)``: how often the image has come before in this epoch, so that each copy is augmented differently.
    """

    positions: np.ndarray
    copies: np.ndarray

    def take(self, chosen: np.ndarray) -> "SampledImages":
        """Return the images at `chosen` places of the order."""
        return SampledImages(self.positions[chosen], self.copies[chosen])


def draw_epoch(rarity: np.ndarray, sampling: Sampling, seed: int, epoch: int) -> SampledImages:
    """Return the images of an epoch, given how rare each is: `rarity_of` ``(N,)``, 1 for the commonest."""
    key = np.array([seed, epoch], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, DRAW_STREAM]))
    members = SAMPLINGS[sampling](rarity, generator)
    positions = members[epoch_order(len(members), seed, epoch)]
    return SampledImages(positions, _copies(positions))


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

    >>> from focusmap.study import Target
    >>> rarity_of(Task((Target("a"),)), np.array([[0.0], [0.0], [0.0], [1.0], [np.nan]])).tolist()
    [1.0, 1.0, 1.0, 3.0, 1.0]
    """
    rarity = np.ones(len(truth))
    for column, target in zip(truth.T, task.targets, strict=True):
        known = ~np.isnan(column)
        if target.is_number or not known.any():
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
