"""The two files of a store of prepared images: ``pixels.npy``, mapped into memory, and ``store.json``."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import InputError, suggest
from focusmap.files import Json, read_json, write_json
from focusmap.images.prepare import AnyPreparation, FloatArray, Uint8Array, preparation_from
from focusmap.images.workers import Outcome, PreparedImage

FORMAT = 1
PIXELS, SIDECAR = "pixels.npy", "store.json"

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
    source_shapes: NDArray[np.int64]
    failures: Failures = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def rows(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
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
        return _load(folder)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(
            f"{folder}: the prepared store is damaged ({error}). Delete this folder; it is made anew."
        ) from None


def _load(folder: Path) -> Store:
    columns = read_json(folder / SIDECAR)
    if columns["format"] != FORMAT:
        raise ValueError(f"format {columns['format']}; {FORMAT} was expected")
    preparation = preparation_from(cast(dict[str, Json], columns["preparation"]))
    # A file shorter than its header says fails here, not at the first batch.
    pixels: Uint8Array = np.asarray(np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False))
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
    kept: list[tuple[str, str, PreparedFacts]] = []
    failures: list[tuple[str, str]] = []
    shape = wanted.preparation.input_shape
    with (folder / PIXELS).open("wb") as file:
        _write_header(file, (len(wanted.image_ids), *shape))
        for image_id, content_hash, outcome in zip(wanted.image_ids, wanted.hashes, outcomes, strict=True):
            if isinstance(outcome, PreparedImage):
                file.write(np.ascontiguousarray(outcome.pixels).data)
                kept.append((image_id, content_hash, _facts(outcome)))
            else:
                failures.append((image_id, outcome))
        file.seek(0)
        _write_header(file, (len(kept), *shape))
        file.flush()
        os.fsync(file.fileno())
    write_json(folder / SIDECAR, _columns(wanted.preparation, kept))
    return tuple(failures)


PreparedFacts: TypeAlias = tuple[float, float, list[Json]]


def _facts(image: PreparedImage) -> PreparedFacts:
    return image.mean, image.std, list(image.source_shape)


def _columns(preparation: AnyPreparation, kept: Sequence[tuple[str, str, PreparedFacts]]) -> dict[str, Json]:
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
