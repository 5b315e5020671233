"""Predict a table of any length on a cluster: each share of it becomes a Parquet file of answers, as one machine's."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from focusmap.errors import InputError
from focusmap.evaluation import answered, standings_of
from focusmap.files import write_json
from focusmap.installation import require
from focusmap.models import load_run_model, made_from, needs_of, ood_of, place_of, predict_chunks
from focusmap.progress import Progress
from focusmap.scale import (
    PARTS,
    ROWS,
    UNREAD,
    Cluster,
    Share,
    Tally,
    Tool,
    gathered_failures,
    shares_of,
    worked_through,
    write_share,
)
from focusmap.study import ImageColumns, RunOptions, image_columns
from focusmap.verbs.requests import PredictRequest

SUMMARY = "summary.json"


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


def predict_table(folder: Path, request: PredictRequest, options: RunOptions = RunOptions()) -> TableAnswer:
    """Write the predictions of a table's images as ``parts/*.parquet`` in `request.out`, in the order of the table.

    Columns and values are those of `focusmap.predict`; what cannot be read stands in ``failures.parquet``.

    Parameters
    ----------
    request
        With one table, CSV or Parquet, and a folder in `out`; with `resume` its parts that are there are left. The
        machines of a cluster at `address` see the run, the images and `out` under the same paths.
    options
        `workers` actors with a core each; as many as there are cores by default.

    Raises
    ------
    InputError
        If the model is shown more than single images, the table cannot be streamed or names no images, or there is no
        such cluster; if `out` holds parts, and neither `request.resume` nor `options.force` is given.
    MissingPartError
        If Ray is not installed.
    """
    require("ray")
    asked, shares = _asked(folder, request, options)
    started, counted = time.monotonic(), Tally(0, 0)
    n_before = len(list((asked.out / PARTS).glob("*.parquet")))
    for tally in worked_through(shares, asked.out, partial(_tool, asked), Cluster(request.address, options.workers)):
        counted = Tally(counted.n_answered + tally.n_answered, counted.n_failed + tally.n_failed)
        _tell(options.progress, counted, time.monotonic() - started)
    seconds = time.monotonic() - started
    answer = TableAnswer(asked.out, counted.n_answered, gathered_failures(asked.out), n_before, seconds)
    write_json(asked.out / SUMMARY, {
        "table": request.inputs[0].name, "n_images": answer.n_images, "n_failed": answer.n_failed,
        "n_shares_before": n_before, "seconds": round(seconds, 1),
    })  # fmt: skip
    return answer


@dataclass(frozen=True)
class _Asked:
    """What each actor is told: whose model answers, which images, to where, and at which error."""

    folder: Path
    columns: ImageColumns
    out: Path
    error: float


def _asked(folder: Path, request: PredictRequest, options: RunOptions) -> tuple[_Asked, Iterator[Share]]:
    if len(request.inputs) != 1 or request.out is None:
        raise InputError("--engine ray takes one table, and writes to a folder: say where with --out DIR.")
    (table,), out = request.inputs, request.out.resolve()
    needs = needs_of(load_run_model(folder, "cpu"))
    if not needs.images or needs.views or needs.covariates or any(one.baseline for one in needs.task.targets):
        raise InputError(f"{folder}: is no model of single images; --engine ray is for these. Leave it out.")
    if not request.resume and (out / PARTS).exists():
        if not options.force:
            raise InputError(f"{out}: holds parts already. Go on with --resume, or replace them with --force.")
        for place in (PARTS, UNREAD):
            shutil.rmtree(out / place, ignore_errors=True)
    shares = shares_of(table, f"{made_from(place_of(folder))} {request.error}", ROWS)
    first = next(shares, None)
    if first is None:
        raise InputError(f"{table}: has a header and no rows.")
    columns = image_columns(folder, table.resolve(), first.rows, request.declaration)
    return _Asked(folder.resolve(), columns, out, request.error), chain([first], shares)


def _tool(asked: _Asked) -> Tool:
    """Return what answers shares, with the model that it answers by; made once in each actor."""
    model = load_run_model(asked.folder, "cpu")
    ood, standings = ood_of(asked.folder), standings_of(asked.folder)

    def answer(share: Share) -> Tally:
        samples = asked.columns.samples(share.rows, model.task)
        found = [
            answered(one.predictions, standings, model.card.thresholds, asked.error).to_table()
            for one in predict_chunks(model, samples, ood)
        ]
        told = pd.concat(found, ignore_index=True) if found else pd.DataFrame({"image_id": []})
        failures = pd.DataFrame([one.row for one in samples.failures], columns=["path", "reason"])
        return write_share(share, asked.out, told, failures)

    return answer


def _tell(progress: Progress, counted: Tally, seconds: float) -> None:
    n = counted.n_answered + counted.n_failed
    progress(f"predicting, {n / max(seconds, 1e-9):.0f} images per second", n, 0)
