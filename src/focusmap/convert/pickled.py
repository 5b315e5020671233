"""Pickles of numbers, texts, lists and dicts, read by a machine of our own that knows no other instruction.

A pickle is a program. Python's own unpickler, even one that calls nothing, follows nesting and repetition as deep as it
is told to, to the end of its stack or of time. This one counts containers, hashes only texts and numbers, and looks
into nothing that it has put together.
"""

import pickletools
from collections.abc import Mapping, MutableSequence
from typing import Protocol, cast

from focusmap.errors import InputError
from focusmap.images.budget import check_parts

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
