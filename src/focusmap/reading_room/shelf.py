"""What was sent and what became of it: under names that the server makes, for a set time, each visitor's own.

Nothing here opens an image; that is the answering process's part.
"""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import gettempdir, mkdtemp
from typing import Any, BinaryIO, Literal

import numpy as np

from focusmap.basics import FocusmapError, InputError, Json, MissingFileError, branch, remove_abandoned
from focusmap.reading_room.cases import Case, check, write_case
from focusmap.reading_room.desk import BusyError, Desk, alike_of
from focusmap.reading_room.intake import MIB, Sent, refusal_of, suffix_of

State = Literal["waiting", "answered", "refused"]
MapState = Literal["none", "drawing", "drawn", "failed"]
LONGEST_NAME = 120
# All that lies here at once, in uploads of the largest size.
MOST_UPLOADS = 8
PREFIX = "focusmap-room-"
Files = Iterable[tuple[str, BinaryIO]]


@dataclass
class Item:
    """One image that was sent: whose it is, where it lies, and what is known of it so far."""

    item_id: str
    owner: str
    sent: Sent
    arrived: float
    state: State = "waiting"
    reason: str = ""
    answer: dict[str, Json] = field(default_factory=dict)
    maps: dict[str, Json] = field(default_factory=dict)
    map_state: MapState = "none"
    mask: dict[str, Json] = field(default_factory=dict)
    mask_state: MapState = "none"
    corrected: dict[str, str] = field(default_factory=dict)
    # None as long as nobody has looked which images of train are most alike.
    alike: list[Json] | None = None
    # Counted up when a map is drawn anew, so that a page knows what to fetch again.
    version: int = 0
    n_bytes: int = 0

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for the page and for programs."""
        return {
            "id": self.item_id,
            "name": self.sent.name,
            "state": self.state,
            "reason": self.reason,
            "refusal": refusal_of(self.reason) if self.reason else "",
            "answer": self.answer,
            "maps": {"state": self.map_state, "version": self.version, **self.maps},
            "mask": {"state": self.mask_state, **self.mask},
            "corrected": dict(self.corrected),
            "alike": self.alike,
        }


def shown_name(name: str) -> str:
    r"""Return the last part of what a sender calls a file, without signs that are not printed.

    >>> shown_name("../../etc/passwd"), shown_name("C:\\films\\a\x00b.png"), shown_name("")
    ('passwd', 'ab.png', 'image')
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(sign for sign in last if sign.isprintable())[-LONGEST_NAME:] or "image"


class Shelf:
    """The items of all visitors; every method may be called from any thread."""

    def __init__(self, desk: Desk) -> None:
        remove_abandoned(Path(gettempdir()), PREFIX)
        self.desk, self.root = desk, Path(mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._items: dict[str, Item] = {}
        self._lock = threading.RLock()

    def receive(self, owner: str, files: Files) -> list[Item]:
        """Return a new item for each image in files that were sent; they are answered, then their maps are drawn.

        Raises
        ------
        BusyError
            If too much lies here or waits already.
        RefusedImageError
            If the files cannot be unpacked in time.
        """
        if self.desk.facts["form"]:
            raise InputError("the model asks for more than images: send a case, as /programs says.")
        items = self._laid_down(owner, files)
        for item in items:
            self._ask(item)
        return items

    def receive_case(self, owner: str, files: Files, texts: tuple[Mapping[str, str], Sequence[str]]) -> Item:
        """Return a new item for one case: images with the view of each, and cells by column.

        Raises
        ------
        BusyError, InputError
            As `receive`; if something was sent that the model does not ask for.
        """
        cells, views = texts
        folder, stored = self._stored(files)
        case = Case(cells, [file for file, _ in stored], views)
        check(branch(self.desk.facts, "form"), case)
        table = write_case(self.desk.folder, case, folder)
        first = [f"{name} {cell}" for name, cell in cells.items() if cell][:2]
        name = shown_name(", ".join([*(name for _, name in stored[:1]), *first]))
        item = self._new(owner, table, name, "")
        self._ask(item)
        return item

    def _ask(self, item: Item) -> None:
        if item.state == "waiting":
            self._then(self.desk.ask("answer", [item.sent], True), self._answered, item)

    def _laid_down(self, owner: str, files: Files) -> list[Item]:
        folder, stored = self._stored(files)
        found = self.desk.ask("unpack", stored, folder).result()
        return [self._new(owner, file, shown_name(name), refused) for file, name, refused in found]

    def _stored(self, files: Files) -> tuple[Path, list[tuple[Path, str]]]:
        """Return a new folder and the files in it, each with what its sender calls it."""
        self.sweep()
        if self.n_bytes > MOST_UPLOADS * self.desk.limits.largest * MIB:
            raise BusyError("the server holds as many images as it may; try again later, or remove some.")
        folder = self.root / secrets.token_hex(12)
        folder.mkdir()
        stored = []
        for k, (name, content) in enumerate(files):
            file = folder / f"{k:05d}{suffix_of(name)}"
            with file.open("wb") as target:
                shutil.copyfileobj(content, target, MIB)
            stored.append((file, shown_name(name)))
        return folder, stored

    @property
    def n_bytes(self) -> int:
        """How much of what was sent lies here."""
        with self._lock:
            return sum(item.n_bytes for item in self._items.values())

    def _new(self, owner: str, file: Path, name: str, refused: str) -> Item:
        item_id = secrets.token_hex(12)
        folder = self.root / item_id
        folder.mkdir()
        item = Item(item_id, owner, Sent(file, name, folder), time.time(), "refused" if refused else "waiting", refused)
        item.n_bytes = file.stat().st_size if file.is_file() else 0
        with self._lock:
            self._items[item_id] = item
        return item

    def _then(self, future: "Future[Any]", do: Callable[[Item, Any], None], item: Item) -> None:
        """Have something done with what is said of an item, which may be gone by then."""

        def said(done: "Future[Any]") -> None:
            error = done.exception()
            value = {"refused": str(error)} if error is not None else done.result()
            with self._lock:
                if item.item_id in self._items:
                    do(item, value)

        future.add_done_callback(said)

    def _answered(self, item: Item, value: Any) -> None:
        found = value[0] if isinstance(value, list) else value
        if "refused" in found:
            item.state, item.reason = "refused", str(found["refused"])
            return
        item.state, item.answer = "answered", found
        if alike_of(self.desk.limits) and not found.get("unlike") and not self.desk.facts["form"]:
            self._then(self.desk.ask("alike", item.sent), self._found_alike, item)
        else:
            item.alike = []
        if self.desk.facts["methods"]:
            self.draw(item, None)

    def _found_alike(self, item: Item, value: Any) -> None:
        item.alike = value if isinstance(value, list) else []

    def draw(self, item: Item, method: str | None) -> None:
        """Have the maps of an item drawn; by the usual method where none is named."""
        item.map_state = "drawing"
        try:
            self._then(self.desk.ask("maps", item.sent, method), self._drawn, item)
        except BusyError:
            item.map_state = "failed"

    def _drawn(self, item: Item, value: Any) -> None:
        if "refused" in value:
            item.map_state, item.maps = "failed", {"reason": str(value["refused"])}
            return
        item.map_state, item.maps, item.version = "drawn", value, item.version + 1

    def segment(self, item: Item) -> None:
        """Have the masks of an item drawn."""
        item.mask_state = "drawing"
        self._then(self.desk.ask("segment", item.sent), self._segmented, item)

    def _segmented(self, item: Item, value: Any) -> None:
        is_refused = "refused" in value
        item.mask_state, item.mask = "failed" if is_refused else "drawn", value

    def of(self, owner: str) -> list[Item]:
        """Return the items of a visitor in the order in which they came."""
        self.sweep()
        with self._lock:
            return [item for item in self._items.values() if item.owner == owner]

    def get(self, owner: str, item_id: str) -> Item:
        """Return an item of a visitor; `MissingFileError` if it is not there, or somebody else's."""
        with self._lock:
            item = self._items.get(item_id)
        if item is None or item.owner != owner:
            raise MissingFileError("no such image; what was sent is removed after a while.")
        return item

    def remove(self, items: Sequence[Item]) -> None:
        """Remove items with all that was made of them."""
        with self._lock:
            for item in items:
                self._items.pop(item.item_id, None)
            kept = {item.sent.file.parent for item in self._items.values()}
        for item in items:
            shutil.rmtree(item.sent.folder, ignore_errors=True)
            if item.sent.file.parent not in kept:
                shutil.rmtree(item.sent.file.parent, ignore_errors=True)
            elif item.sent.file.is_file():
                item.sent.file.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what came longer ago than it is kept."""
        before = time.time() - 60 * self.desk.limits.keep
        with self._lock:
            old = [item for item in self._items.values() if item.arrived < before]
        self.remove(old)

    def close(self) -> None:
        """Remove all."""
        shutil.rmtree(self.root, ignore_errors=True)

    def asked_once(self, files: Files, ask: Callable[[Sequence[Sent]], Any]) -> Any:
        """Return what is said of files that are not kept; those that are refused are left to `ask`'s own refusals.

        Raises
        ------
        FocusmapError
            As of `receive`; if a file among them cannot be unpacked.
        """
        items = self._laid_down("", files)
        try:
            refused = [item for item in items if item.state == "refused"]
            if refused:
                raise FocusmapError(f"{refused[0].sent.name}: {refused[0].reason}")
            return ask([item.sent for item in items])
        finally:
            self.remove(items)


def plane_of(file: Path, plane: int, position: int) -> np.ndarray:
    """Return one plane of an array ``(slices, rows, columns[, 3])``, across its axis number `plane`.

    Raises
    ------
    MissingFileError
        If there is no such array or plane.
    """
    if not file.is_file():
        raise MissingFileError("nothing is drawn yet.")
    array = np.load(file, mmap_mode="r")
    if not (0 <= plane < 3 and 0 <= position < array.shape[plane]):
        raise MissingFileError("no such slice.")
    return np.ascontiguousarray(np.take(array, position, axis=plane))
