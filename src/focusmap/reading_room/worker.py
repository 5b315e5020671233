"""The process that reads what was sent, answers it and draws its maps; nothing from outside is decoded elsewhere.

It has a bound on its memory and is ended when it takes too long. What it is told and what it says are plain values;
images, maps and masks lie as arrays in the folder of their item, on the grid that the page shows them in.
"""

import hmac
import resource
import secrets
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from focusmap import heatmaps, models
from focusmap.api import can_segment
from focusmap.basics import FocusmapError, InputError, Json, read_json
from focusmap.evaluation import Showing
from focusmap.images import dicom_identity
from focusmap.reading_room.cases import form_of, show_case
from focusmap.reading_room.intake import DICOM, Sent, starts, unpack, without_paths
from focusmap.reading_room.layers import draw_maps, keep, segment, show, show_alike
from focusmap.report import called

if TYPE_CHECKING:
    from focusmap.api import LoadedModel

GIB = 2**30


class Limits(NamedTuple):
    """What the process may do.

    Device and engine of the model, the GiB that it may take besides, the MiB that are sent at most, and how many images
    of train are shown beside an answer.
    """

    devices: str
    engine: str
    memory: float
    largest: int
    alike: int


@dataclass(frozen=True)
class Room:
    """What the process holds: the model, its run, what a visitor may ask, and what may be shown."""

    model: "LoadedModel"
    metrics: Mapping[str, Json]
    limits: Limits
    showing: Showing
    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    @property
    def view(self) -> "heatmaps.NetView | None":
        """The model as heat maps see it."""
        return self.model.model.explainable()

    @cached_property
    def form(self) -> dict[str, Json]:
        """What is asked for beside one image; empty where nothing is."""
        return form_of(self.model)

    @property
    def takes_volumes(self) -> bool:
        """Whether a series of slices is one image."""
        return not self.form and len(self.model.model.preparations[0].input_shape) == 4

    def group(self, file: Path) -> str:
        """Return what images of one patient have in common while this process lives; empty where nobody knows."""
        patient = dicom_identity(file).patient_id if starts(file, 128, DICOM) else ""
        return hmac.new(self.secret.encode(), patient.encode(), "sha256").hexdigest()[:16] if patient else ""

    def facts(self) -> dict[str, Json]:
        """Return what the page must know of the model before anything was sent."""
        task, view = self.model.task, self.view
        targets: list[Json] = [
            {"name": target.name, "kind": target.kind, "classes": list(target.classes)} for target in task.targets
        ]
        return {
            "model": str(self.model.card.architecture.get("model")),
            "targets": targets,
            "labels": list(task.label_names),
            "names": [called(task, label) for label in task.label_names],
            "unchecked": bool(self.model.model.preparations) and self.showing.unlike is None,
            "volumes": self.takes_volumes,
            "methods": [] if view is None else [view.check(None), *_others(view)],
            "can_segment": not self.form and can_segment(self.model),
            "form": self.form,
        }


def _others(view: "heatmaps.NetView") -> list[Json]:
    usual = view.check(None)
    return [name for name in view.methods if name != usual]


def work(connection: Connection, folder: Path, limits: Limits) -> None:
    """Load a model, say what it is, and answer until told to stop; the first and every other word is (state, value)."""
    # pydicom quotes the values of odd elements in its warnings, and those may name the patient.
    warnings.simplefilter("ignore")
    try:
        room = _opened(folder, limits)
        connection.send(("done", room.facts()))
    except FocusmapError as error:
        connection.send(("failed", str(error)))
        return
    _bound_memory(limits.memory)
    # Whoever interrupts the server ends this process by closing the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            kind, arguments = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        connection.send(_done(room, kind, arguments))


def _done(room: Room, kind: str, arguments: Sequence[Any]) -> tuple[str, Any]:
    try:
        return "done", TASKS[kind](room, *arguments)
    except FocusmapError as error:
        return "failed", str(error)
    except MemoryError:
        return "failed", "needs more memory than there is"


def _opened(folder: Path, limits: Limits) -> Room:
    from focusmap.api import load_model

    loaded = load_model(folder, limits.devices, limits.engine)
    metrics = folder / "evaluation" / "metrics.json"
    return Room(loaded, read_json(metrics) if metrics.is_file() else {}, limits, models.showing_of(folder))


def _bound_memory(gib: float) -> None:
    """Let the process take so much more than it has now, where the system can bound it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return
    now = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmSize"))
    limit = now + int(gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def answer(room: Room, sent: Sequence[Sent], with_images: bool) -> list[dict[str, Json]]:
    """Return what the model says of files, in their order, or why it says nothing; what is shown of them is written."""
    from focusmap.api import answer_of

    if room.form:
        return [_answer_case(room, one, with_images) for one in sent]
    given = room.model.predict([one.file for one in sent])
    # Lines are counted as in a table with a header.
    rows = {line - 2: row for row, line in enumerate(given.found.rows.table["row"])}
    refused = {str(failure.file): failure.reason for failure in given.failures}
    found: list[dict[str, Json]] = []
    for position, one in enumerate(sent):
        row = rows.get(position)
        if row is None:
            found.append({"refused": without_paths(refused.get(str(one.file), "cannot be read"), one)})
            continue
        said = answer_of(given, row, room.metrics)
        found.append({**said, "image": show(one), "patient": room.group(one.file)} if with_images else said)
    return found


def _answer_case(room: Room, sent: Sent, with_images: bool) -> dict[str, Json]:
    """Return what the model says of the table of one case, or why it says nothing."""
    from focusmap.api import answer_of

    try:
        given = room.model.predict(sent.file)
    except InputError as error:
        return {"refused": without_paths(str(error), sent)}
    if not len(given):
        return {"refused": without_paths("; ".join(one.reason for one in given.failures) or "cannot be read", sent)}
    said = answer_of(given, 0, room.metrics)
    shown = show_case(room.model, sent.file, sent.folder) if with_images else {}
    return {**said, "patient": "", **({"image": shown} if shown else {})}


TASKS: Mapping[str, Callable[..., Any]] = {
    "unpack": lambda room, files, folder: unpack(files, folder, room.limits.largest, volumes=room.takes_volumes),
    "answer": answer,
    "alike": show_alike,
    "maps": draw_maps,
    "segment": segment,
    "keep": keep,
}
