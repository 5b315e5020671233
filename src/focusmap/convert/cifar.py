"""CIFAR-10's python archive (Krizhevsky 2009): pickles, of which no instruction to call anything is followed.

A pickle is a program. In the one that is followed, the names that the batches use stand for inert records; any other
name is an error. numpy itself never sees the file: its arrays are made from the records' bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from focusmap.convert.archives import members
from focusmap.convert.packed import PackedImage
from focusmap.convert.pickled import read_pickle
from focusmap.errors import InputError

SIDE, CHANNELS = 32, 3
META = "batches.meta"
TEST = "test_batch"
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), TEST)

Batch: TypeAlias = Mapping[str, object]


def is_cifar_file(name: str) -> bool:
    """Return True for the names of the archive's pickles."""
    return name in (*BATCHES, META)


def unpack_cifar(source: Path) -> Iterator[PackedImage]:
    """Yield the images of CIFAR-10's python archive, or of the folder that it unpacks to: batches 1 to 5, then test.

    Cells: ``label`` (the class's name) and ``split`` (train or test; there is no tune part).

    Raises
    ------
    InputError
        If a file is no batch of CIFAR-10, or asks for more than numbers and texts.
    """
    found = {PurePosixPath(name).name: read() for name, read in members(source, is_cifar_file)}
    if META not in found:
        raise InputError(f"{source}: holds no {META}, which names the classes.")
    classes = _class_names(_load(found.pop(META), META))
    for name in BATCHES:
        if name in found:
            yield from _images(_load(found.pop(name), name), classes, name)


def _class_names(meta: Batch) -> list[str]:
    names = meta.get("label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str | bytes) for name in names):
        raise InputError(f"{META}: holds no label_names; CIFAR-10 was expected.")
    return [_text(name) for name in names]


def _images(batch: Batch, classes: Sequence[str], name: str) -> Iterator[PackedImage]:
    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, StoredArray) or not isinstance(labels, list):
        raise InputError(f"{name}: holds {', '.join(batch) or 'nothing'}; data and labels of CIFAR-10 were expected.")
    planes = pixels.to_numpy(name).reshape(-1, CHANNELS, SIDE, SIDE)
    if len(planes) != len(labels):
        raise InputError(f"{name}: holds {len(planes)} images and {len(labels)} labels.")
    split = "test" if name == TEST else "train"
    for number, (plane, label) in enumerate(zip(planes, labels, strict=True)):
        if not isinstance(label, int) or not 0 <= label < len(classes):
            shown = label if isinstance(label, int) else type(label).__name__
            raise InputError(f"{name}: label {shown} of image {number} is not one of 0 to {len(classes) - 1}.")
        yield PackedImage(f"{name}_{number:05d}", plane, {"split": split, "label": classes[label]})


class StoredArray:
    """The record of a numpy array: what a pickle would set it to, kept as it came."""

    def __init__(self, *made_from: object) -> None:
        self._state: object = made_from

    def __setstate__(self, state: object) -> None:
        self._state = state

    def to_numpy(self, name: str) -> NDArray[np.uint8]:
        """Return the images ``(N, 3072) uint8``; `InputError` if that is not what was stored."""
        # numpy.ndarray.__reduce__: version, shape, dtype, whether in Fortran order, bytes.
        match self._state:
            case (int(), (int(rows), int(columns)), StoredType(name="u1"), False | 0, bytes(content)):
                if columns == CHANNELS * SIDE * SIDE and len(content) == rows * columns:
                    return np.frombuffer(content, np.uint8).reshape(rows, columns)
        raise InputError(f"{name}: data is not an array of images with {CHANNELS * SIDE * SIDE} bytes each.")


class StoredType:
    """The record of a numpy dtype: the name it was made with."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = _text(name) if isinstance(name, str | bytes) else ""

    def __setstate__(self, state: object) -> None:
        """Take no notice of byte order and the like; single bytes have none."""


def _encoded(text: object, encoding: object) -> bytes:
    """Return what Python 3 writes of bytes in old pickles: ``_codecs.encode(text, "latin1")``."""
    if not isinstance(text, str) or encoding != "latin1":
        raise InputError("has bytes in another encoding than latin1")
    return text.encode("latin1")


STAND_INS: Mapping[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): StoredArray,
    ("numpy._core.multiarray", "_reconstruct"): StoredArray,
    ("numpy", "ndarray"): StoredArray,
    ("numpy", "dtype"): StoredType,
    ("_codecs", "encode"): _encoded,
}
"""What stands for the names that the batches use."""


def _load(content: bytes, name: str) -> Batch:
    try:
        value = read_pickle(content, STAND_INS)
    except InputError as error:
        raise InputError(f"{name}: is not a batch of CIFAR-10 ({error}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{name}: holds {type(value).__name__}; a batch of CIFAR-10 was expected.")
    return {_text(key): part for key, part in value.items()}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
