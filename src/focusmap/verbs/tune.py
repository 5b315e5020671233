"""Tune: recipes tried among the patients that may be learnt from; the best is written for ``run --recipe``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.basics import InputError, require, write_json, write_table
from focusmap.fitting import groups_of_rows, rows_for, split, split_of_images, tuning
from focusmap.report import TrainingAudit
from focusmap.scale import on_cluster
from focusmap.study import Cohort, Recipe, RunOptions, read_recipe, refuse_constant, write_split, writing

if TYPE_CHECKING:
    from optuna import Study as Search
    from optuna.trial import FrozenTrial, Trial

RECIPE, TRIALS, DATABASE, SUMMARY = "recipe.yaml", "trials.csv", "trials.db", "tuning.json"
TRIED = "recipes"
AS_IT_IS = 4
"""So many trials are judged by nothing but themselves, before one may be stopped below their median."""


@dataclass(frozen=True)
class Tuned:
    """The best recipe and its file, its inner score, and how many trials were whole and how many were stopped early."""

    recipe: Recipe
    file: Path
    score: float
    n_whole: int
    n_pruned: int


def tune(cohort: Cohort, folder: Path, n_trials: int = 20, options: RunOptions = RunOptions()) -> Tuned:
    """Try recipes until there are `n_trials`, those of an earlier call too, and write the best as ``recipe.yaml``.

    A recipe is worth its mean score on three inner folds by patient, of what `focusmap.run` would train and tune on;
    one that falls below the median is given up after a fold. Of the test part no label is looked at.

    Parameters
    ----------
    folder
        Gets ``recipe.yaml``, ``trials.csv``, ``recipes/``, ``tuning.json``, ``split.csv``, the audit, and Optuna's
        ``trials.db``, by which a search that was stopped goes on.
    options
        Its recipe is the first that is tried; a model that it names is not changed.

    Raises
    ------
    InputError
        If `folder` holds trials of other rows or another recipe, or no score is defined.
    RefusedError
        If a blocking audit finding stands.
    MissingPartError
        If Optuna is not installed.
    """
    require("tune")
    if n_trials < 1:
        raise InputError(f"--trials is {n_trials}; at least 1 was expected.")
    refuse_constant(cohort)
    with writing(folder), on_cluster(options.cluster):
        inner = _inner(cohort, folder, options)
        models = tuning.models_to_try(inner.rows, options.recipe, options)
        search = _search(inner, models, options)
        for _ in range(n_trials - len(_done(search))):
            with _asked(search) as trial:
                _try(trial, inner, models, options)
            _write_trials(search, folder)
            best = search.best_trial
            options.say(f"trial {len(_done(search))} of {n_trials}; best {best.value:.3f}, trial {best.number}")
        return _written(search, inner, n_trials)


def _inner(cohort: Cohort, folder: Path, options: RunOptions) -> tuning.InnerFolds:
    """Return what may be learnt from; the split is that of a run with the same seed."""
    rows = rows_for(cohort, options.recipe)
    auditing = TrainingAudit(cohort, folder, options)
    groups = groups_of_rows(auditing.near_groups(), rows)
    divided = split(rows, replace(options, folds=None), groups)
    auditing.judged(split_of_images(divided, rows))
    write_split(divided, folder / "split.csv")
    return tuning.make_inner_folds(rows, divided, groups, folder, options.recipe.seed)


def _search(inner: tuning.InnerFolds, models: tuple[str, ...], options: RunOptions) -> "Search":
    """Return the search as it is so far; what a killed program was at counts as failed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = inner.folder / DATABASE
    if options.force:
        file.unlink(missing_ok=True)
    search = optuna.create_study(
        storage=f"sqlite:///{file.absolute()}", study_name="focusmap", direction="maximize", load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=AS_IT_IS),
    )  # fmt: skip
    search.sampler = optuna.samplers.TPESampler(seed=options.recipe.seed + len(search.trials))
    facts = f"{inner.rows.image_ids} {inner.fold.tolist()} {inner.rows.truth.tolist()} {options.recipe} {models}"
    question = sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()
    if search.user_attrs.setdefault("question", question) != question:
        raise InputError(f"{file}: holds trials of other rows or another recipe. Choose another --out, or add --force.")
    search.set_user_attr("question", question)
    if not search.trials:
        search.enqueue_trial(dict(tuning.first_trial(options.recipe, models)))
    for trial in search.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        search.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return search


def _done(search: "Search") -> "list[FrozenTrial]":
    from optuna.trial import TrialState

    return list(search.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


@contextmanager
def _asked(search: "Search") -> "Iterator[Trial]":
    """Yield a trial, and tell the search what became of it."""
    import optuna

    trial, state = search.ask(), optuna.trial.TrialState
    try:
        yield trial
    except optuna.TrialPruned:
        search.tell(trial, state=state.PRUNED)
    except BaseException:
        search.tell(trial, state=state.FAIL)
        raise
    else:
        search.tell(trial, float(np.nanmean(trial.user_attrs["folds"])))


def _try(trial: "Trial", inner: tuning.InnerFolds, models: tuple[str, ...], options: RunOptions) -> None:
    """Note what a recipe is worth in each fold; `TrialPruned` if it falls behind."""
    import optuna

    started = time.monotonic()
    recipe = tuning.resolve_for_trial(inner, tuning.draw_recipe(trial, options.recipe, models), options)
    recipe.to_yaml(inner.folder / TRIED / f"{trial.number}.yaml")
    scores: list[float] = []
    for score in tuning.inner_scores(inner, recipe, options):
        scores.append(score)
        trial.set_user_attr("folds", scores)
        trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
        if not np.isnan(scores).all():
            trial.report(float(np.nanmean(scores)), len(scores))
        if trial.should_prune():
            raise optuna.TrialPruned
    if np.isnan(scores).all():
        raise InputError("no score is defined: in each inner fold one class alone is known.")


def _write_trials(search: "Search", folder: Path) -> None:
    rows = [
        {
            "trial": trial.number,
            "state": "whole" if trial.state.name == "COMPLETE" else "given up",
            "score": float(np.nanmean(folds := trial.user_attrs["folds"])),
            "folds": "|".join(f"{score:.4f}" for score in folds),
            "seconds": trial.user_attrs["seconds"],
            **trial.params,
        }
        for trial in _done(search)
    ]
    write_table(folder / TRIALS, pd.DataFrame(rows))


def _written(search: "Search", inner: tuning.InnerFolds, n_trials: int) -> Tuned:
    """Write the best recipe and what it was chosen by."""
    _write_trials(search, inner.folder)
    best, n_whole = search.best_trial, sum(trial.state.name == "COMPLETE" for trial in _done(search))
    recipe, file = read_recipe(inner.folder / TRIED / f"{best.number}.yaml"), inner.folder / RECIPE
    recipe.to_yaml(file)
    tuned = Tuned(recipe, file, float(best.value or 0.0), n_whole, len(_done(search)) - n_whole)
    write_json(inner.folder / SUMMARY, {
        "trials": n_trials, "whole": tuned.n_whole, "given_up": tuned.n_pruned, "best": best.number,
        "inner_score": tuned.score, "n_rows": len(inner.rows), "n_folds": int(inner.fold.max()) + 1,
    })  # fmt: skip
    return tuned
