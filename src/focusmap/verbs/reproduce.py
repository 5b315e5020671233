"""Reproduce: train a run again from its own files, and say whether the predictions are the same."""

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from focusmap.basics import (
    HASHES,
    InputError,
    Json,
    branch,
    command_line,
    file_hash,
    read_json,
    refuse_unwritable,
    text,
    write_json,
)
from focusmap.evaluation import Predictions, read_predictions
from focusmap.fitting import Prepared, library_versions, train_all, train_baseline
from focusmap.study import Cohort, RunOptions, load_cohort, read_recipe, read_split, read_study, store_for
from focusmap.study.run import PLANS, REPRODUCTION, SHARED_STORE, Run, open_run, start_run, writing

# Sums that several threads add up in another order differ in their last digits.
TOLERANCE = 1e-6


def reproduce(folder: Path, out: Path | None = None, options: RunOptions = RunOptions()) -> dict[str, Json]:
    """Return whether a second training predicts what the first one did; write it as ``reproduction.json``.

    Study, cohort, split and recipe are the run's own; images are read and prepared again. Of a ladder the rungs that
    were reached are trained again, with the epochs that they had, however long that takes here.

    Parameters
    ----------
    folder
        The run.
    out
        Where the second run is kept; without it, it is removed when it has been compared.

    Returns
    -------
    dict
        ``equal``; ``largest_difference`` of a probability or value; ``parts``: by part of the split ``n`` and its own
        largest difference; ``changed``: what is not as it was then, with ``then`` and ``now``.

    Raises
    ------
    InputError
        If the run was not trained to its end, or `out` holds a run already.
    """
    run, started = open_run(folder), time.monotonic()
    if run.is_stopped or not run.manifest.is_file() or not run.predictions("tune").is_file():
        go_on = command_line("train", "--resume", folder)
        raise InputError(f"{folder}: was not trained to its end. Go on with: {go_on}")
    cohort = load_cohort(run.folder)
    refuse_unwritable(run.folder / REPRODUCTION)
    beside = run.folder.resolve().parent
    place = TemporaryDirectory(dir=beside, prefix=f".{run.folder.name}.again-") if out is None else nullcontext(out)
    with place as name, writing(Path(name)):
        again = _train_again(run, Run(Path(name)), options)
        parts = {part: _compared(run, again, part, cohort) for part in ("tune", "test") if _has(run, part)}
    largest = max(cast(float, entry["largest_difference"]) for entry in parts.values())
    facts: dict[str, Json] = {
        "equal": largest <= TOLERANCE, "largest_difference": largest, "parts": {**parts}, "changed": [*_changed(run)],
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    write_json(run.folder / REPRODUCTION, facts, sealed=True)
    return facts


def _has(run: Run, part: str) -> bool:
    return run.predictions(part).is_file()


def _train_again(run: Run, again: Run, options: RunOptions) -> Run:
    """Return a second run, trained on the plans of the first."""
    start_run(again.folder, force=options.force)
    copied = [*(name for name in PLANS if name != SHARED_STORE), "study.yaml", HASHES, "ladder.json"]
    rungs = [*run.folder.glob("rungs/*/recipe.yaml"), *run.folder.glob("folds/*/rungs/*/recipe.yaml")]
    ladders = [path for path in run.folder.glob("folds/*/ladder.json") if path.is_file()]
    hashes = [path.with_name(HASHES) for path in (*rungs, *ladders)]
    files = [path for name in copied if (path := run.folder / name).is_file()]
    for path in (*files, *rungs, *ladders, *(path for path in hashes if path.is_file())):
        place = again.folder / path.relative_to(run.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    cohort, recipe = load_cohort(again.folder), read_recipe(again.recipe)
    if run.ladder.is_file():
        # A clock that has run out begins no rung that was not reached; those that were have their recipes.
        minutes = float(text(read_json(run.ladder)["budget_minutes"]))
        options = replace(options, budget=minutes, begun=time.monotonic() - 60 * minutes)
    prepared = Prepared(cohort, read_split(again.split, cohort), store_for(cohort, recipe, again, options), recipe)

    def with_baseline(made: Run, is_new: bool) -> float:  # noqa: ARG001
        if any(run.folder.rglob("baseline/model")):
            train_baseline(made, options)
        return 0.0

    return train_all(again, prepared, options, {}, with_baseline)


def _compared(run: Run, again: Run, part: str, cohort: Cohort) -> dict[str, Json]:
    before, after = (read_predictions(each.predictions(part), cohort.task) for each in (run, again))
    return {"n": len(before), "largest_difference": _largest(before, after)}


def _largest(before: Predictions, after: Predictions) -> float:
    """Return the largest difference of a probability, or of a value as a share of its spread; 1 where rows differ."""
    if list(before.ids["image_id"]) != list(after.ids["image_id"]):
        return 1.0
    apart = np.abs(before.probabilities - after.probabilities)
    for target in before.task.targets:
        if target.is_number:
            columns = before.task.slice_of(target.name)
            apart[:, columns] /= max(1e-12, float(np.nanstd(before.probabilities[:, columns])))
    return float(np.nanmax(apart, initial=0.0))


def _changed(run: Run) -> list[dict[str, Json]]:
    """Return what a result may depend on and is not as it was when the run was trained."""
    manifest = read_json(run.manifest)
    versions = branch(manifest, "versions")
    labels = read_study(run.study).label_file
    then: Mapping[str, Json] = {**versions, "labels": branch(manifest, "hashes").get("labels")}
    now: Mapping[str, Json] = {
        **{name: library_versions().get(name) for name in versions},
        "labels": file_hash(labels) if labels.is_file() else "missing",
    }
    return [{"what": name, "then": then[name], "now": now[name]} for name in then if then[name] != now[name]]
