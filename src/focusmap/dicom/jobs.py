"""Studies that arrived and what became of them, on disk (SQLite): nothing is lost or answered twice, whatever ends us.

An image is written as a whole before its sender is told so. Once a study is quiet it becomes a job; its objects are
made as a whole before the first is sent, so that what is sent again after an end is the same object, which the archive
knows.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["answering", "sending", "done", "parked"]
SCHEMA = """
create table if not exists images (
    uid text primary key, study text not null, arrived real not null, job integer references jobs
);
create table if not exists jobs (
    id integer primary key autoincrement, study text not null, state text not null, attempts integer not null default 0,
    begun integer not null default 0, not_before real not null default 0, reason text not null default ''
);
"""
# Attempts after one another, each after twice the time; then somebody must look.
MOST_ATTEMPTS = 8
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0


@dataclass(frozen=True)
class Job:
    """A study, or the part of it that had not been answered when it was quiet."""

    number: int
    study: str
    state: State
    attempts: int
    reason: str


class Jobs:
    """The jobs below a folder; every method may be called from any thread.

    Parameters
    ----------
    folder
        Of images, objects and the data base.
    quiet
        Seconds without a new image after which a study is complete.
    """

    def __init__(self, folder: Path, quiet: float) -> None:
        self.folder, self.quiet = folder, quiet
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._open() as database:
            database.executescript(SCHEMA)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "jobs.sqlite", timeout=60)) as database:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            with database:
                yield database

    def image(self, uid: str) -> Path:
        """Return where an image lies."""
        return self.folder / "images" / f"{uid}.dcm"

    def objects(self, job: Job) -> Path:
        """Return where the objects of a job lie once all of them are made."""
        return self.folder / "objects" / str(job.number)

    def knows(self, uid: str) -> bool:
        """Return whether an image arrived before, done or not."""
        with self._open() as database:
            return database.execute("select 1 from images where uid = ?", (uid,)).fetchone() is not None

    def receive(self, uid: str, study: str, content: bytes) -> bool:
        """Store an image as a whole, and return whether it is new; when this returns it is safe."""
        if self.knows(uid):
            return False
        file = self.image(uid)
        file.parent.mkdir(exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}.part")
        with temporary.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
        with self._open() as database:
            database.execute("insert or ignore into images values (?, ?, ?, null)", (uid, study, time.time()))
        return True

    def collect(self) -> int:
        """Make a job of each study that is quiet; return how many are new."""
        with self._open() as database:
            quiet = database.execute(
                "select study from images where job is null group by study having max(arrived) <= ?",
                (time.time() - self.quiet,),
            ).fetchall()
            for (study,) in quiet:
                job = database.execute("insert into jobs (study, state) values (?, 'answering')", (study,)).lastrowid
                database.execute("update images set job = ? where study = ? and job is null", (job, study))
        return len(quiet)

    def due(self) -> list[Job]:
        """Return the jobs that may be gone on with now, the oldest first."""
        return self._jobs("state in ('answering', 'sending') and not_before <= ?", time.time())

    def parked(self) -> list[Job]:
        """Return the jobs that somebody must look at."""
        return self._jobs("state = 'parked' and ?", 1)

    def _jobs(self, where: str, value: float) -> list[Job]:
        with self._open() as database:
            rows = database.execute(
                f"select id, study, state, attempts, reason from jobs where {where} order by id", (value,)
            ).fetchall()
        return [Job(*row) for row in rows]

    def images_of(self, job: Job) -> list[Path]:
        """Return the images of a job."""
        with self._open() as database:
            rows = database.execute("select uid from images where job = ? order by uid", (job.number,)).fetchall()
        return [self.image(uid) for (uid,) in rows]

    def begin(self, job: Job) -> int:
        """Note that a job is about to be answered, and return how often that was so."""
        with self._open() as database:
            database.execute("update jobs set begun = begun + 1 where id = ?", (job.number,))
            return int(database.execute("select begun from jobs where id = ?", (job.number,)).fetchone()[0])

    def answer(self, job: Job, make: Callable[[list[Path], Path], object]) -> None:
        """Have the objects of a job made in a folder, which counts once it is whole."""
        whole = self.objects(job)
        if not whole.is_dir():
            partial = whole.with_name(f"{job.number}.part")
            shutil.rmtree(partial, ignore_errors=True)
            partial.parent.mkdir(exist_ok=True)
            make(self.images_of(job), partial)
            partial.mkdir(exist_ok=True)
            partial.replace(whole)
        self._set(job, "sending")

    def finish(self, job: Job) -> None:
        """Remove the images and objects of a job, and note that it is done; that they were here is remembered."""
        for file in self.images_of(job):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.objects(job), ignore_errors=True)
        # Last of all: who is ended before this finds all stored, and removes what is left.
        self._set(job, "done")

    def fail(self, job: Job, reason: str, *, again: bool) -> bool:
        """Note that a job failed; it is tried again after a while, or parked. Return whether it is parked."""
        attempts = job.attempts + 1
        is_parked = not again or attempts >= MOST_ATTEMPTS
        wait = min(FIRST_WAIT * 2**job.attempts, LONGEST_WAIT)
        with self._open() as database:
            database.execute(
                "update jobs set state = ?, attempts = ?, not_before = ?, reason = ? where id = ?",
                ("parked" if is_parked else job.state, attempts, time.time() + wait, reason, job.number),
            )
        return is_parked

    def _set(self, job: Job, state: State) -> None:
        with self._open() as database:
            database.execute(
                "update jobs set state = ?, attempts = 0, not_before = 0, reason = '' where id = ?", (state, job.number)
            )
