"""Train: from a prepared cohort to a model folder with its predictions."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.classical.model import RowModel
from focusmap.classical.names import ModelName, parse_model
from focusmap.cohort.cohort import Cohort, load_cohort
from focusmap.cohort.split import Split, fold_split, read_split
from focusmap.errors import InputError
from focusmap.pipeline.baselines import baseline_run
from focusmap.pipeline.manifest import library_versions, write_manifest
from focusmap.pipeline.models import (
    answers_for,
    baseline_of,
    calibrated,
    check_model,
    combine_models,
    load_model,
    save_model,
)
from focusmap.pipeline.options import RunOptions
from focusmap.pipeline.predicting import ids_of
from focusmap.pipeline.preparing import Prepared, prepare, store_for
from focusmap.pipeline.row_models import fit_estimators, row_model
from focusmap.pipeline.runs import Run, open_run, start_run
from focusmap.values.files import Json, write_table
from focusmap.values.model_card import ModelCard
from focusmap.values.predictions import Predictions, of_images, read_predictions, write_predictions
from focusmap.values.recipe import Recipe, read_recipe
from focusmap.values.task import UNLABELLED

if TYPE_CHECKING:
    from focusmap.imaging.store import Store
    from focusmap.inference.model import Model
    from focusmap.nets.build import FocusNet
    from focusmap.nets.views import View
    from focusmap.pipeline.models import AnyModel
    from focusmap.training.batches import Inputs, Labelled


@dataclass(frozen=True)
class Training:
    """One training to be done: a part of a run, and what it learns from.

    Parameters
    ----------
    run
        The run itself, or one of its folds.
    cohort, split, store, recipe
        As prepared; `split` is this training's own. A table model has no store.
    """

    run: Run
    cohort: Cohort
    split: Split
    store: "Store | None"
    recipe: Recipe

    @property
    def model(self) -> ModelName:
        """What is trained."""
        return parse_model(self.recipe.model)


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
    run = start_run(folder, force=options.force)
    started = time.monotonic()
    prepared = prepare(cohort, run, options)
    return _train_all(run, prepared, options, {"prepare": time.monotonic() - started})


def resume(folder: Path, options: RunOptions) -> Run:
    """Go on with a training that was stopped, with its own study, split and recipe.

    Raises
    ------
    InputError
        If the folder was never prepared, or a file of it was changed since.
    """
    run = open_run(folder)
    if not run.recipe.is_file() or not run.split.is_file():
        raise InputError(f"{folder}: was stopped before its training began. Start it again with --force.")
    cohort = load_cohort(run.folder)
    recipe = read_recipe(run.recipe)
    store = store_for(cohort, recipe, run, options)
    return _train_all(run, Prepared(cohort, read_split(run.split, cohort), store, recipe), options, {})


def _train_all(run: Run, prepared: Prepared, options: RunOptions, seconds: dict[str, float]) -> Run:
    started = time.monotonic()
    trainings = _trainings(run, prepared)
    for training in trainings:
        if not training.run.predictions("tune").exists():
            _train_one(training, options)
    if len(trainings) > 1:
        for part in ("tune", "test"):
            pool_predictions(run, prepared.cohort, part)
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
        _train_one(replace(training, run=baseline_run(training.run)), options)


def _trainings(run: Run, prepared: Prepared) -> list[Training]:
    splits = {run: prepared.split}
    if prepared.split.n_folds:
        folds = range(prepared.split.n_folds)
        splits = {Run(run.folder / "folds" / str(k)): fold_split(prepared.split, k) for k in folds}
    cohort, store, recipe = prepared.cohort, prepared.store, prepared.recipe
    return [Training(part, cohort, split, store, recipe) for part, split in splits.items()]


def _train_one(training: Training, options: RunOptions) -> None:
    """Train, calibrate on tune, and write model, history and predictions; the test part is only predicted."""
    cohort, split, run = training.cohort, training.split, training.run
    model = _calibrated_on_tune(_train_nets(training, options), training)
    save_model(model, run.model)
    # Tune comes last: its file says that this training is done.
    for part in ("test", "tune"):
        ids = split.ids(part)
        if ids:
            write_predictions(predict_cohort(model, training.store, cohort.of(ids)), run.predictions(part))


def _train_nets(training: Training, options: RunOptions) -> "AnyModel":
    """Return the model, or the ensemble over the recipe's seeds and views; not calibrated yet."""
    from focusmap.inference.ensemble import with_views
    from focusmap.nets.views import AS_IT_IS, views_within

    recipe = training.recipe
    views = views_within(recipe.augmentation) if recipe.tta else (AS_IT_IS,)
    if recipe.ensemble == 1:
        model = _fit(training, options)
        return model if isinstance(model, RowModel) or not recipe.tta else with_views(model, views)
    members = [
        replace(training, run=training.run.member(k), recipe=replace(recipe, seed=recipe.seed + k))
        for k in range(recipe.ensemble)
    ]
    return combine_models([_calibrated_on_tune(_fit(member, options), member) for member in members], views, "seeds")


def _calibrated_on_tune(model: "AnyModel", training: Training) -> "AnyModel":
    """Return the model with temperatures, thresholds and cuts fitted on tune, and on nothing else."""
    tune = training.cohort.of(training.split.ids("tune"))
    model = calibrated(model, answers_for(model, training.store, tune)[0], tune.truth)
    if isinstance(model, RowModel) or not model.net.has_focus:
        return model
    from focusmap.inference.focus_tuning import tuned
    from focusmap.localisation import reference_of

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
    if not isinstance(model, RowModel) and model.net.has_focus:
        from focusmap.inference.focus_tuning import with_cuts
        from focusmap.localisation import reference_of

        nets = [own for own in models if not isinstance(own, RowModel)]
        tunes = [cohort.of(fold_split(prepared.split, k).ids("tune")) for k in range(len(parts))]
        model = with_cuts(model, [(own, reference_of(tune)) for own, tune in zip(nets, tunes, strict=True)])
    save_model(model, run.model)


def _views_of(model: "AnyModel") -> "tuple[View, ...]":
    from focusmap.inference.model import views_of

    return views_of(model.card)


def _fit(training: Training, options: RunOptions) -> "AnyModel":
    """Return the trained model; thresholds and temperatures are still to be fitted."""
    name = training.model
    if name.engine == "estimator":
        return fit_estimators(training, options)
    if name.shown == "table":
        return _fit_table_net(training, options)
    from focusmap.nets.build import architecture_of, build_net

    assert training.store is not None
    recipe = training.recipe
    net = build_net(architecture_of(recipe, training.cohort.task), recipe.weights, recipe.seed)
    _train_net(net, training.store, training, options)
    return _model(net, training)


def _fit_table_net(training: Training, options: RunOptions) -> RowModel:
    from focusmap.cohort.covariates import fit_covariates
    from focusmap.nets.heads import continuous_scales
    from focusmap.nets.table_net import NetAnswer, build_table_net

    task = training.cohort.task
    covariates = fit_covariates(training.cohort, training.split.ids("train"))
    net = build_table_net(len(covariates.names), task.n_logits, training.recipe.seed)
    _train_net(net, covariates.encode(training.cohort), training, options)
    answer = NetAnswer(net, task, continuous_scales(task, _labelled(training, "train").truth))
    return row_model(answer, training, covariates=covariates, n_inputs=len(covariates.names))


def _train_net(net: "FocusNet", inputs: "Inputs", training: Training, options: RunOptions) -> None:
    """Train a net in place; after each epoch a row of the history is on disk, and the state beside it."""
    from focusmap.nets.heads import undo_class_weights, undo_sampling
    from focusmap.training.batches import TrainingData
    from focusmap.training.loop import FitOptions, fit
    from focusmap.training.sampling import expected_draws, rarity_of

    recipe, run, task = training.recipe, training.run, training.cohort.task
    data = TrainingData(inputs, task, _labelled(training, "train"), _labelled(training, "tune"))
    checkpoint = run.checkpoint / "last.safetensors"
    records = []
    settings = FitOptions(checkpoint, checkpoint.exists(), options.devices, options.n_nodes)
    for record in fit(net, data, recipe, settings):
        records.append(asdict(record))
        write_table(run.history, pd.DataFrame(records))
        options.progress(
            f"training {recipe.model} ({run.folder.name}, seed {recipe.seed})", len(records), recipe.epochs
        )
    if recipe.sampling != "all":
        draws = expected_draws(rarity_of(task, data.train.truth), recipe.sampling)
        undo_sampling(net.head, task, data.train.truth, draws)
    elif recipe.class_weights:
        undo_class_weights(net.head, task, data.train.truth)


def _model(net: "FocusNet", training: Training) -> "Model":
    """Return the net with its card; thresholds and temperatures are still to be fitted."""
    from focusmap.inference.model import Model
    from focusmap.nets.build import architecture_of
    from focusmap.nets.heads import continuous_scales

    assert training.store is not None
    recipe, task = training.recipe, training.cohort.task
    facts: dict[str, Json] = {
        "n_parameters": sum(weights.numel() for weights in net.parameters()),
        "n_train": len(training.split.ids("train")),
        "seed": recipe.seed,
        "start": net.start.source,
        "start_reason": net.start.reason,
    }
    card = ModelCard(
        task=task,
        architecture=architecture_of(recipe, task).to_dict(),
        preparation=training.store.preparation.to_dict(),
        thresholds={},
        threshold_for=recipe.threshold_for,
        temperatures={},
        scales=continuous_scales(task, _labelled(training, "train").truth),
        probe={},
        versions=library_versions(),
        training=facts,
    )
    return Model(net, card)


def _labelled(training: Training, part: str) -> "Labelled":
    from focusmap.training.batches import Labelled

    members = training.cohort.of(training.split.ids(part))
    # Without labels every picture passes for usual: what is learnt is to bring its anomaly score to 0.
    truth = np.zeros_like(members.truth) if members.task == UNLABELLED else members.learnt
    return Labelled(tuple(members.image_ids), truth)


def predict_cohort(model: "AnyModel", store: "Store | None", cohort: Cohort) -> Predictions:
    """Return the model's predictions for a cohort, whose pictures are in the store where it is shown pictures."""
    from focusmap.evaluation.calibration import apply

    logits, flags = answers_for(model, store, cohort)
    ids = ids_of(cohort) if flags is None else ids_of(cohort).assign(flags=flags)
    return Predictions(cohort.task, ids, logits, apply(cohort.task, logits, model.card.temperatures))


def pool_predictions(run: Run, cohort: Cohort, part: str) -> None:
    """Write the predictions of all folds as one table, in the order of the cohort."""
    tables = [read_predictions(fold.predictions(part), cohort.task) for fold in run.parts()]
    ids = pd.concat([table.ids for table in tables], ignore_index=True)
    logits = np.concatenate([table.logits for table in tables])
    probabilities = np.concatenate([table.probabilities for table in tables])
    pooled = Predictions(cohort.task, ids, logits, probabilities)
    order = sorted(ids["image_id"], key=cohort.positions.__getitem__)
    write_predictions(of_images(pooled, order), run.predictions(part))
