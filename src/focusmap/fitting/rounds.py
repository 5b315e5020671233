"""The trainings of a run: one, or one per fold, here or on a cluster; and what folds say and are, taken together."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import TypeAlias, TypeVar

import pandas as pd

from focusmap.basics import read_json, read_table, silent, write_table
from focusmap.evaluation import baseline_run, joined, of_images, read_predictions, reference_of, write_predictions
from focusmap.fitting import ladder, preparing, rungs, suitability
from focusmap.fitting.manifest import write_manifest
from focusmap.fitting.train import fit, seed_trainings, train_one, with_focus, write_trained
from focusmap.fitting.training import Training
from focusmap.models import ensemble, folder, neighbours, ood, predictor
from focusmap.scale import answers_in_order, connected
from focusmap.study import LADDER, Cohort, Run, RunOptions, fold_split, load_cohort, read_recipe, read_split, store_for

Item = TypeVar("Item")
Result: TypeAlias = tuple[bool | None, list[str]]
"""Whether a worker found a new model, None where its training has ended, and the lines that are to be printed."""
OnModel = Callable[[Run, bool], float]
"""Called with a run that has a model and predictions, and whether they are new; returns how many seconds the same will
take after the next model."""


def ignore_model(run: Run, is_new: bool) -> float:  # noqa: ARG001
    """Do nothing with a run."""
    return 0.0


def train_all(
    run: Run,
    prepared: preparing.Prepared,
    options: RunOptions,
    seconds: dict[str, float],
    on_model: OnModel = ignore_model,
) -> Run:
    """Return the run with the model and the predictions of each fold, and of all; what is there already stays.

    Parameters
    ----------
    seconds
        What came before has taken, for the manifest.
    on_model
        Called when the run is whole for the first time, and whenever a better model has taken its place.
    """
    started = time.monotonic()
    trainings = trainings_of(run, prepared)
    unfinished = [training for training in trainings if not _is_done(training, options)]
    if not unfinished and run.manifest.exists() and not run.is_stopped:
        on_model(run, True)
        return run
    if prepared.recipe.model == LADDER:
        options.say(f"a ladder of models within {options.minutes:g} minutes (--budget), maps and report included")
    clock = rungs.Clock((options.begun or started) + 60 * options.minutes)
    rounds = _rounds if options.cluster is None else _rounds_on_cluster
    for is_new in rounds(unfinished, options, clock) if unfinished else [True]:
        if options.follows:
            continue
        if len(trainings) > 1:
            _pool_folds(run, prepared)
        write_manifest(run, options, {**seconds, "train": time.monotonic() - started})
        clock.rest = on_model(run, is_new)
    if len(trainings) > 1 and trainings[0].recipe.model == LADDER:
        ladder.write_ladder_of_folds(run)
    return run


def _is_done(training: Training, options: RunOptions) -> bool:
    if training.recipe.model == LADDER:
        return ladder.is_finished(training.run, options)
    return training.run.predictions("tune").exists()


def _rounds(trainings: Sequence[Training], options: RunOptions, clock: rungs.Clock) -> Iterator[bool]:
    """Train; yield whether something is new whenever all trainings are one rung further, or have only one.

    So all folds have their first answer before the first of them is given a second.
    """
    climbs = [_train_in_steps(training, options, clock) for training in trainings]
    while climbs:
        news: list[bool] = []
        for steps in tuple(climbs):
            clock.n_left = len(climbs) - len(news)
            if (is_new := next(steps, None)) is None:
                climbs.remove(steps)
            else:
                news.append(is_new)
        if news:
            yield any(news)


def _train_in_steps(training: Training, options: RunOptions, clock: rungs.Clock) -> Iterator[bool]:
    """Train; whenever a model is done, yield whether the best one so far is another than before."""
    if training.recipe.model != LADDER:
        train_one(training, options)
        yield True
        return
    before: predictor.Predictor | None = None
    for rung in ladder.climb(training, options, clock):
        if rung.model is not before:
            write_trained(training, rung.model, rung.predictions, rung.attention)
        yield rung.model is not before
        before = rung.model


@dataclass(frozen=True)
class _Turn:
    """A training that a worker goes on with; `ends` by ``time.time()``, the clock that machines share."""

    training: Training
    n_answers: int
    ends: float
    rest: float
    n_left: int


def _rounds_on_cluster(trainings: Sequence[Training], options: RunOptions, clock: rungs.Clock) -> Iterator[bool]:
    """As `_rounds`, but each training's next answer is found by a worker; nets of an ensemble are trained before.

    All that a worker has done lies in the run's folders, so that any other goes on from there.
    """
    assert options.cluster is not None
    alone = replace(options.alone, workers=1, progress=silent)
    with connected(options.cluster) as n_workers:
        left = [replace(training, run=Run(training.run.folder.absolute())) for training in trainings]
        members = [one for training in left if training.recipe.model != LADDER for one in seed_trainings(training)]
        list(_on_workers(members, partial(_train_member, options=alone), options))
        n_answers = 0
        while left:
            ends, n = time.time() + clock.ends - time.monotonic(), min(n_workers, len(left))
            n_waves = [ceil(len(left) / n) - k // n for k in range(len(left))]
            turns = [_Turn(one, n_answers, ends, clock.rest, waves) for one, waves in zip(left, n_waves, strict=True)]
            found = list(_on_workers(turns, partial(_advance, options=alone), options))
            again = [is_new is not None for is_new in found]
            if any(again):
                yield any(found)
            left = [one for one, goes_on in zip(left, again, strict=True) if goes_on and one.recipe.model == LADDER]
            n_answers += 1


def _on_workers(items: Sequence[Item], work: Callable[[Item], Result], options: RunOptions) -> Iterator[bool | None]:
    """Yield in order what workers found, and print the lines of each before."""
    assert options.cluster is not None
    results = answers_in_order(items, lambda: work, options.cluster, len(items)) if items else ()
    for done, (found, lines) in enumerate(results, start=1):
        for line in lines:
            options.say(line)
        options.progress("training side by side", done, len(items))
        yield found


def _train_member(member: Training, options: RunOptions) -> Result:
    """Train a net up to its last checkpoint."""
    lines: list[str] = []
    fit(member, replace(options, say=lines.append))
    return True, lines


def _advance(turn: _Turn, options: RunOptions) -> Result:
    """Train up to the next model of a ladder; None where there is no further one."""
    lines, run = list[str](), turn.training.run
    clock = rungs.Clock(time.monotonic() + turn.ends - time.time(), turn.rest, turn.n_left)
    steps = _train_in_steps(turn.training, replace(options, say=lines.append), clock)
    before = read_json(run.ladder).get("chosen") if turn.n_answers else None
    if turn.n_answers:
        next(steps)
    if next(steps, None) is None:
        return None, lines
    return before is None or read_json(run.ladder).get("chosen") != before, lines


def train_baseline(run: Run, options: RunOptions) -> None:
    """Train the simple model that the recipe sets beside a trained run, on the same split, unless it is that one."""
    cohort, recipe = load_cohort(run.folder), read_recipe(run.recipe)
    name = suitability.baseline_of(recipe)
    if name in ("none", recipe.model):
        return
    simple = replace(recipe, model=name, ensemble=1, tta=False, sampling="all", screen_negatives=0.0)
    suitability.check_model(cohort, simple)
    store = store_for(cohort, simple, run, options)
    for training in trainings_of(run, preparing.Prepared(cohort, read_split(run.split, cohort), store, simple)):
        baseline = baseline_run(training.run)
        if not baseline.predictions("tune").exists():
            train_one(replace(training, run=baseline, is_answering=False), options)


def trainings_of(run: Run, prepared: preparing.Prepared) -> list[Training]:
    """Return what is to be trained: of a run with folds, each of them."""
    splits = {run: prepared.split}
    if prepared.split.n_folds:
        folds = range(prepared.split.n_folds)
        splits = {Run(run.folder / "folds" / str(k)): fold_split(prepared.split, k) for k in folds}
    return [Training(part, prepared.cohort, split, prepared.store, prepared.recipe) for part, split in splits.items()]


def _pool_folds(run: Run, prepared: preparing.Prepared) -> None:
    """Write predictions, attention and model of a run as those of its folds together."""
    for part in ("tune", "test"):
        _pool_predictions(run, prepared.cohort, part)
    _pool_attention(run)
    _save_model_of_folds(run, prepared)
    if prepared.recipe.model == LADDER:
        ladder.write_ladder_of_folds(run)


def _save_model_of_folds(run: Run, prepared: preparing.Prepared) -> None:
    """Write the ensemble of all folds' models as the run's model.

    Every image was learnt by some member, so nothing here can test it; metrics and maps of the run are those of the
    folds. It is calibrated on the pooled tune parts: each image as the one fold's model that was tuned on it saw it.
    """
    from focusmap.fitting.map_thresholds import with_map_thresholds
    from focusmap.models.net import views_of

    cohort, models = prepared.cohort, [folder.load_model(part.model) for part in run.parts()]
    pooled = read_predictions(run.predictions("tune"), cohort.task)
    truth = cohort.of(list(pooled.ids["image_id"])).truth
    mean = ensemble.combine(models, views_of(models[0].card), "folds")
    model = predictor.calibrated(mean, pooled.logits, truth)
    if net := with_focus(model):
        tunes = [cohort.of(fold_split(prepared.split, k).ids("tune")) for k in range(len(models))]
        pairs = zip(map(with_focus, models), tunes, strict=True)
        model = with_map_thresholds(net, [(of_fold, reference_of(tune)) for of_fold, tune in pairs if of_fold])
    folder.save_model(model, run.model)
    ood.share_ood(run)
    neighbours.share_alike(run)


def _pool_predictions(run: Run, cohort: Cohort, part: str) -> None:
    """Write the predictions of all folds as one table, in the order of the cohort."""
    pooled = joined([read_predictions(fold.predictions(part), cohort.task) for fold in run.parts()])
    order = sorted(pooled.ids["image_id"], key=cohort.positions.__getitem__)
    write_predictions(of_images(pooled, order), run.predictions(part))


def _pool_attention(run: Run) -> None:
    """Write what the images of all folds' test cases weigh as one table, where they are cases."""
    tables = [read_table(fold.attention) for fold in run.parts() if fold.attention.is_file()]
    if tables:
        write_table(run.attention, pd.concat(tables, ignore_index=True))
