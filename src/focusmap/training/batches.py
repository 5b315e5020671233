"""Which images make a batch, and the batch itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from focusmap.images.prepare import standardise
from focusmap.images.store_files import SIDECAR
from focusmap.nets.cases import CaseBatch
from focusmap.nets.grids import CHANNELS_LAST
from focusmap.study.covariates import Encoded
from focusmap.study.task import Task
from focusmap.training.case_inputs import CaseInputs

if TYPE_CHECKING:
    from focusmap.images.store import Store

    Inputs: TypeAlias = Store | Encoded | CaseInputs

Shown: TypeAlias = Tensor | CaseBatch
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
        return _reopened, (_place(self.store), self.task, self.train, self.tune)


def _place(store: "Inputs") -> "Inputs | Path":
    is_opened_elsewhere = not isinstance(store, Encoded | CaseInputs) and (store.folder / SIDECAR).is_file()
    return store.folder if is_opened_elsewhere else store  # type: ignore[union-attr]


def _reopened(store: "Inputs | Path", task: Task, train: Labelled, tune: Labelled) -> TrainingData:
    from focusmap.images.store import open_store

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
    if isinstance(store, Encoded):
        return torch.from_numpy(store.values[rows])[:, :, None, None]
    images = standardise(store.pixels[rows], store.mean[rows], store.std[rows])
    return torch.from_numpy(images).contiguous(memory_format=CHANNELS_LAST[images.ndim])
