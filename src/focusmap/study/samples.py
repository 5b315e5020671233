"""Rows of a cohort with their prepared images, some at a time: the one way in which images reach a model.

Images come from a store, or are read from their files by threads that stay a little ahead. What cannot be read is noted
in `Samples.failures`, and the others go on; a case goes on with the images that are left of it.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from focusmap.basics import InputError, MissingFileError
from focusmap.images import AnyPlacement, AnyPreparation, FloatArray, Uint8Array, prepare_file, scale_of, standardise
from focusmap.study.cases import images_of
from focusmap.study.cohort import Cohort

if TYPE_CHECKING:
    from focusmap.images import Store

READERS = 2
# 64 images of 224 a side, with some to spare; a net's first maps of them take a GB or so.
VOXELS_AT_ONCE = 4_000_000
EMPTY_CASE = "no image of this case can be read"


class Failure(NamedTuple):
    """An image that cannot be read, or a case that has no other (its name in place of a file), and why."""

    image_id: str
    file: Path
    reason: str
    path: str

    @property
    def row(self) -> tuple[str, str]:
        """The path as the table says it, and why, without where the file stands."""
        return self.path, self.reason.removeprefix(f"{self.file}: ").replace(str(self.file), self.path)


@dataclass(frozen=True)
class Images:
    """P prepared images.

    Parameters
    ----------
    prepared
        ``(P, C, *spatial) uint8``.
    mean, std
        ``(P,) float32``: of each image's content without padding.
    placements
        Where each comes from; empty where they come from a store.
    """

    prepared: Uint8Array
    mean: FloatArray
    std: FloatArray
    placements: tuple[AnyPlacement, ...] = ()

    @cached_property
    def pixels(self) -> FloatArray:
        """``(P, C, *spatial) float32``: each image with mean 0 and deviation 1, as a net is shown it."""
        return standardise(self.prepared, self.mean, self.std)

    @cached_property
    def is_blank(self) -> np.ndarray:
        """``(P,) bool``: which hold one value throughout, padding aside; of a store, where padding is unknown, none."""
        blank = np.zeros(len(self.prepared), dtype=bool)
        for i, placement in enumerate(self.placements):
            content = self.prepared[i][(slice(None), *placement.content)]
            blank[i] = not np.ptp(content.reshape(len(content), -1), axis=1).any()
        return blank


@dataclass(frozen=True)
class Batch:
    """N rows of a cohort with their P images.

    Parameters
    ----------
    rows
        Of a row that has images, one could be read.
    positions
        ``(N,)``: of the rows among those of the samples.
    table
        Of the images, row by row: ``image_id``, ``path``, ``position`` of its row among `rows` and, of cases,
        ``case_id`` and ``view``.
    files
        Of the images.
    n_unreadable
        ``(N,)``: how many images of each row could not be read.
    prepared
        The images in each preparation that the batch was asked for with.
    """

    rows: Cohort
    positions: np.ndarray
    table: pd.DataFrame
    files: tuple[Path, ...]
    n_unreadable: np.ndarray
    prepared: Mapping[AnyPreparation, Images] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, preparation: AnyPreparation) -> Images:
        """Return the images in a preparation that `Samples.batches` was asked for."""
        return self.prepared[preparation]


class Samples:
    """Rows of a cohort, to be shown to a model in batches.

    Parameters
    ----------
    rows
        Each an image, a case of images, or a row of a table alone.
    files
        Of all images, row by row; empty where rows have none.
    store
        Where the images lie prepared, or None.
    """

    def __init__(self, rows: Cohort, files: Sequence[Path], store: "Store | None" = None) -> None:
        self.rows, self.files, self.store = rows, list(files), store
        self.failures: list[Failure] = []
        """What could not be read so far."""
        self.n_done = 0
        """Rows that were passed so far, whether they could be read or not."""

    @staticmethod
    def from_table(rows: Cohort) -> "Samples":
        """Return rows without images."""
        return Samples(rows, [])

    @staticmethod
    def from_files(rows: Cohort, files: Sequence[Path] | None = None) -> "Samples":
        """Return rows whose images are read from their files; by default from those that the cohort names."""
        paths = rows.table["path"] if rows.images is None else images_of(rows)["path"]
        return Samples(rows, [rows.study.images / path for path in paths] if files is None else files)

    @staticmethod
    def from_store(rows: Cohort, store: "Store") -> "Samples":
        """Return rows whose images a store holds; in another preparation than the store's they are read from files."""
        return Samples(rows, Samples.from_files(rows).files, store)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The images of all rows, as a `Batch` has those of its own."""
        if not self.files:
            return pd.DataFrame({"image_id": [], "path": [], "position": []})
        if self.rows.images is not None:
            return images_of(self.rows)
        return self.rows.table[["image_id", "path"]].assign(position=np.arange(len(self.rows)))

    @cached_property
    def starts(self) -> np.ndarray:
        """``(N + 1,)``: the images of row i are those from starts[i] to starts[i + 1]."""
        sizes = np.bincount(self.table["position"].to_numpy(dtype=np.intp), minlength=len(self.rows))
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)

    def is_stored(self, preparation: AnyPreparation) -> bool:
        """Return whether the store holds the images in this preparation."""
        return self.store is not None and self.store.preparation == preparation

    def batches(self, preparations: Iterable[AnyPreparation] = (), n_images: int = 1) -> Iterator[Batch]:
        """Yield all rows in turn, with their images in each of the preparations.

        Parameters
        ----------
        preparations
            What images will be asked for in. An image that cannot be read in one of them is left out of its batch.
        n_images
            Most images of a batch; a larger case comes alone. Of a store, batches have equal sizes; of files, all but
            the last have the most, less what cannot be read. Rows without images come together.
        """
        wanted = tuple(dict.fromkeys(preparations))
        unread = [preparation for preparation in wanted if not self.is_stored(preparation)]
        with ThreadPoolExecutor(READERS) as pool:
            ahead = _read_ahead(pool, self.files if unread else [], unread, 2 * n_images)
            for start, stop in self._chunks(n_images, is_read=bool(unread)):
                images = list(islice(ahead, int(self.starts[stop] - self.starts[start])))
                batch = self._batch(start, stop, [image.reason for image in images])
                self.n_done = stop
                if len(batch):
                    yield replace(batch, prepared=self._stored(batch, wanted) | _stack(images, unread))

    def _chunks(self, n_images: int, *, is_read: bool) -> Iterator[tuple[int, int]]:
        """Return from which row to which each batch reaches."""
        n = len(self)
        if not n or not self.files:
            return iter([(0, n)] if n else [])
        if self.rows.images is not None:
            return split_by_size(np.diff(self.starts), n_images)
        if is_read:
            return ((start, min(start + n_images, n)) for start in range(0, n, n_images))
        return ((int(part[0]), int(part[-1]) + 1) for part in split_evenly(np.arange(n), n_images))

    def _batch(self, start: int, stop: int, reasons: Sequence[str]) -> Batch:
        """Return the rows from `start` to `stop` with their images, but those that there is a reason against."""
        images = self.table.iloc[self.starts[start] : self.starts[stop]]
        files = self.files[self.starts[start] : self.starts[stop]]
        is_read = np.array([not reason for reason in reasons] or [True] * len(files), dtype=bool)
        owner = images["position"].to_numpy(dtype=np.intp) - start
        n_read, n_lost = (np.bincount(owner[which], minlength=stop - start) for which in (is_read, ~is_read))
        kept = np.flatnonzero((n_read > 0) | (n_lost == 0))
        named = zip(images["image_id"], files, reasons, images["path"], strict=bool(reasons))
        self.failures += [Failure(*one) for one in named if one[2]]
        rows, left = self.rows.take(start + kept), images[is_read].reset_index(drop=True)
        if rows.images is not None:
            lost = self.rows.take(start + np.flatnonzero((n_read == 0) & (n_lost > 0))).image_ids
            self.failures += [Failure(case, Path(case), EMPTY_CASE, case) for case in lost]
            rows = replace(rows, images=left.drop(columns="position"))
        table = left.assign(position=np.searchsorted(kept, owner[is_read]))
        read = tuple(file for file, is_good in zip(files, is_read, strict=True) if is_good)
        return Batch(rows, start + kept, table, read, n_lost[kept])

    def _stored(self, batch: Batch, wanted: Iterable[AnyPreparation]) -> dict[AnyPreparation, Images]:
        """Return the images of a batch that the store holds, by preparation."""
        store = self.store
        if store is None or store.preparation not in wanted:
            return {}
        rows = store.rows(list(batch.table["image_id"]))
        return {store.preparation: Images(store.pixels[rows], store.mean[rows], store.std[rows])}


class _Prepared(NamedTuple):
    """An image ``(C, *spatial) uint8`` with where it comes from, mean and deviation."""

    pixels: Uint8Array
    placement: AnyPlacement
    mean: float
    std: float


class _ReadImage(NamedTuple):
    """An image in each preparation; or the reason why it cannot be read."""

    prepared: tuple[_Prepared, ...] = ()
    reason: str = ""


def _read_ahead(
    pool: ThreadPoolExecutor, files: Iterable[Path], preparations: Sequence[AnyPreparation], n_ahead: int
) -> Iterator[_ReadImage]:
    waiting: deque[Future[_ReadImage]] = deque()
    for file in files:
        waiting.append(pool.submit(_read_image, file, preparations))
        if len(waiting) >= n_ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read_image(file: Path, preparations: Sequence[AnyPreparation]) -> _ReadImage:
    try:
        prepared = [(*prepare_file(file, preparation), preparation) for preparation in preparations]
    except (InputError, MissingFileError) as error:
        return _ReadImage(reason=str(error))
    return _ReadImage(
        tuple(_Prepared(pixels, placement, *scale_of(pixels, placement, own)) for pixels, placement, own in prepared)
    )


def _stack(read: Sequence[_ReadImage], preparations: Sequence[AnyPreparation]) -> dict[AnyPreparation, Images]:
    """Return the images that could be read, by preparation."""
    each = zip(*(image.prepared for image in read if not image.reason), strict=True)
    stacked = {}
    for preparation, images in zip(preparations, each, strict=False):
        pixels, placements, means, deviations = zip(*images, strict=True)
        statistics = np.array(means, np.float32), np.array(deviations, np.float32)
        stacked[preparation] = Images(np.stack(pixels), *statistics, placements)
    return stacked


def split_evenly(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yield batches of at most `batch_size` positions whose sizes differ by one at most.

    No image is left out, and no batch of one image, which a batch norm cannot use, is left over.

    >>> [len(batch) for batch in split_evenly(np.arange(9), 4)]
    [3, 3, 3]
    """
    n_batches = max(1, -(-len(order) // batch_size))
    yield from np.array_split(order, n_batches)


def split_by_size(sizes: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield from which row to which rows of these sizes ``(N,)`` come to `most` together; a larger one comes alone.

    >>> list(split_by_size(np.array([2, 2, 1, 7, 1]), 4))
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, stop
        start = stop


def at_once(shape: Sequence[int], most: int) -> int:
    """Return how many images of `shape` go through a net together without gradients, at most `most`.

    >>> at_once((224, 224), 64), at_once((96, 96, 48), 64)
    (64, 9)
    """
    return max(1, min(most, VOXELS_AT_ONCE // math.prod(shape)))
