"""Asks the answering process: many requests in one batch, one that hurts it alone, a new process after each death."""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from focusmap.basics import FocusmapError, InputError, Json, MissingPartError
from focusmap.models import N_SHOWN
from focusmap.reading_room.guard import LOOPBACK
from focusmap.reading_room.intake import Sent
from focusmap.reading_room.worker import Limits, work
from focusmap.verbs.requests import ServeRequest

MOST_AT_ONCE = 32
# So long the first request waits for others to be answered with.
GATHERED_SECONDS = 0.01
SECONDS_EACH = 2.0
START_SECONDS = 300
# Answers are asked for before maps, and maps that somebody waits for before those that nobody looks at yet.
URGENCY = {"unpack": 0, "answer": 1, "keep": 2, "segment": 2, "alike": 3, "maps": 3}
MOST_WAITING = 2000


class BusyError(InputError):
    """So much is waiting that no more is taken."""


class RefusedImageError(InputError):
    """The answering process ended, or was ended, over one image."""


@dataclass(order=True)
class _Job:
    urgency: int
    number: int
    kind: str = field(compare=False, default="")
    arguments: tuple[Any, ...] = field(compare=False, default=())
    future: "Future[Any]" = field(compare=False, default_factory=Future)


def alike_of(limits: ServeRequest) -> int:
    """Return how many images of train are shown: none to others than this machine's own people, unless it is said."""
    usual = N_SHOWN if limits.host in LOOPBACK else 0
    return usual if limits.alike is None else limits.alike


@dataclass
class Counts:
    """What was done since the start, for ``/metrics``."""

    answered: int = 0
    refused: int = 0
    batches: int = 0
    restarts: int = 0
    seconds: float = 0.0


class Desk:
    """The answering process of one model, and what waits for it; every method may be called from any thread."""

    def __init__(self, folder: Path, limits: ServeRequest) -> None:
        self.folder, self.limits, self.counts = folder, limits, Counts()
        self._context = get_context("spawn")
        self._waiting: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers, self._is_closed = count(), False
        self._process_limits = Limits(limits.devices, limits.engine, limits.memory, limits.largest, alike_of(limits))
        self.facts = self._start()
        self.is_ready = True
        self._thread = threading.Thread(target=self._serve, name="desk", daemon=True)
        self._thread.start()

    def ask(self, kind: str, *arguments: Any, urgency: int | None = None) -> "Future[Any]":
        """Return what will be said; a `FocusmapError` of the process is the future's own.

        Raises
        ------
        BusyError
            If too much is waiting already.
        """
        if self._waiting.qsize() >= MOST_WAITING:
            raise BusyError("too much is waiting to be answered; try again in a minute.")
        job = _Job(URGENCY[kind] if urgency is None else urgency, next(self._numbers), kind, arguments)
        self._waiting.put(job)
        return job.future

    @property
    def n_waiting(self) -> int:
        """Requests that nobody has begun to answer."""
        return self._waiting.qsize()

    def close(self) -> None:
        """End the process; what waits is not answered."""
        self._is_closed = True
        self._waiting.put(_Job(-1, -1))
        self._thread.join(timeout=5)
        self._end()

    def _start(self) -> dict[str, Json]:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=work, args=(theirs, self.folder, self._process_limits), name="focusmap-answers", daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            if not self._connection.poll(START_SECONDS):
                raise EOFError
            state, value = self._connection.recv()
        except (EOFError, OSError):
            self._end()
            raise MissingPartError(f"{self.folder}: the process that answers did not start.") from None
        if state == "failed":
            self._end()
            raise InputError(value)
        facts: dict[str, Json] = value
        return facts

    def _end(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()

    def _serve(self) -> None:
        while not self._is_closed:
            jobs = self._next()
            if jobs[0].number < 0:
                return
            self._answer(jobs)

    def _next(self) -> list[_Job]:
        """Return the next request; of answers, as many as there are at once."""
        jobs = [self._waiting.get()]
        if jobs[0].kind != "answer":
            return jobs
        time.sleep(GATHERED_SECONDS)
        while sum(len(job.arguments[0]) for job in jobs) < MOST_AT_ONCE:
            try:
                other = self._waiting.get_nowait()
            except queue.Empty:
                break
            if other.kind != "answer" or other.arguments[1:] != jobs[0].arguments[1:]:
                self._waiting.put(other)
                break
            jobs.append(other)
        return jobs

    def _answer(self, jobs: Sequence[_Job]) -> None:
        first, started = jobs[0], time.monotonic()
        if first.kind != "answer":
            self._settle(first, self._exchange(first.kind, first.arguments, 1))
            return
        sent, rest = [one for job in jobs for one in job.arguments[0]], first.arguments[1:]
        found = self._answered(sent, rest)
        for job in jobs:
            own, found = found[: len(job.arguments[0])], found[len(job.arguments[0]) :]
            self._settle(job, ("done", own))
        self.counts.batches += 1
        self.counts.seconds += time.monotonic() - started

    def _answered(self, sent: Sequence[Sent], rest: tuple[Any, ...]) -> list[dict[str, Json]]:
        """Return what is said of each of several images; where the process dies over them, each is asked alone."""
        state, value = self._exchange("answer", (sent, *rest), len(sent))
        if state == "done":
            refused = sum("refused" in one for one in value)
            self.counts.refused += refused
            self.counts.answered += len(value) - refused
            return list(value)
        if len(sent) == 1:
            self.counts.refused += 1
            return [{"refused": str(value)}]
        return [one for each in sent for one in self._answered([each], rest)]

    def _exchange(self, kind: str, arguments: tuple[Any, ...], n_images: int) -> tuple[str, Any]:
        """Return state and value of one request; a process that dies or takes too long is replaced."""
        try:
            self._connection.send((kind, arguments))
            if not self._connection.poll(self.limits.seconds + SECONDS_EACH * n_images):
                self._replace()
                return "failed", f"takes more than {self.limits.seconds:g} seconds"
            state, value = self._connection.recv()
        except (EOFError, OSError):
            self._replace()
            return "failed", "cannot be read: it ended the process that reads images"
        return state, value

    def _replace(self) -> None:
        """Start another process; where none starts, the next request tries again."""
        self.is_ready = False
        self._end()
        self.counts.restarts += 1
        with suppress(FocusmapError):
            self.facts = self._start()
            self.is_ready = True

    @staticmethod
    def _settle(job: _Job, outcome: tuple[str, Any]) -> None:
        state, value = outcome
        if not job.future.set_running_or_notify_cancel():
            return
        if state == "done":
            job.future.set_result(value)
        else:
            job.future.set_exception(RefusedImageError(value))
