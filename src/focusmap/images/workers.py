"""Many images prepared at once: by spawned processes or by workers of a cluster, in order, holding few in memory."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from json import dumps
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from focusmap.basics import FocusmapError, InputError, atomic
from focusmap.images.prepare import AnyPreparation, Uint8Array, prepare_file, scale_of
from focusmap.scale import Cluster, answers_in_order

N_HERE = 32
"""So many images are prepared here before it is decided whether to start processes for the rest."""
WORTH_SECONDS = 3.0
"""Starting processes takes a second or two; it is worth it for what would take longer than this."""
CHUNK = 8
CHUNKS_AHEAD = 4
SHARE = 64
"""Of images that a worker of a cluster prepares at once, and keeps as a file."""


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """A prepared image `(C, *spatial) uint8`, its shape in the file, mean and deviation of its content."""

    pixels: Uint8Array
    source_shape: tuple[int, ...]
    mean: float
    std: float


Outcome: TypeAlias = PreparedImage | str
"""A prepared image, or why there is none."""


def prepare_in_order(files: Sequence[Path], preparation: AnyPreparation, workers: int | None) -> Iterator[Outcome]:
    """Yield the outcome for each file, in the order given.

    Parameters
    ----------
    files
        Images of any format.
    preparation
        How they are prepared.
    workers
        Number of processes; None for one a processor. With one, or with little to do, the work is done here.

    Raises
    ------
    InputError
        If a process was ended from outside, most often for want of memory.
    """
    n_workers = workers or os.cpu_count() or 1
    here = files if n_workers == 1 else files[:N_HERE]
    started = time.monotonic()
    yield from (prepare_one(file, preparation) for file in here)
    rest = files[len(here) :]
    expected_seconds = (time.monotonic() - started) * len(rest) / max(len(here), 1)
    if expected_seconds < WORTH_SECONDS:
        yield from (prepare_one(file, preparation) for file in rest)
    else:
        yield from prepare_by_processes(rest, preparation, n_workers)


def prepare_one(file: Path, preparation: AnyPreparation) -> Outcome:
    """Return the prepared image of a file, or the reason why it cannot be read."""
    try:
        pixels, placement = prepare_file(file, preparation)
    except FocusmapError as error:
        return str(error)
    return PreparedImage(pixels, placement.source_shape, *scale_of(pixels, placement, preparation))


def _prepare_chunk(files: Sequence[Path], preparation: AnyPreparation) -> list[Outcome]:
    return [prepare_one(file, preparation) for file in files]


def prepare_by_processes(files: Sequence[Path], preparation: AnyPreparation, n_workers: int) -> Iterator[Outcome]:
    """Yield the outcome for each file, in the order given, all of them prepared by processes."""
    # Forked processes inherit locked locks of other threads and can hang; spawned ones start clean.
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), initializer=_settle)
    chunks = (files[start : start + CHUNK] for start in range(0, len(files), CHUNK))
    submitted = (pool.submit(_prepare_chunk, chunk, preparation) for chunk in chunks)
    pending: deque[Future[list[Outcome]]] = deque(islice(submitted, CHUNKS_AHEAD * n_workers))
    try:
        while pending:
            yield from pending.popleft().result()
            pending.extend(islice(submitted, 1))
    except BrokenProcessPool:
        raise InputError(
            "A process that prepares images was ended from outside, most often for want of memory. "
            "Try fewer workers. (In a script, start the work under `if __name__ == '__main__':`.)"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _settle() -> None:
    """Make this process a quiet worker: one thread, deaf to Ctrl-C, and gone when its parent is."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A parent that is killed cannot close its pool, and its workers would wait for ever.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def prepare_by_shares(
    images: Sequence[tuple[Path, str]], preparation: AnyPreparation, folder: Path, cluster: Cluster
) -> Iterator[Outcome]:
    """Yield the outcome for each file, in the order given, all of them prepared by workers of a cluster.

    Each share becomes a file in `folder`, named by contents and preparation: one that is there is not made again,
    whoever was killed since.

    Parameters
    ----------
    images
        File and hash of its content.
    folder
        On a disk that all machines of the cluster share.
    """
    named = [(file.absolute(), content_hash) for file, content_hash in images]
    shares = (named[start : start + SHARE] for start in range(0, len(images), SHARE))
    make = partial(partial, _share_file, preparation=preparation, folder=folder.absolute())
    for file in answers_in_order(shares, make, cluster):
        yield from _read_share(file)


def _share_file(images: Sequence[tuple[Path, str]], preparation: AnyPreparation, folder: Path) -> Path:
    facts = [preparation.to_dict(), [(str(file), content_hash) for file, content_hash in images]]
    place = folder / f"{sha256(dumps(facts).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.npz"
    if not place.is_file():
        outcomes = [prepare_one(file, preparation) for file, _ in images]
        _write_share(place, outcomes, preparation.input_shape)
    return place


def _write_share(place: Path, outcomes: Sequence[Outcome], shape: tuple[int, ...]) -> None:
    read = [outcome for outcome in outcomes if isinstance(outcome, PreparedImage)]
    arrays: dict[str, Any] = {
        "reasons": np.array([outcome if isinstance(outcome, str) else "" for outcome in outcomes], dtype=np.str_),
        "pixels": np.array([outcome.pixels for outcome in read], np.uint8).reshape(len(read), *shape),
        "shapes": np.array([outcome.source_shape for outcome in read], np.int64).reshape(len(read), len(shape) - 1),
        "scales": np.array([(outcome.mean, outcome.std) for outcome in read], np.float64).reshape(len(read), 2),
    }
    with atomic(place) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _read_share(place: Path) -> Iterator[Outcome]:
    with np.load(place, allow_pickle=False) as arrays:
        reasons, pixels, shapes, scales = (arrays[name] for name in ("reasons", "pixels", "shapes", "scales"))
    read = zip(pixels, shapes, scales, strict=True)
    for reason in reasons:
        if reason:
            yield str(reason)
        else:
            image, sides, (mean, std) = next(read)
            yield PreparedImage(image, tuple(int(side) for side in sides), float(mean), float(std))
