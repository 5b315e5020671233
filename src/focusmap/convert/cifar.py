"""CIFAR-10's python archive (Krizhevsky 2009): pickles, of which no instruction to call anything is followed.

A pickle is a program. This one is run by an unpickler in which the four names that the batches use stand for inert
records; any other name is an error. numpy itself never sees the file: its arrays are made from the records' bytes.
"""

import io
import pickle
import pickletools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.convert.archives import members
from focusmap.convert.packed import PackedPicture
from focusmap.errors import InputError

SIDE, CHANNELS = 32, 3
META = "batches.meta"
TEST = "test_batch"
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), TEST)

Batch: TypeAlias = Mapping[str, object]


def is_cifar_file(name: str) -> bool:
    """Return True for the names of the archive's pickles."""
    return name in (*BATCHES, META)


def unpack_cifar(source: Path) -> Iterator[PackedPicture]:
    """Yield the pictures of CIFAR-10's python archive, or of the folder that it unpacks to: batches 1 to 5, then test.

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
            yield from _pictures(_load(found.pop(name), name), classes, name)


def _class_names(meta: Batch) -> list[str]:
    names = meta.get("label_names")
    if not isinstance(names, list) or not names:
        raise InputError(f"{META}: holds no label_names; CIFAR-10 was expected.")
    return [_text(name) for name in names]


def _pictures(batch: Batch, classes: Sequence[str], name: str) -> Iterator[PackedPicture]:
    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, StoredArray) or not isinstance(labels, list):
        raise InputError(f"{name}: holds {', '.join(batch) or 'nothing'}; data and labels of CIFAR-10 were expected.")
    planes = pixels.to_numpy(name).reshape(-1, CHANNELS, SIDE, SIDE)
    if len(planes) != len(labels):
        raise InputError(f"{name}: holds {len(planes)} pictures and {len(labels)} labels.")
    split = "test" if name == TEST else "train"
    for number, (plane, label) in enumerate(zip(planes, labels, strict=True)):
        if not isinstance(label, int) or not 0 <= label < len(classes):
            raise InputError(f"{name}: label {label!r} of picture {number} is not one of 0 to {len(classes) - 1}.")
        yield PackedPicture(f"{name}_{number:05d}", plane, {"split": split, "label": classes[label]})


class StoredArray:
    """The record of a numpy array: what a pickle would set it to, kept as it came."""

    def __init__(self, *made_from: object) -> None:
        self._state: object = made_from

    def __setstate__(self, state: object) -> None:
        self._state = state

    def to_numpy(self, name: str) -> NDArray[np.uint8]:
        """Return the pictures ``(N, 3072) uint8``; `InputError` if that is not what was stored."""
        # numpy.ndarray.__reduce__: version, shape, dtype, whether in Fortran order, bytes.
        match self._state:
            case (int(), (int(rows), int(columns)), StoredType(name="u1"), False | 0, bytes(content)):
                if columns == CHANNELS * SIDE * SIDE and len(content) == rows * columns:
                    return np.frombuffer(content, np.uint8).reshape(rows, columns)
        raise InputError(f"{name}: data is not an array of pictures with {CHANNELS * SIDE * SIDE} bytes each.")


class StoredType:
    """The record of a numpy dtype: the name it was made with."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = _text(name)

    def __setstate__(self, state: object) -> None:
        """Take no notice of byte order and the like; single bytes have none."""


def _encoded(text: object, encoding: object) -> bytes:
    """Return what Python 3 writes of bytes in old pickles: ``_codecs.encode(text, "latin1")``."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Makes numbers, texts, lists, dicts and the records above, and refuses every other name."""

    STAND_INS: ClassVar[dict[tuple[str, str], object]] = {
        ("numpy.core.multiarray", "_reconstruct"): StoredArray,
        ("numpy._core.multiarray", "_reconstruct"): StoredArray,
        ("numpy", "ndarray"): StoredArray,
        ("numpy", "dtype"): StoredType,
        ("_codecs", "encode"): _encoded,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"asks for {module}.{name}; only arrays, numbers and texts are read")
        return self.STAND_INS[module, name]


def _load(content: bytes, name: str) -> Batch:
    try:
        for opcode, argument, _ in pickletools.genops(content):
            # The unpickler reserves a table as long as the highest number that it is told to remember.
            if opcode.name in ("PUT", "LONG_BINPUT") and int(cast(int, argument)) > len(content):
                raise pickle.UnpicklingError("remembers more than it holds")
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    # A pickle may be wrong in any way, and each opcode fails in its own.
    except Exception as error:
        raise InputError(f"{name}: is not a batch of CIFAR-10 ({error}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{name}: holds {type(value).__name__}; a batch of CIFAR-10 was expected.")
    return {_text(key): part for key, part in value.items()}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
