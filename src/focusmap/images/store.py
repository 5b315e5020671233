"""Images prepared once: a store is made where it is missing, and taken as it is where nothing changed.

Stores lie side by side in a folder, each under a hash of its preparation and its images' contents. One is built
in a hidden folder and renamed when it is whole: what was stopped half-way never has the name.
"""

import math
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from json import dumps
from pathlib import Path

from focusmap.errors import DiskError, InputError, UnreadableImageError, listed
from focusmap.files import disk_errors
from focusmap.images.prepare import AnyPreparation
from focusmap.images.store_files import FORMAT, SIDECAR, Failures, Store, Wanted, open_store, write_store
from focusmap.images.workers import Outcome, PreparedImage, prepare_in_order
from focusmap.progress import Progress, silent

__all__ = ["Store", "StoreOptions", "open_store", "prepare_store"]

LISTED = 20
UNKNOWN_HASH = ""


@dataclass(frozen=True)
class StoreOptions:
    """How images are prepared.

    Parameters
    ----------
    workers
        Number of processes; None for one a processor.
    skip_unreadable
        Leave images that cannot be read out of the store, and list them in `Store.failures`.
    progress
        Called as the work goes on.
    """

    workers: int | None = None
    skip_unreadable: bool = False
    progress: Progress = silent


def prepare_store(
    files: Sequence[Path],
    image_ids: Sequence[str],
    preparation: AnyPreparation,
    folder: Path,
    options: StoreOptions | None = None,
) -> Store:
    """Return the store of these images, prepared now as far as `folder` does not hold them yet.

    An image is prepared again if its content or the preparation changed, whatever its name and date. Two processes
    may prepare the same images at once: one comes first, the other takes what it finds.

    Raises
    ------
    UnreadableImageError
        Naming all images that cannot be read, unless they are skipped.
    DiskError
        If the store cannot be written.
    """
    assert len(files) == len(image_ids) == len(set(image_ids)), "one distinct image_id a file"
    options = options or StoreOptions()
    wanted = Wanted(image_ids, _content_hashes(files, options.progress), preparation)
    whole = _open_if_whole(folder / _key(wanted))
    if whole is not None:
        return whole
    with _building_folder(folder, wanted) as building:
        failures = write_store(building, wanted, _outcomes(files, wanted, folder, options))
        if failures and (len(failures) == len(files) or not options.skip_unreadable):
            raise UnreadableImageError(_describe(failures, len(files)))
        return replace(_move_into_place(building, folder), failures=failures)


def _content_hashes(files: Sequence[Path], progress: Progress) -> list[str]:
    """Return the SHA-256 of each file's content; empty where it cannot be read, which its reader will explain."""
    hashes: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for content_hash in pool.map(_content_hash, files):
            hashes.append(content_hash)
            progress("checking images", len(hashes), len(files))
    return hashes


def _content_hash(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return file_digest(content, "sha256").hexdigest()
    except OSError:
        return UNKNOWN_HASH


def _key(wanted: Wanted) -> str:
    facts = [FORMAT, wanted.preparation.to_dict(), list(wanted.image_ids), list(wanted.hashes)]
    return sha256(dumps(facts).encode()).hexdigest()[:16]


def _open_if_whole(folder: Path) -> Store | None:
    try:
        return open_store(folder) if folder.is_dir() else None
    except InputError:
        return None


def _outcomes(files: Sequence[Path], wanted: Wanted, folder: Path, options: StoreOptions) -> Iterator[Outcome]:
    """Yield each image's outcome: copied from a store that holds it already, else prepared."""
    on_hand = _images_on_hand(folder, wanted.preparation)
    missing = [file for file, key in zip(files, wanted.hashes, strict=True) if key not in on_hand]
    prepared = prepare_in_order(missing, wanted.preparation, options.workers)
    for done, content_hash in enumerate(wanted.hashes, start=1):
        known = on_hand.get(content_hash)
        yield next(prepared) if known is None else _copy(*known)
        options.progress("preparing images", done, len(files))


def _images_on_hand(folder: Path, preparation: AnyPreparation) -> dict[str, tuple[Store, int]]:
    """Return by content hash the images that stores in `folder` hold, prepared in the same way."""
    found: dict[str, tuple[Store, int]] = {}
    for sidecar in folder.glob(f"[!.]*/{SIDECAR}"):
        store = _open_if_whole(sidecar.parent)
        if store is not None and store.preparation == preparation:
            found.update((content_hash, (store, row)) for row, content_hash in enumerate(store.hashes))
    return found


def _copy(store: Store, row: int) -> PreparedImage:
    source_shape = tuple(int(side) for side in store.source_shapes[row])
    return PreparedImage(store.pixels[row], source_shape, float(store.mean[row]), float(store.std[row]))


@contextmanager
def _building_folder(folder: Path, wanted: Wanted) -> Iterator[Path]:
    """Yield a new hidden folder in `folder` that is deleted if it is still there in the end.

    Raises
    ------
    DiskError
        If there is not enough room, or something in the block cannot be written.
    """
    building: Path | None = None
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            _check_room(folder, wanted)
            building = Path(tempfile.mkdtemp(prefix=f".building-{socket.gethostname()}-{os.getpid()}-", dir=folder))
            building.chmod(0o755)
            yield building
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _check_room(folder: Path, wanted: Wanted) -> None:
    needed = len(wanted.image_ids) * math.prod(wanted.preparation.input_shape)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"{folder}: prepared images need {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free. "
            "Free some space or choose another folder."
        )


def _sweep(folder: Path) -> None:
    """Delete what processes of this machine left that were killed while building."""
    host = f".building-{socket.gethostname()}-"
    for leftover in folder.glob(f"{host}*"):
        process = leftover.name.removeprefix(host).split("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _move_into_place(building: Path, folder: Path) -> Store:
    """Rename a store to its key; if another process was faster, its store is taken."""
    built = open_store(building)
    place = folder / _key(Wanted(built.image_ids, built.hashes, built.preparation))
    whole = _open_if_whole(place)
    if whole is not None:
        return whole
    shutil.rmtree(place, ignore_errors=True)  # damaged, if it is there
    try:
        building.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    return open_store(place)


def _describe(failures: Failures, n_files: int) -> str:
    reasons = listed([reason for _, reason in failures], LISTED, "\n  ")
    heading = f"{len(failures)} of {n_files} images cannot be read:"
    return "\n".join([heading, f"  {reasons}", "Mend or remove them, or leave them out with --skip-unreadable."])
