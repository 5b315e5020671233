"""Images prepared once: a store is made where it is missing, and taken as it is where nothing changed.

It has two files: ``pixels.npy``, mapped into memory, and ``store.json``.

Stores lie side by side in a folder, each under a hash of its preparation and its images' contents. One is built
in a hidden folder and renamed when it is whole: what was stopped half-way never has the name.
"""

import math
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import file_digest, sha256
from json import dumps
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np

from focusmap.basics import DiskError, InputError, Progress, UnreadableImageError, disk_errors, listed, silent, suggest
from focusmap.basics.files import Json, block_sums, read_json, remove_abandoned, write_json
from focusmap.images.prepare import AnyPreparation, FloatArray, Uint8Array, preparation_from
from focusmap.images.workers import SHARE, Outcome, PreparedImage, prepare_by_shares, prepare_in_order
from focusmap.scale import Cluster, mapped, write_unread

FORMAT = 1
PIXELS, SIDECAR, SHARES = "pixels.npy", "store.json", ".shares"

Failures: TypeAlias = tuple[tuple[str, str], ...]
"""(image_id, reason) of images that cannot be read."""


@dataclass(frozen=True, eq=False)
class Store:
    """Prepared images, ready for random access.

    Parameters
    ----------
    folder
        Where they lie.
    preparation
        How they were made.
    pixels : (N, C, *spatial) uint8
        Mapped from disk, read-only; index it with an array of rows to get a batch.
    image_ids, hashes
        Whose each row is, and the SHA-256 of its file.
    mean, std : (N,) float32
        Of each image's content without padding.
    source_shapes : (N, 2) or (N, 3) int
        Rows and columns of the image, or the sides of the volume, in its file.
    failures
        (image_id, reason) of the images that were left out.
    """

    folder: Path
    preparation: AnyPreparation
    pixels: Uint8Array
    image_ids: list[str]
    hashes: list[str]
    mean: FloatArray
    std: FloatArray
    source_shapes: np.typing.NDArray[np.int64]
    failures: Failures = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pixels in their file, where they have one: another process opens it for itself."""
        pixels = None if isinstance(self.pixels.base, np.memmap) else self.pixels
        return {**vars(self), "folder": self.folder.absolute(), "pixels": pixels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the pixels that were left in their file."""
        there = state["pixels"]
        vars(self).update({**state, "pixels": _mapped(state["folder"]) if there is None else there})

    def rows(self, image_ids: Sequence[str]) -> np.typing.NDArray[np.int64]:
        """Return the row of each image.

        Raises
        ------
        InputError
            If an image is not in the store.
        """
        try:
            return np.array([self._row_of[image_id] for image_id in image_ids], np.int64)
        except KeyError as error:
            hint = suggest(error.args[0], self.image_ids)
            raise InputError(f"{self.folder}: image {error.args[0]!r} is not in this store.{hint}") from None

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}


def open_store(folder: Path) -> Store:
    """Return the store in a folder, or the only one in its subfolders.

    Raises
    ------
    InputError
        If there is none, there are several, or it is damaged.
    """
    if not (folder / SIDECAR).is_file():
        stores = sorted(path.parent for path in folder.glob(f"[!.]*/{SIDECAR}"))
        if len(stores) != 1:
            raise InputError(f"{folder}: holds {len(stores)} prepared stores; one was expected.")
        folder = stores[0]
    try:
        store = _load(folder)
        _check_sums(store)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(
            f"{folder}: the prepared store is damaged ({error}). Delete this folder; it is made anew."
        ) from None
    return store


def _load(folder: Path) -> Store:
    columns = read_json(folder / SIDECAR)
    if columns["format"] != FORMAT:
        raise ValueError(f"format {columns['format']}; {FORMAT} was expected")
    preparation = preparation_from(cast(dict[str, Json], columns["preparation"]))
    # A file shorter than its header says fails here, not at the first batch.
    pixels = _mapped(folder)
    store = Store(
        folder=folder,
        preparation=preparation,
        pixels=pixels,
        image_ids=cast(list[str], columns["image_ids"]),
        hashes=cast(list[str], columns["hashes"]),
        mean=np.array(columns["mean"], np.float32),
        std=np.array(columns["std"], np.float32),
        source_shapes=np.array(columns["source_shapes"], np.int64).reshape(-1, len(preparation.input_shape) - 1),
    )
    if not len(pixels) == len(store.image_ids) == len(store.hashes) == len(store.mean) == len(store.source_shapes):
        raise ValueError(f"{len(pixels)} images and {len(store.image_ids)} image_ids")
    return store


def _mapped(folder: Path) -> Uint8Array:
    return np.asarray(np.lib.format.open_memmap(folder / PIXELS, mode="r"))


def _check_sums(store: Store) -> None:
    """Raise `ValueError` where pixels are not as they were written; stores of earlier versions have no sums."""
    sums = read_json(store.folder / SIDECAR).get("sums")
    sums_now = [] if sums is None else block_sums(store.folder / PIXELS)
    if sums is not None and sums_now != sums:
        raise ValueError(f"{PIXELS} was changed in one of its {len(sums_now)} blocks or more")


@dataclass(frozen=True)
class Wanted:
    """Whose images a store is to hold, the SHA-256 of their files, and how they are prepared."""

    image_ids: Sequence[str]
    hashes: Sequence[str]
    preparation: AnyPreparation


def write_store(folder: Path, wanted: Wanted, outcomes: Iterable[Outcome]) -> Failures:
    """Write the images to a store in `folder` and return which could not be read.

    Only one image is held in memory at a time. `outcomes` come in the order of `wanted`.
    """
    kept: list[tuple[str, str, tuple[float, float, list[Json]]]] = []
    failures: list[tuple[str, str]] = []
    shape = wanted.preparation.input_shape
    with (folder / PIXELS).open("wb") as file:
        _write_header(file, (len(wanted.image_ids), *shape))
        for image_id, content_hash, outcome in zip(wanted.image_ids, wanted.hashes, outcomes, strict=True):
            if isinstance(outcome, PreparedImage):
                file.write(np.ascontiguousarray(outcome.pixels).data)
                kept.append((image_id, content_hash, (outcome.mean, outcome.std, list(outcome.source_shape))))
            else:
                failures.append((image_id, outcome))
        file.seek(0)
        _write_header(file, (len(kept), *shape))
        file.flush()
        os.fsync(file.fileno())
    sums = cast(Json, block_sums(folder / PIXELS))
    write_json(folder / SIDECAR, {**_columns(wanted.preparation, kept), "sums": sums}, sealed=True)
    return tuple(failures)


def _columns(
    preparation: AnyPreparation, kept: Sequence[tuple[str, str, tuple[float, float, list[Json]]]]
) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "preparation": preparation.to_dict(),
        "image_ids": [image_id for image_id, _, _ in kept],
        "hashes": [content_hash for _, content_hash, _ in kept],
        "mean": [mean for _, _, (mean, _, _) in kept],
        "std": [std for _, _, (_, std, _) in kept],
        "source_shapes": [shape for _, _, (_, _, shape) in kept],
    }


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    # numpy pads the header so that the first axis can grow or shrink in place (numpy.lib.format).
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


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
    cluster
        Whose workers prepare them instead; what they have done before a stop is not done again.
    """

    workers: int | None = None
    skip_unreadable: bool = False
    progress: Progress = silent
    cluster: Cluster | None = None


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
    wanted = Wanted(image_ids, _content_hashes(files, options), preparation)
    whole = _open_if_whole(folder / _key(wanted))
    if whole is not None:
        return whole
    with _building_folder(folder, wanted) as building:
        failures = write_store(building, wanted, _outcomes(files, wanted, folder, options))
        if options.cluster is not None:
            write_unread(folder, failures)
        if failures and (len(failures) == len(files) or not options.skip_unreadable):
            raise UnreadableImageError(_describe(failures, len(files)))
        store = replace(_move_into_place(building, folder), failures=failures)
    shutil.rmtree(folder / SHARES, ignore_errors=True)
    return store


def _content_hashes(files: Sequence[Path], options: StoreOptions) -> list[str]:
    """Return the hash of each file's content."""
    hashes: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        there = [file.absolute() for file in files]
        cluster = options.cluster
        hashed = pool.map(content_hash_of, there) if cluster is None else mapped(content_hash_of, there, SHARE, cluster)
        for content_hash in hashed:
            hashes.append(content_hash)
            options.progress("checking images", len(hashes), len(files))
    return hashes


def content_hash_of(file: Path) -> str:
    """Return the SHA-256 of a file's content; empty where it cannot be read, which its reader will explain."""
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
    missing = [(file, key) for file, key in zip(files, wanted.hashes, strict=True) if key not in on_hand]
    if options.cluster is None:
        prepared = prepare_in_order([file for file, _ in missing], wanted.preparation, options.workers)
    else:
        prepared = prepare_by_shares(missing, wanted.preparation, folder / SHARES, options.cluster)
    for done, content_hash in enumerate(wanted.hashes, start=1):
        known = on_hand.get(content_hash)
        yield next(prepared) if known is None else _copy(*known)
        options.progress("preparing images", done, len(files))


def _images_on_hand(folder: Path, preparation: AnyPreparation) -> dict[str, tuple[Store, int]]:
    """Return by content hash the images that stores in `folder` hold, prepared in the same way."""
    on_hand: dict[str, tuple[Store, int]] = {}
    for sidecar in folder.glob(f"[!.]*/{SIDECAR}"):
        # Only what may be taken is read through for its sums.
        is_same = _is_prepared_so(sidecar.parent, preparation)
        store = _open_if_whole(sidecar.parent) if is_same else None
        if store is not None:
            on_hand.update((content_hash, (store, row)) for row, content_hash in enumerate(store.hashes))
    return on_hand


def _is_prepared_so(folder: Path, preparation: AnyPreparation) -> bool:
    try:
        return _load(folder).preparation == preparation
    except (InputError, KeyError, TypeError, ValueError, OSError):
        return False


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
            building_here = f".building-{socket.gethostname()}-"
            remove_abandoned(folder, building_here)
            _check_room(folder, wanted)
            building = folder / f"{building_here}{os.getpid()}-{uuid.uuid4().hex}"
            building.mkdir()
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
