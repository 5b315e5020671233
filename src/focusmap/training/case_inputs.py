"""Cases as a training takes them: which prepared images are whose, and the rows of their table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from focusmap.images.prepare import standardise
from focusmap.images.store_files import SIDECAR, open_store
from focusmap.nets.cases import CaseBatch
from focusmap.nets.grids import CHANNELS_LAST
from focusmap.study.cases import images_of, view_numbers
from focusmap.study.cohort import Cohort
from focusmap.study.samples import split_by_size

if TYPE_CHECKING:
    from focusmap.images.store import Store


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
    store: "Store"
    images: np.ndarray
    views: np.ndarray
    starts: np.ndarray
    values: np.ndarray

    def __reduce__(self) -> tuple[object, ...]:
        """Say how another process gets this: images on a disk are opened there, not sent."""
        folder = self.store.folder
        store = folder if (folder / SIDECAR).is_file() else self.store
        return _reopened, (self.image_ids, store, self.images, self.views, self.starts, self.values)

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


def _reopened(image_ids: tuple[str, ...], store: "Store | Path", *rest: np.ndarray) -> CaseInputs:
    return CaseInputs(image_ids, open_store(store) if isinstance(store, Path) else store, *rest)


def case_inputs(cohort: Cohort, store: "Store", views: Sequence[str], values: np.ndarray | None = None) -> CaseInputs:
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
