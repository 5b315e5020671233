"""Train: from a prepared cohort to a model folder with its predictions."""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd

from focusmap.errors import InputError
from focusmap.evaluation.predictions import joined, of_images, read_predictions, write_predictions
from focusmap.evaluation.simpler import baseline_run
from focusmap.files import read_table, write_table
from focusmap.models.any import (
    baseline_of,
    check_model,
    combine_models,
    is_case_model,
    load_model,
    save_model,
)
from focusmap.models.fit_cases import fit_case_model
from focusmap.models.fit_net import fit_net, fit_table_net
from focusmap.models.fit_rows import fit_estimators
from focusmap.models.manifest import write_manifest
from focusmap.models.names import ModelName, parse_model
from focusmap.models.ood_files import share_likeness, write_likeness
from focusmap.models.predict import predict
from focusmap.models.predictor import calibrated
from focusmap.models.rows import RowModel
from focusmap.study.cohort import Cohort, load_cohort, refuse_constant
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Recipe, read_recipe
from focusmap.study.run import Run, open_run, start_run, writing
from focusmap.study.samples import Samples
from focusmap.study.split import Split, fold_split, read_split
from focusmap.verbs.prepare import Prepared, prepare, store_for

if TYPE_CHECKING:
    from focusmap.images.store import Store
    from focusmap.models.any import AnyModel
    from focusmap.models.net import Model
    from focusmap.nets.views import View


@dataclass(frozen=True)
class Training:
    """One training to be done: a part of a run, and what it learns from.

    Parameters
    ----------
    run
        The run itself, or one of its folds.
    cohort, split, store, recipe
        As prepared; `split` is this training's own. A table model has no store.
    is_answering
        Whether the model will be asked about other pictures; a baseline is not.
    """

    run: Run
    cohort: Cohort
    split: Split
    store: "Store | None"
    recipe: Recipe
    is_answering: bool = True

    @property
    def model(self) -> ModelName:
        """What is trained."""
        return parse_model(self.recipe.model)

    def samples(self, part: str) -> Samples:
        """Return a part of the split, as a model is shown it."""
        rows = self.cohort.of(self.split.ids(part))
        return Samples.from_table(rows) if self.store is None else Samples.from_store(rows, self.store)


def train(cohort: Cohort, folder: Path, options: RunOptions = RunOptions()) -> Run:
    """Prepare a cohort and train on it; return the run that holds model and predictions.

    Raises
    ------
    InputError
        If the folder holds a run already, a part of the split is empty, or a picture cannot be read.
    RefusedError
        If a blocking audit finding stands.
    """
    if options.n_nodes > 1:
        raise InputError(
            f"several nodes train a run that is prepared: focusmap prepare LABELS.csv --out {folder} once, then on "
            f"each node: focusmap train --resume {folder} --nodes {options.n_nodes}"
        )
    refuse_constant(cohort)
    with writing(folder):
        run = start_run(folder, force=options.force)
        started = time.monotonic()
        prepared = prepare(cohort, run, options)
        return _train_all(run, prepared, options, {"prepare": time.monotonic() - started})


def resume(folder: Path, options: RunOptions) -> Run:
    """Go on with a training that was stopped, with its own study, split and recipe.

    Raises
    ------
    InputError
        If the folder was never prepared, a file of it was changed since, or another focusmap is writing it.
    """
    # Of several nodes each goes on with the same run.
    with writing(folder) if options.n_nodes == 1 else nullcontext():
        return _resume(open_run(folder), options)


def _resume(run: Run, options: RunOptions) -> Run:
    if not run.recipe.is_file() or not run.split.is_file():
        raise InputError(f"{run.folder}: was stopped before its training began. Start it again with --force.")
    cohort = load_cohort(run.folder)
    recipe = read_recipe(run.recipe)
    store = store_for(cohort, recipe, run, options)
    return _train_all(run, Prepared(cohort, read_split(run.split, cohort), store, recipe), options, {})


def _train_all(run: Run, prepared: Prepared, options: RunOptions, seconds: dict[str, float]) -> Run:
    started = time.monotonic()
    trainings = _trainings(run, prepared)
    left = [training for training in trainings if not training.run.predictions("tune").exists()]
    if not left and run.manifest.exists() and not run.is_stopped:
        return run
    for training in left:
        _train_one(training, options)
    if len(trainings) > 1:
        for part in ("tune", "test"):
            pool_predictions(run, prepared.cohort, part)
        _pool_attention(run)
        save_model_of_folds(run, prepared)
    seconds = {**seconds, "train": time.monotonic() - started}
    write_manifest(run, options, seconds)
    return run


def train_baseline(run: Run, options: RunOptions) -> None:
    """Train the simple model that the recipe sets beside a trained run, on the same split, unless it is that one."""
    cohort, recipe = load_cohort(run.folder), read_recipe(run.recipe)
    name = baseline_of(recipe)
    if name in ("none", recipe.model):
        return
    simple = replace(recipe, model=name, ensemble=1, tta=False, sampling="all", screen_negatives=0.0)
    check_model(cohort, simple)
    store = store_for(cohort, simple, run, options)
    for training in _trainings(run, Prepared(cohort, read_split(run.split, cohort), store, simple)):
        beside = baseline_run(training.run)
        if not beside.predictions("tune").exists():
            _train_one(replace(training, run=beside, is_answering=False), options)


def _trainings(run: Run, prepared: Prepared) -> list[Training]:
    splits = {run: prepared.split}
    if prepared.split.n_folds:
        folds = range(prepared.split.n_folds)
        splits = {Run(run.folder / "folds" / str(k)): fold_split(prepared.split, k) for k in folds}
    cohort, store, recipe = prepared.cohort, prepared.store, prepared.recipe
    return [Training(part, cohort, split, store, recipe) for part, split in splits.items()]


def _train_one(training: Training, options: RunOptions) -> None:
    """Train, calibrate on tune, and write model, history and predictions; the test part is only predicted."""
    split, run = training.split, training.run
    model = _calibrated_on_tune(_train_nets(training, options), training)
    save_model(model, run.model)
    if training.is_answering:
        write_likeness(training)
    # Tune comes last: its file says that this training is done.
    for part in ("test", "tune"):
        if split.ids(part):
            found = predict(model, training.samples(part))
            write_predictions(found.predictions, run.predictions(part))
            if part == "test" and found.attention is not None:
                write_table(run.attention, found.attention)


def _train_nets(training: Training, options: RunOptions) -> "AnyModel":
    """Return the model, or the ensemble over the recipe's seeds and views; not calibrated yet."""
    from focusmap.models.ensemble import with_views
    from focusmap.nets.views import AS_IT_IS, views_within

    recipe = training.recipe
    views = views_within(recipe.augmentation) if recipe.tta else (AS_IT_IS,)
    if recipe.ensemble == 1:
        model = _fit(training, options)
        return with_views(cast("Model", model), views) if recipe.tta else model
    members = [
        replace(training, run=training.run.member(k), recipe=replace(recipe, seed=recipe.seed + k))
        for k in range(recipe.ensemble)
    ]
    return combine_models([_calibrated_on_tune(_fit(member, options), member) for member in members], views, "seeds")


def _calibrated_on_tune(model: "AnyModel", training: Training) -> "AnyModel":
    """Return the model with temperatures, thresholds and cuts fitted on tune, and on nothing else."""
    tune = training.cohort.of(training.split.ids("tune"))
    model = calibrated(model, predict(model, training.samples("tune")).predictions.logits, tune.truth)
    if isinstance(model, RowModel) or is_case_model(model) or not model.net.has_focus:
        return model
    from focusmap.evaluation.localisation import reference_of
    from focusmap.models.focus_tuning import tuned

    return tuned(model, reference_of(tune))


def save_model_of_folds(run: Run, prepared: Prepared) -> None:
    """Write the ensemble of all folds' models as the run's model.

    Every picture was learnt by some member, so nothing here can test it; metrics and maps of the run are those of the
    folds. It is calibrated on the pooled tune parts: each picture as the one fold's model that was tuned on it saw it.
    """
    cohort, parts = prepared.cohort, run.parts()
    models = [load_model(part.model) for part in parts]
    found = read_predictions(run.predictions("tune"), cohort.task)
    truth = cohort.of(list(found.ids["image_id"])).truth
    model = calibrated(combine_models(models, _views_of(models[0]), "folds"), found.logits, truth)
    if not isinstance(model, RowModel) and not is_case_model(model) and model.net.has_focus:
        from focusmap.evaluation.localisation import reference_of
        from focusmap.models.focus_tuning import with_cuts

        nets = [own for own in models if not isinstance(own, RowModel) and not is_case_model(own)]
        tunes = [cohort.of(fold_split(prepared.split, k).ids("tune")) for k in range(len(parts))]
        model = with_cuts(model, [(own, reference_of(tune)) for own, tune in zip(nets, tunes, strict=True)])
    save_model(model, run.model)
    share_likeness(run)


def _views_of(model: "AnyModel") -> "tuple[View, ...]":
    from focusmap.models.net import views_of

    return views_of(model.card)


def _fit(training: Training, options: RunOptions) -> "AnyModel":
    """Return the trained model; thresholds and temperatures are still to be fitted."""
    name = training.model
    if name.engine == "estimator":
        return fit_estimators(training, options)
    if name.shown == "table":
        return fit_table_net(training, options)
    if training.cohort.pictures is not None:
        return fit_case_model(training, options)
    return fit_net(training, options)


def pool_predictions(run: Run, cohort: Cohort, part: str) -> None:
    """Write the predictions of all folds as one table, in the order of the cohort."""
    pooled = joined([read_predictions(fold.predictions(part), cohort.task) for fold in run.parts()])
    order = sorted(pooled.ids["image_id"], key=cohort.positions.__getitem__)
    write_predictions(of_images(pooled, order), run.predictions(part))


def _pool_attention(run: Run) -> None:
    """Write what the pictures of all folds' test cases weigh as one table, where they are cases."""
    tables = [read_table(fold.attention) for fold in run.parts() if fold.attention.is_file()]
    if tables:
        write_table(run.attention, pd.concat(tables, ignore_index=True))
