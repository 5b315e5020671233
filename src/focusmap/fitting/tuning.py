"""Recipes to try, and their scores on inner folds: on patients outside their training, none of them from test."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd

from focusmap.audit import look_at_sample
from focusmap.basics import silent
from focusmap.fitting import choice, configure, suitability, train
from focusmap.fitting.training import Training
from focusmap.nets import has_local_weights
from focusmap.scale import answers_in_order
from focusmap.study import Cohort, Recipe, Run, RunOptions, Split, joined_patients, label_matrix, parse_model, stratify
from focusmap.study.stores import store_for

N_FOLDS = 3
AUGMENTED = ("shift", "rotate_degrees", "scale", "brightness", "contrast", "noise")
"""Scaled together: how much images are changed is one question."""

Choice = TypeVar("Choice", bound=bool | int | float | str | None)


class Trial(Protocol):
    """What draws the settings of a recipe, as a trial of Optuna does."""

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """Return one of the choices."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from low to high."""
        ...


@dataclass(frozen=True)
class InnerFolds:
    """What recipes are tried on: rows that may be learnt from, and the fold of each; no row of test is among them.

    Parameters
    ----------
    rows
        Of train and tune, images or cases.
    fold : (N,) int
        All rows of a patient are in one, and all of patients who share nearly equal images.
    folder
        Where trials lie, and prepared images.
    """

    rows: Cohort
    fold: np.ndarray
    folder: Path

    def splits(self) -> Iterator[Split]:
        """Yield for each fold the split in which it tunes and the others train."""
        for k in range(N_FOLDS):
            parts = np.where(self.fold == k, "tune", "train")
            yield Split(pd.DataFrame({"image_id": self.rows.image_ids, "split": parts}))


def make_inner_folds(
    rows: Cohort, split: Split, together: Sequence[Sequence[str]], folder: Path, seed: int
) -> InnerFolds:
    """Return what recipes are tried on, of rows and their split.

    Raises
    ------
    InputError
        If there are fewer patients than folds.
    """
    ids = [image_id for image_id in rows.image_ids if split.part_of[image_id] in ("train", "tune")]
    learnable, known = rows.of(ids), set(ids)
    groups = [inside for group in together if len(inside := [one for one in group if one in known]) > 1]
    patients = joined_patients(learnable, groups).patient_ids.astype(str)
    strata = label_matrix(learnable.task, learnable.truth)
    return InnerFolds(learnable, stratify(list(patients), strata, [1 / N_FOLDS] * N_FOLDS, seed), folder)


def models_to_try(rows: Cohort, recipe: Recipe, options: RunOptions) -> tuple[str, ...]:
    """Return the models to try, the usual one first: the recipe's own, or where it leaves that open, the simple to the
    strong that suit the study."""
    if recipe.model != "auto":
        return (recipe.model,)
    if not rows.has_images:
        return (suitability.TABLE_DEFAULT, suitability.TABLE_BASELINE)
    summary = look_at_sample(rows)
    sized = configure.resolved(rows, replace(recipe, model="auto", weights="none"), summary, options)
    nets: list[str] = [configure.usual_net(sized)]
    backbone = configure.ladder_settings(options.devices).backbone
    if recipe.weights == "auto" and summary.dimensions == 2 and has_local_weights(backbone):
        nets = [backbone, f"{backbone}-{choice.PROBE}", *nets]
    return (*nets, suitability.IMAGE_BASELINE) if summary.dimensions == 2 and rows.images is None else tuple(nets)


def draw_recipe(trial: Trial, recipe: Recipe, models: Sequence[str]) -> Recipe:
    """Return a recipe with the settings that a trial draws; what `first_trial` names gives the recipe as it is."""
    model = trial.suggest_categorical("model", models) if len(models) > 1 else models[0]
    recipe = replace(recipe, model=model)
    if parse_model(model).engine == "estimator" or model.endswith(f"-{choice.PROBE}"):
        return recipe
    factor = trial.suggest_categorical("augmentation", (0.0, 0.5, 1.0, 1.5))
    scaled = {name: getattr(recipe.augmentation, name) * factor for name in AUGMENTED}
    return replace(
        recipe,
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
        label_smoothing=trial.suggest_categorical("label_smoothing", (0.0, 0.05, 0.1)),
        sampling=trial.suggest_categorical("sampling", ("all", "weighted")),
        augmentation=replace(recipe.augmentation, **scaled),
    )


def first_trial(recipe: Recipe, models: Sequence[str]) -> Mapping[str, str | float]:
    """Return what the first trial draws: the recipe as it is, as far as that lies within what is searched."""
    rate = {"learning_rate": recipe.learning_rate} if recipe.learning_rate else {}
    drawn: dict[str, str | float] = {"augmentation": 1.0, "weight_decay": recipe.weight_decay, **rate}
    drawn |= {"label_smoothing": recipe.label_smoothing, "sampling": recipe.sampling}
    return {"model": models[0], **drawn} if len(models) > 1 else drawn


def inner_scores(inner: InnerFolds, recipe: Recipe, options: RunOptions) -> Iterator[float]:
    """Yield what a recipe is worth, fold by fold: the mean over targets of AUROC, of continuous ones R2; NaN: none.

    The recipe is `resolve_for_trial`.
    """
    quiet, place = replace(options, progress=silent, say=lambda _: None), inner.folder.absolute() / "trial"
    shutil.rmtree(place, ignore_errors=True)
    store = store_for(inner.rows, recipe, Run(inner.folder), quiet)
    trainings = [
        Training(Run(place / str(k)), inner.rows, split, store, recipe, is_answering=False)
        for k, split in enumerate(inner.splits())
    ]
    workers = options.workers if options.cluster is None else 1
    scored = partial(_inner_score, options=replace(quiet.alone, workers=workers))
    try:
        if options.cluster is None:
            yield from map(scored, trainings)
        else:
            yield from answers_in_order(trainings, lambda: scored, options.cluster, N_FOLDS)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _inner_score(training: Training, options: RunOptions) -> float:
    tune = train.predict_part(train.train_calibrated(training, options), training, "tune").predictions
    of_tune = choice.score(tune, choice.truth_of(tune, training))
    return of_tune if np.isfinite(of_tune) else float("nan")


def resolve_for_trial(inner: InnerFolds, recipe: Recipe, options: RunOptions) -> Recipe:
    """Return a recipe with nothing left open, by what is seen of some images that may be learnt from."""
    return configure.resolved(
        inner.rows, recipe, look_at_sample(inner.rows) if inner.rows.has_images else None, options
    )
