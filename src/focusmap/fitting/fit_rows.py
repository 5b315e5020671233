"""A model of rows, from a training: one estimator per target, on a table's covariates or features of images."""

from dataclasses import replace

import numpy as np

from focusmap.basics import Json
from focusmap.fitting.fit_targets import Rows, fit_target, screened
from focusmap.fitting.training import Training
from focusmap.models.features import ImageFeatures, fit_features
from focusmap.models.rows import OF_STORE, Estimators, FittedRows, RowModel
from focusmap.study import RunOptions, Samples, check_learnable
from focusmap.study.covariates import Covariates, fit_covariates

N_FOR_WORDS = 500


def fit_estimators(training: Training, options: RunOptions) -> RowModel:
    """Return one fitted estimator per target, each on the training rows whose truth it knows.

    Raises
    ------
    InputError
        If no target has two different values on train, or a covariate cannot be used.
    """
    train = training.rows("train")
    check_learnable(train.task, train.learnt)
    covariates, features = None, None
    if training.model.shown == "table":
        covariates = fit_covariates(training.cohort, train.image_ids)
        values = covariates.encode(train).values
    else:
        assert training.store is not None
        features = fit_features(training.model.features, _sample(training), training.recipe.seed)
        batches = Samples.from_store(train, training.store).batches([training.store.preparation], OF_STORE)
        values = np.concatenate([features(batch.images(training.store.preparation).prepared) for batch in batches])
    fitted = _fit_targets(training, values, options)
    return row_model(fitted, training, covariates=covariates, features=features, n_inputs=values.shape[1])


def _sample(training: Training) -> np.ndarray:
    """Return at most some hundred training images, of which visual words are made."""
    assert training.store is not None
    train = training.rows("train")
    chosen = np.random.default_rng(training.recipe.seed).permutation(len(train))[:N_FOR_WORDS]
    return training.store.pixels[training.store.rows(train.take(np.sort(chosen)).image_ids)]


def _fit_targets(training: Training, values: np.ndarray, options: RunOptions) -> Estimators:
    train, recipe = training.rows("train"), training.recipe
    fitted = []
    for position, target in enumerate(train.task.targets):
        truth = train.learnt[:, position]
        known = ~np.isnan(truth)
        rows = Rows(values[known], truth[known], train.patient_ids[known].astype(str))
        if recipe.screen_negatives and target.kind == "binary":
            rows = screened(rows, training.model.estimator, recipe.screen_negatives, recipe.seed)
        fitted.append(fit_target(target, training.model.estimator, rows, recipe.sampling, recipe.seed))
        options.progress(f"fitting {recipe.model} ({training.run.folder.name})", position + 1, len(train.task.targets))
    return Estimators(train.task, tuple(fitted))


def row_model(
    fitted: FittedRows,
    training: Training,
    *,
    n_inputs: int,
    covariates: Covariates | None = None,
    features: ImageFeatures | None = None,
) -> RowModel:
    """Return what was fitted with its card; thresholds and temperatures are still to be fitted."""
    architecture: dict[str, Json] = {"model": training.recipe.model, "n_inputs": n_inputs, **fitted.describe()}
    if features is not None:
        architecture["features"] = list(features.names)
    card = training.card(architecture, sum(int(array.size) for array in fitted.to_arrays().values()))
    if covariates is not None:
        card = replace(card, preparation={}, covariates=covariates.to_list())
    return RowModel(card, fitted, features)
