"""What is done with one training: its model is fitted, calibrated on tune, then applied to test, and all is written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from focusmap.basics import atomic_folder, write_table
from focusmap.evaluation import Predictions, reference_of, write_predictions
from focusmap.fitting import fit_nets, fit_rows, probe
from focusmap.fitting.training import Training
from focusmap.models import ensemble, folder, neighbours, ood
from focusmap.models.predict import Predicted, predict
from focusmap.models.predictor import Predictor, calibrated
from focusmap.study import RunOptions, Samples

if TYPE_CHECKING:
    from focusmap.models.net import Model

# Test is only predicted. Tune comes last: its file says that a training is done.
PREDICTED = ("test", "tune")
# Of each part of the split, so many images say what it looks like.
MOST_DESCRIBED = 1000


def train_one(training: Training, options: RunOptions) -> None:
    """Train, calibrate on tune, and write model, history and predictions; the test part is only predicted."""
    trained = _train_members(training, options)
    if options.follows:
        return
    model = calibrated_on_tune(trained, training)
    write_trained(training, model, *predict_parts(model, training))


def train_calibrated(training: Training, options: RunOptions) -> Predictor:
    """Return the trained model, calibrated on tune; test is not looked at."""
    return calibrated_on_tune(_train_members(training, options), training)


def _train_members(training: Training, options: RunOptions) -> Predictor:
    """Return the model, or the ensemble over the recipe's seeds and views; not calibrated yet."""
    from focusmap.models.net import over_views
    from focusmap.nets import AS_IT_IS, views_within

    recipe = training.recipe
    views = views_within(recipe.augmentation) if recipe.tta else (AS_IT_IS,)
    if recipe.ensemble == 1:
        model = fit(training, options)
        return over_views(cast("Model", model), views) if recipe.tta else model
    members = [calibrated_on_tune(fit(member, options), member) for member in seed_trainings(training)]
    return ensemble.combine(members, views, "seeds")


def seed_trainings(training: Training) -> list[Training]:
    """Return the trainings of an ensemble over seeds; none where there is one model."""
    recipe = training.recipe
    seeds = [recipe.seed + k for k in range(recipe.ensemble)] if recipe.ensemble > 1 else []
    return [
        replace(training, run=training.run.member(k), recipe=replace(recipe, seed=seed)) for k, seed in enumerate(seeds)
    ]


def fit(training: Training, options: RunOptions) -> Predictor:
    """Return the trained model; thresholds and temperatures are still to be fitted."""
    if training.model.engine == "estimator":
        return fit_rows.fit_estimators(training, options)
    return (probe.fit_probe if probe.is_probe(training.model) else fit_nets.fit_net)(training, options)


def calibrated_on_tune(model: Predictor, training: Training) -> Predictor:
    """Return the model with temperatures and thresholds, those of maps too, fitted on tune, and on nothing else."""
    tune = training.rows("tune")
    model = calibrated(model, predict_part(model, training, "tune").predictions.logits, tune.truth)
    net = with_focus(model)
    if net is None:
        return model
    from focusmap.fitting.map_thresholds import tune_focus_maps

    return tune_focus_maps(net, reference_of(tune))


def with_focus(model: Predictor) -> "Model | None":
    """Return a net, or the ensemble of nets, of single images that has focus maps; None for any other model."""
    net = cast("Model", model) if ensemble.kind_of(model.card) == "net" else None
    return net if net is not None and net.net.has_focus else None


def predict_part(model: Predictor, training: Training, part: str) -> Predicted:
    """Return a model's predictions for a part of the split; those of a probe are made from its stored features."""
    if probe.is_probe(training.model) and training.cohort.images is None:
        return probe.predict_from_features(cast("Model", model), training, part)
    samples = training.samples(part)
    if not all(map(samples.is_stored, model.preparations)):
        samples = Samples.from_files(samples.rows)
    return predict(model, samples)


def predict_parts(model: Predictor, training: Training) -> tuple[dict[str, Predictions], pd.DataFrame | None]:
    """Return a model's predictions for test and tune and, of cases, the attention on test."""
    answers = {part: predict_part(model, training, part) for part in PREDICTED if training.split.ids(part)}
    attention = answers["test"].attention if "test" in answers else None
    return {part: answer.predictions for part, answer in answers.items()}, attention


def write_trained(
    training: Training, model: Predictor, predictions: Mapping[str, Predictions], attention: pd.DataFrame | None
) -> None:
    """Put a model and its predictions in the place of those that a run, or one of its folds, had before."""
    run = training.run
    if attention is not None:
        write_table(run.attention, attention)
    with atomic_folder(run.model) as place:
        folder.save_model(model, place)
        if training.is_answering:
            _write_likeness(training, place)
    for part, of_part in predictions.items():
        write_predictions(of_part, run.predictions(part))


def _write_likeness(training: Training, place: Path) -> None:
    """Write what images of train look like into a model's folder; nothing for tables and cases."""
    store = training.store
    if store is None or training.cohort.images is not None:
        return
    image_ids = {part: _some_of(training, part) for part in ("train", "tune")}
    pixels = {part: [store.pixels[row] for row in store.rows(names)] for part, names in image_ids.items()}
    if (fitted := ood.fit_ood(pixels["train"], pixels["tune"])) is not None:
        ood.save_ood(fitted, place / ood.OOD_FILE)
    described = np.stack([neighbours.description(image) for image in pixels["train"]])
    neighbours.save_descriptions(described, image_ids["train"], place)


def _some_of(training: Training, part: str) -> list[str]:
    """Return the names of images of a part of the split: all, or `MOST_DESCRIBED` of them at random."""
    image_ids = training.rows(part).image_ids
    chosen = np.random.default_rng(training.recipe.seed).permutation(len(image_ids))[:MOST_DESCRIBED]
    return [image_ids[i] for i in np.sort(chosen)]
