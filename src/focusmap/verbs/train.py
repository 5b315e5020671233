"""Train: from a prepared cohort to a model folder with its predictions."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from focusmap.basics import InputError, command_line, read_json
from focusmap.fitting import OnModel, Prepared, ignore_model, prepare, train_all
from focusmap.report import TrainingAudit
from focusmap.scale import on_cluster
from focusmap.study import Cohort, RunOptions, load_cohort, read_recipe, read_split, refuse_constant, store_for
from focusmap.study.run import Run, open_run, start_run, writing


def train(cohort: Cohort, folder: Path, options: RunOptions = RunOptions(), on_model: OnModel = ignore_model) -> Run:
    """Prepare a cohort and train on it; return the run that holds model and predictions.

    `on_model` is called when there are both for the first time, and whenever a better model has taken their place.

    Raises
    ------
    InputError
        If the folder holds a run already, a part of the split is empty, or an image cannot be read.
    RefusedError
        If a blocking audit finding stands.
    """
    if options.n_nodes > 1:
        once = command_line("prepare", "LABELS.csv", "--out", folder)
        on_each = command_line("train", "--resume", folder, "--nodes", options.n_nodes)
        raise InputError(f"several nodes train a run that is prepared: {once} once, then on each node: {on_each}")
    refuse_constant(cohort)
    with writing(folder), on_cluster(options.cluster):
        run = start_run(folder, force=options.force)
        started = time.monotonic()
        options = replace(options, begun=options.begun or started)
        prepared = prepare(cohort, run, options, TrainingAudit(cohort, run.folder, options))
        return train_all(run, prepared, options, {"prepare": time.monotonic() - started}, on_model)


def resume(folder: Path, options: RunOptions, on_model: OnModel = ignore_model) -> Run:
    """Go on with a training that was stopped, with its own study, split and recipe; `on_model` as for `train`.

    A ladder goes on within another budget where one is given.

    Raises
    ------
    InputError
        If the folder was never prepared, a file of it was changed since, or another focusmap is writing it.
    """
    # Of several nodes each goes on with the same run.
    with writing(folder) if options.n_nodes == 1 else nullcontext(), on_cluster(options.cluster):
        return _resume(open_run(folder), options, on_model)


def _resume(run: Run, options: RunOptions, on_model: OnModel) -> Run:
    if not run.recipe.is_file() or not run.split.is_file():
        raise InputError(
            f"{run.folder}: was stopped before its training began. Repeat the command that began it, with --force."
        )
    cohort = load_cohort(run.folder)
    recipe = read_recipe(run.recipe)
    store = store_for(cohort, recipe, run, options)
    if options.budget is None and run.ladder.is_file():
        options = replace(options, budget=float(str(read_json(run.ladder)["budget_minutes"])))
    prepared = Prepared(cohort, read_split(run.split, cohort), store, recipe)
    return train_all(run, prepared, options, {}, on_model)
