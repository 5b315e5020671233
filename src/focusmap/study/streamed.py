"""A table of any length, its images answered share by share on a cluster: by a model, with maps, or with masks."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from focusmap.basics import NO_ROWS, InputError, require, write_json
from focusmap.scale import PARTS, ROWS, UNREAD, Share, Tally, gathered_failures, n_rows_of, parts_in, shares_of
from focusmap.scale.cluster import Cluster, Tool, worked_through
from focusmap.study.addresses import settled_folder
from focusmap.study.inputs import ImageColumns, Needs, image_columns
from focusmap.study.options import Declaration, RunOptions

SUMMARY, FILES = "summary.json", "files"


@dataclass(frozen=True)
class Streamed:
    """What is asked of which table, and where.

    Parameters
    ----------
    table
        CSV or Parquet, with a column of images.
    out
        Folder of the answers, on a disk that all machines of the cluster share.
    question
        Who is asked what: another question has other parts.
    declaration
        What the user declared about the table's columns.
    options
        Whose workers answer, what is told, and whether parts that are there are removed.
    resume
        Parts that are there stay.
    """

    table: Path
    out: Path
    question: str
    declaration: Declaration
    options: RunOptions
    resume: bool = False

    @property
    def cluster(self) -> Cluster:
        """Whose workers answer."""
        return Cluster(self.options.address, self.options.workers)


@dataclass(frozen=True)
class TableAnswer:
    """Where the parts lie, how many images have answers and how many could not be read, and how long this run took.

    `n_before` are the shares that were done by a run before.
    """

    folder: Path
    n_images: int
    n_failed: int
    n_before: int
    seconds: float


def one_table(inputs: tuple[Path, ...], out: Path | None) -> tuple[Path, Path]:
    """Return table and folder for a cluster; `InputError` where they are not given, `MissingPartError` without Ray."""
    require("ray")
    if len(inputs) != 1 or out is None:
        raise InputError("--engine ray takes one table, and writes to a folder: say where with --out DIR.")
    return inputs[0], out.absolute()


def refuse_more_than_images(folder: Path, needs: Needs) -> None:
    """Raise `InputError` where a model is shown more than single images."""
    if not needs.images or needs.views or needs.covariates or any(target.baseline for target in needs.task.targets):
        raise InputError(f"{folder}: is no model of single images; --engine ray is for these. Leave it out.")


def stream(folder: Path, streamed: Streamed, make: Callable[[ImageColumns], Tool]) -> TableAnswer:
    """Have each share of a table answered, and return what was done; ``failures.parquet`` says what cannot be read.

    Parameters
    ----------
    folder
        Of the run, whose study says which columns are which.
    make
        Called once in each actor, with these columns: makes what answers.

    Raises
    ------
    InputError
        If `streamed.out` holds parts that neither stay nor go, the table cannot be streamed or names no images, or
        there is no such cluster.
    """
    out = streamed.out
    _settle(streamed)
    shares = shares_of(streamed.table, streamed.question, ROWS)
    first = next(shares, None)
    if first is None:
        raise InputError(f"{streamed.table}: {NO_ROWS}")
    declared = replace(streamed.declaration, images=settled_folder(streamed.declaration.images))
    columns = image_columns(folder, streamed.table.absolute(), first.rows, declared)
    started, counted = time.monotonic(), Tally(0, 0)
    n_before = len(parts_in(out / PARTS))
    n_left = max(n_rows_of(streamed.table) - n_before * ROWS, 1)
    for tally in worked_through(chain([first], shares), out, partial(make, columns), streamed.cluster):
        counted = Tally(counted.n_answered + tally.n_answered, counted.n_failed + tally.n_failed)
        done = counted.n_answered + counted.n_failed
        streamed.options.progress("answering images", done, max(n_left, done))
    seconds = time.monotonic() - started
    answer = TableAnswer(out, counted.n_answered, gathered_failures(out), n_before, seconds)
    write_json(out / SUMMARY, {
        "table": streamed.table.name, "n_images": answer.n_images, "n_failed": answer.n_failed,
        "n_shares_before": n_before, "seconds": round(seconds, 1),
    })  # fmt: skip
    return answer


def _settle(streamed: Streamed) -> None:
    if streamed.resume or not (streamed.out / PARTS).exists():
        return
    if not streamed.options.force:
        raise InputError(f"{streamed.out}: holds parts already. Go on with --resume, or replace them with --force.")
    for place in (PARTS, UNREAD, FILES):
        shutil.rmtree(streamed.out / place, ignore_errors=True)


def files_of(share: Share, out: Path) -> Path:
    """Return the folder of the files that belong to a share's answers, such as maps; it bears the part's name."""
    return out / FILES / share.name
