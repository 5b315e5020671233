"""CIFAR-10's python archive (Krizhevsky 2009): pickles, of which no instruction to call anything is followed.

A pickle is a program. Python's own unpickler, even one that calls nothing, follows nesting and repetition as deep as it
is told to, to the end of its stack or of time. This one counts containers, hashes only texts and numbers, and looks
into nothing that it has put together.

The names that the batches use stand for inert records; any other
name is an error. numpy itself never sees the file: its arrays are made from the records' bytes.
"""

import pickletools
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeAlias, cast

import numpy as np

from focusmap.basics import InputError
from focusmap.convert.archives import PackedImage, members
from focusmap.images import check_parts

MARK = object()
NUMBERS = ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE")
OLD_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
IGNORED = ("PROTO", "FRAME", "STOP")


class Record(Protocol):
    """What stands for an object: it is given its state and does nothing with it."""

    def __setstate__(self, state: object) -> None: ...


def read_pickle(content: bytes, stand_ins: Mapping[tuple[str, str], object]) -> object:
    """Return what a pickle holds; names are looked up in `stand_ins`, and any other is refused.

    Raises
    ------
    InputError
        If it is damaged, asks for other names or instructions, or has more containers than are counted.
    """
    machine = _Machine(stand_ins, len(content))
    try:
        for opcode, argument, _ in pickletools.genops(content):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except InputError:
        raise
    # A pickle may be wrong in any way, and each instruction fails in its own.
    except Exception:
        raise InputError("is damaged or no pickle of numbers and texts") from None


class _Machine:
    """The stack and the memory of a pickle that is being read."""

    def __init__(self, stand_ins: Mapping[tuple[str, str], object], n_bytes: int) -> None:
        self.stack: list[object] = []
        self._memory: dict[int, object] = {}
        self._stand_ins = stand_ins
        self._records = tuple(one for one in stand_ins.values() if isinstance(one, type))
        self._n_bytes = n_bytes
        self._n_containers = 0

    def step(self, name: str, argument: object) -> None:
        """Follow one instruction."""
        if name in NUMBERS or name in BYTES or name in TEXTS:
            self.stack.append(argument)
        elif name in OLD_TEXTS:
            self.stack.append(str(argument).encode("latin1"))
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name == "MARK":
            self.stack.append(MARK)
        elif name in PUTS or name == "MEMOIZE":
            self._remember(len(self._memory) if name == "MEMOIZE" else int(cast(int, argument)))
        elif name in GETS:
            self.stack.append(self._memory[int(cast(int, argument))])
        elif name not in IGNORED:
            self._put_together(name, argument)

    def _remember(self, place: int) -> None:
        if place > self._n_bytes:
            raise InputError("remembers more than it holds")
        self._memory[place] = self.stack[-1]

    def _put_together(self, name: str, argument: object) -> None:
        if name in ("APPEND", "APPENDS"):
            items = self._since_mark() if name == "APPENDS" else [self.stack.pop()]
            cast(MutableSequence[object], self._top(list)).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else [self.stack.pop() for _ in range(2)][::-1]
            cast(dict[object, object], self._top(dict)).update(_pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.stack.append(self._named(str(argument).split(" ") if name == "GLOBAL" else self._last_two()))
        elif name == "BUILD":
            state = self.stack.pop()
            cast(Record, self._top(self._records)).__setstate__(state)
        else:
            self._count()
            self.stack.append(self._container(name))

    def _container(self, name: str) -> object:
        if name in ("EMPTY_LIST", "LIST"):
            return self._since_mark() if name == "LIST" else []
        if name in ("EMPTY_DICT", "DICT"):
            return dict(_pairs(self._since_mark())) if name == "DICT" else {}
        if name == "TUPLE":
            return tuple(self._since_mark())
        if name in TUPLES:
            return tuple([self.stack.pop() for _ in range(TUPLES[name])][::-1])
        if name == "REDUCE":
            arguments, call = self.stack.pop(), self.stack.pop()
            if any(call is known for known in self._stand_ins.values()) and isinstance(arguments, tuple):
                return call(*arguments)  # type: ignore[operator]  # a stand-in is a class or a function of ours
        if "PERSID" in name:
            raise InputError("asks for something persistent, which lies outside of it")
        raise InputError(f"has the instruction {name}; only arrays, numbers and texts are read")

    def _count(self) -> None:
        self._n_containers += 1
        check_parts(self._n_containers, "lists, dicts and tuples")

    def _since_mark(self) -> list[object]:
        items: list[object] = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def _last_two(self) -> list[str]:
        return [str(part) for part in (self.stack.pop(), self.stack.pop())][::-1]

    def _top(self, kind: type | tuple[type, ...]) -> object:
        if not isinstance(self.stack[-1], kind):
            raise InputError("adds to what is no container")
        return self.stack[-1]

    def _named(self, parts: list[str]) -> object:
        name = (parts[0], parts[1])
        if name not in self._stand_ins:
            raise InputError(f"asks for {'.'.join(name)[:80]}; only arrays, numbers and texts are read")
        return self._stand_ins[name]


def _pairs(items: list[object]) -> list[tuple[object, object]]:
    """Return keys and values; `InputError` if a key is none that may be hashed."""
    pairs = list(zip(items[::2], items[1::2], strict=True))
    if not all(isinstance(key, str | bytes | int) for key, _ in pairs):
        raise InputError("has a key that is neither a text nor a number")
    return pairs


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
    files = {PurePosixPath(name).name: read() for name, read in members(source, is_cifar_file)}
    if META not in files:
        raise InputError(f"{source}: holds no {META}, which names the classes.")
    classes = _class_names(_load(files.pop(META), META))
    for name in BATCHES:
        if name in files:
            yield from _images(_load(files.pop(name), name), classes, name)


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

    def to_numpy(self, name: str) -> np.typing.NDArray[np.uint8]:
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
