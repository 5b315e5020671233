"""Logits for pictures: of a store in one go, or of any number of files as a stream."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from focusmap.errors import InputError, MissingFileError
from focusmap.images.prepare import AnyPreparation, standardised_file
from focusmap.models.cases import CaseModel, Looked, one_case
from focusmap.models.net import Model
from focusmap.models.ood import Likeness
from focusmap.study.cases import pictures_of, view_numbers
from focusmap.study.cohort import Cohort
from focusmap.training.batches import at_once
from focusmap.training.case_inputs import case_inputs
from focusmap.training.epoch import EVALUATION_BATCH, forward_store

if TYPE_CHECKING:
    from focusmap.images.store import Store


@dataclass(frozen=True)
class PredictOptions:
    """How files are streamed: pictures a pass, and threads that read ahead."""

    batch_size: int = 32
    workers: int = 2


@dataclass(frozen=True)
class FilePrediction:
    """What a model said of one file.

    Parameters
    ----------
    file
        The picture.
    logits
        ``(L,)``, a continuous target's value in its own units; None where the picture could not be read.
    reason
        Why not; empty where it could.
    unlike
        In what the picture is unlike those of train, in words; empty where in nothing, or nobody asked.
    """

    file: Path
    logits: np.ndarray | None
    reason: str = ""
    unlike: str = ""


def predict_store(model: Model, store: "Store", image_ids: Sequence[str]) -> np.ndarray:
    """Return ``(N, L) float64`` logits of images of a store; a continuous target's value in its own units."""
    if not image_ids:
        return np.empty((0, model.task.n_logits))
    return model.to_units(forward_store(model.net, store, tuple(image_ids)).cpu().double().numpy())


def look_at_store(model: CaseModel, store: "Store", cohort: Cohort) -> Looked:
    """Return what a model sees in the pictures, in a store, of a cohort's cases."""
    inputs = case_inputs(cohort, store, model.views)
    chunks = inputs.batches(np.arange(len(cohort)), at_once(store.pixels.shape[2:], EVALUATION_BATCH))
    return model.look(inputs.read(rows) for rows in chunks)


def look_at_files(model: CaseModel, cohort: Cohort, options: PredictOptions = PredictOptions()) -> Iterator["SeenCase"]:
    """Yield each case of a cohort as a model sees it in its files, in order, holding one case in memory and the next.

    A picture that cannot be read is left out of its case and named.
    """
    views = view_numbers(cohort, model.views)
    pictures, preparation = pictures_of(cohort), model.preparation
    files = [cohort.study.images / path for path in pictures["path"]]
    with ThreadPoolExecutor(options.workers) as pool:
        read = _read_ahead(pool, iter(files), preparation, 2 * options.batch_size)
        for members in pictures.groupby("position", sort=True).indices.values():
            found = list(islice(read, len(members)))
            failures = tuple((one.file, one.reason) for one in found if one.pixels is None)
            kept = np.array([row for row, one in zip(members, found, strict=True) if one.pixels is not None], np.intp)
            stack = [one.pixels for one in found if one.pixels is not None]
            looked = model.look([one_case(np.stack(stack), views[kept])]) if stack else None
            yield SeenCase(looked, tuple(pictures["image_id"].iloc[kept]), failures)


@dataclass(frozen=True)
class SeenCase:
    """What a model sees in one case; None where no picture could be read, the images it saw, and what failed."""

    looked: Looked | None
    image_ids: tuple[str, ...]
    failures: tuple[tuple[Path, str], ...]


def predict_files(
    model: Model,
    files: Iterable[Path],
    options: PredictOptions = PredictOptions(),
    likeness: Likeness | None = None,
) -> Iterator[FilePrediction]:
    """Yield a prediction for each file, in order, holding no more than a few batches in memory.

    A picture that cannot be read is yielded with its reason; the others go on. Nothing of `files` beyond the
    pictures being read ahead is consumed, so it may be endless. `likeness` is what train looks like.
    """
    preparation = model.preparation
    batch_size = at_once(preparation.input_shape[1:], options.batch_size)
    with ThreadPoolExecutor(options.workers) as pool:
        ready = _read_ahead(pool, iter(files), preparation, 2 * batch_size, likeness)
        while batch := list(islice(ready, batch_size)):
            yield from _predict_batch(model, batch)


@dataclass(frozen=True)
class _Read:
    """A picture read and standardised ``(C, *spatial)``, and in what it is unlike train; or the reason why not."""

    file: Path
    pixels: np.ndarray | None
    reason: str = ""
    unlike: str = ""


def _read_ahead(
    pool: ThreadPoolExecutor,
    files: Iterator[Path],
    preparation: AnyPreparation,
    n_ahead: int,
    likeness: Likeness | None = None,
) -> Iterator[_Read]:
    waiting: deque[Future[_Read]] = deque()
    for file in files:
        waiting.append(pool.submit(_read, file, preparation, likeness))
        if len(waiting) >= n_ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(file: Path, preparation: AnyPreparation, likeness: Likeness | None) -> _Read:
    try:
        pixels, _ = standardised_file(file, preparation)
    except (InputError, MissingFileError) as error:
        return _Read(file, None, str(error))
    return _Read(file, pixels, unlike=likeness.unlike(pixels) if likeness else "")


def _predict_batch(model: Model, batch: list[_Read]) -> Iterator[FilePrediction]:
    logits = iter(_logits(model, [read.pixels for read in batch if read.pixels is not None]))
    for read in batch:
        yield FilePrediction(read.file, None if read.pixels is None else next(logits), read.reason, read.unlike)


def _logits(model: Model, pictures: list[np.ndarray]) -> np.ndarray:
    if not pictures:
        return np.empty((0, model.task.n_logits))
    device = next(model.net.parameters()).device
    with torch.inference_mode():
        logits = model.net.eval()(torch.from_numpy(np.stack(pictures)).to(device))
    return model.to_units(logits.cpu().double().numpy())
