"""The ladder: models from the simple to the strong, as far as the time allows, and the choice among them.

A linear probe of a pretrained backbone comes first, since it costs seconds; then the same backbone, fine-tuned. The
tuning set chooses, never test: between two rungs the one-standard-error rule takes the simpler of equals, and the mean
of both is taken where its log loss is lower than that of the one that was chosen.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from focusmap.evaluation import EvaluationOptions, compare_predictions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions
from focusmap.files import Json, write_json
from focusmap.models.configure import preparation_for
from focusmap.models.ensemble import combine
from focusmap.models.predict import predict
from focusmap.models.predictor import Predictor
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Recipe
from focusmap.study.task import Task

if TYPE_CHECKING:
    from focusmap.models.training import Training

LADDER = "ladder.json"
PROBE, FINE_TUNED, MEAN = "probe", "fine-tuned", "mean"
# Of the budget for trainings: maps, report and all else that a run does take the rest.
TRAINING_SHARE = 0.6
FINE_TUNED_SIZE = 160
MOST_EPOCHS, FEWEST_EPOCHS = 12, 4
N_RESAMPLES = 200
# Half the width of a 95 % interval is 1.96 standard errors.
WIDTH_IN_ERRORS = 2 * 1.96

Fit = Callable[["Training", RunOptions], Predictor]


@dataclass(frozen=True)
class Rung:
    """A model that was fitted, calibrated on tune, with what it says there and how long it took."""

    name: str
    model: Predictor
    tune: Predictions
    seconds: float


def climb(training: "Training", options: RunOptions, fit: Fit) -> Predictor:
    """Return the best model that the budget allows, calibrated on the tuning set; ``ladder.json`` says why it is it.

    A run that is interrupted ends with the rungs that it has reached.

    Parameters
    ----------
    training
        Of the recipe's model ``auto``, prepared for the probe.
    fit
        Returns the model of a training with another recipe, calibrated on tune.
    """
    started, seconds = time.monotonic(), 60 * options.budget * TRAINING_SHARE / training.n_siblings
    rungs = [_climbed(PROBE, training, probe_recipe(training.recipe), options, fit)]
    try:
        left = seconds - (time.monotonic() - started)
        if (fine := fine_tuned_recipe(training, left, options)) is not None:
            rungs.append(_climbed(FINE_TUNED, training, fine, options, fit))
    except KeyboardInterrupt:
        options.progress("interrupted: going on with what there is", 1, 1)
    if len(rungs) > 1:
        rungs.append(_mean(rungs, training))
    chosen, reason = choose(rungs, training)
    _write(rungs, chosen, reason, training, options)
    return chosen.model


def probe_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of the first rung."""
    return replace(recipe, model=f"{recipe.backbone}-probe", ensemble=1, tta=recipe.augmentation.mirror)


def fine_tuned_recipe(training: "Training", seconds: float, options: RunOptions) -> Recipe | None:
    """Return the recipe of fine-tuning that fits into some seconds, as measured by a few steps; None where none does.

    The settings are those of `docs/results.md`: the stem and the first two blocks frozen, and rates that fall towards
    the input, keep what a few hundred images would only distort.
    """
    n_train = len(training.split.ids("train"))
    recipe = replace(
        training.recipe, model=training.recipe.backbone, size=min(FINE_TUNED_SIZE, training.recipe.size),
        epochs=MOST_EPOCHS, warmup_epochs=1, learning_rate=3e-4, head_rate=3.0, layer_decay=0.75, frozen_stages=3,
        class_weights=False,
    )  # fmt: skip
    per_epoch = seconds_per_epoch(training, recipe, options)
    n_epochs = min(MOST_EPOCHS, int(seconds / per_epoch)) if per_epoch else 0
    if n_epochs < FEWEST_EPOCHS:
        return None
    n_steps = n_epochs * -(-n_train // recipe.batch_size)
    return replace(recipe, epochs=n_epochs, ema_decay=round(1 - 1 / max(2.0, 0.1 * n_steps), 4))


def choose(rungs: Sequence[Rung], training: "Training") -> tuple[Rung, str]:
    """Return the rung that the tuning set prefers, and why in words; rungs come the simplest first, their mean last."""
    truth = training.cohort.of(list(rungs[0].tune.ids["image_id"])).truth
    single = [rung for rung in rungs if rung.name != MEAN]
    best = max(single, key=lambda rung: _score(rung.tune, truth))
    chosen = next(rung for rung in single if rung is best or _is_equal(rung, best, truth))
    if chosen is best:
        reason = f"{chosen.name} has the best score on the tuning set"
    else:
        reason = f"{chosen.name} is within one standard error of {best.name} on the tuning set, and simpler"
    for rung in rungs:
        if rung.name == MEAN and _log_loss(rung.tune, truth) < _log_loss(chosen.tune, truth):
            return rung, f"the mean of both has a lower log loss on the tuning set than {chosen.name}"
    return chosen, reason


def _climbed(name: str, training: "Training", recipe: Recipe, options: RunOptions, fit: Fit) -> Rung:
    started = time.monotonic()
    own = training.with_recipe(recipe, name, options)
    model = fit(own, options)
    return Rung(name, model, predict(model, own.samples("tune")).predictions, time.monotonic() - started)


def _mean(rungs: Sequence[Rung], training: "Training") -> Rung:
    model = combine([rung.model for rung in rungs], (), "rungs")
    return Rung(MEAN, model, predict(model, training.samples("tune")).predictions, 0.0)


def _is_equal(rung: Rung, best: Rung, truth: np.ndarray) -> bool:
    """Return whether a rung is within one standard error of the paired difference from the best."""
    difference, error = _difference(best.tune, rung.tune, truth)
    return difference <= error


def _score(tune: Predictions, truth: np.ndarray) -> float:
    """Return the mean over targets of AUROC or, of continuous ones, R2; minus infinity where none is defined."""
    metrics = evaluate_predictions(tune, truth, EvaluationOptions({}, "tune", n_resamples=N_RESAMPLES))
    found = [_value(metrics, target.name, _metric(target)) for target in tune.task.targets]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else -np.inf


def _difference(best: Predictions, other: Predictions, truth: np.ndarray) -> tuple[float, float]:
    """Return the mean over targets of best - other, and its standard error; the error is 0 where it is not known."""
    options = EvaluationOptions({}, "tune", n_resamples=N_RESAMPLES)
    found = compare_predictions(best, other, truth, (options, options))
    if len(best.task.targets) > 1 and "auroc" in found["mean"]:
        entries = [found["mean"]["auroc"]]
    else:
        entries = [found["targets"][target.name][_metric(target)] for target in best.task.targets]
    known = [entry for entry in entries if entry.get("value") is not None and entry.get("low") is not None]
    if not known:
        return 0.0, 0.0
    errors = [(entry["high"] - entry["low"]) / WIDTH_IN_ERRORS for entry in known]
    return float(np.mean([entry["value"] for entry in known])), float(np.mean(errors))


def _metric(target: Target) -> str:
    return "r2" if target.kind == "continuous" else "auroc"


def _log_loss(tune: Predictions, truth: np.ndarray) -> float:
    """Return the mean over targets of the log loss or, of continuous ones, of the squared error over the variance."""
    metrics = evaluate_predictions(tune, truth, EvaluationOptions({}, "tune", n_resamples=2))
    found = []
    for target in tune.task.targets:
        if target.kind == "continuous":
            score = _value(metrics, target.name, "r2")
            found.append(None if score is None else 1 - score)
        else:
            found.append(_value(metrics, target.name, "log_loss"))
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else np.inf
