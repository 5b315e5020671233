"""The ladder: models from the simple to the strong, as far as the time allows, and the choice among them.

A linear probe of a pretrained backbone comes first, since it costs seconds; then the same backbone, fine-tuned. The
tuning set chooses, never test: between two rungs the one-standard-error rule takes the simpler of equals, and the mean
of both is taken where its log loss is lower than that of the one that was chosen.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap.evaluation import EvaluationOptions, compare_predictions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions, write_predictions
from focusmap.files import Json, write_json
from focusmap.models.configure import BACKBONE
from focusmap.models.ensemble import combine
from focusmap.models.folder import save_model
from focusmap.models.predict import predict
from focusmap.models.predictor import Predictor
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Recipe, read_recipe
from focusmap.study.task import Target

if TYPE_CHECKING:
    from focusmap.models.training import Training

PROBE, FINE_TUNED, MEAN = "probe", "fine-tuned", "mean"
# Of the budget for trainings: maps, report and all else that a run does take the rest.
TRAINING_SHARE = 0.6
FINE_TUNED_SIZE = 160
FINE_TUNING: dict[str, object] = {
    "warmup_epochs": 1,
    "learning_rate": 3e-4,
    "head_rate": 3.0,
    "layer_decay": 0.75,
    "frozen_stages": 3,
    "class_weights": False,
}
"""The stem and the first two blocks frozen, and rates that fall towards the input: what a few hundred images would only
distort is kept."""
MOST_EPOCHS, FEWEST_EPOCHS = 12, 4
N_RESAMPLES = 200
# Test is only predicted: `focusmap.evaluation.simpler` sets the rungs beside the chosen one.
ASKED = ("test", "tune")
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
    started, seconds = time.monotonic(), 60 * options.budget * TRAINING_SHARE
    rungs = [_climbed(PROBE, training, probe_recipe(training.recipe), options, fit)]
    try:
        left = seconds - (time.monotonic() - started)
        if (fine := _kept_recipe(training) or fine_tuned_recipe(training, left, options)) is not None:
            rungs.append(_climbed(FINE_TUNED, training, fine, options, fit))
    except KeyboardInterrupt:
        options.progress("interrupted: going on with what there is", 1, 1)
    if len(rungs) > 1:
        rungs.append(_mean(rungs, training))
    chosen, reason = choose(rungs, training)
    _write(rungs, chosen, reason, training, options)
    return chosen.model


def probe_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of the first rung: nothing is augmented, and the views are those that its features are of."""
    mirrors = recipe.augmentation.mirror
    as_it_is = replace(recipe.augmentation, shift=0.0, scale=0.0)
    return replace(recipe, model=f"{BACKBONE}-{PROBE}", ensemble=1, tta=mirrors, augmentation=as_it_is)


def fine_tuned_recipe(training: "Training", seconds: float, options: RunOptions) -> Recipe | None:
    """Return the recipe of fine-tuning that fits into some seconds, as measured by a few steps; None where none does.

    Settings that the user gives count; the others are `FINE_TUNING`.
    """
    given, usual = training.recipe, Recipe()
    n_train, most = len(training.split.ids("train")), min(MOST_EPOCHS, given.epochs)
    chosen = {name: value for name, value in FINE_TUNING.items() if getattr(given, name) == getattr(usual, name)}
    recipe = replace(given, model=BACKBONE, size=min(FINE_TUNED_SIZE, given.size), **chosen)  # type: ignore[arg-type]
    per_epoch = _seconds_per_epoch(training.rung(FINE_TUNED, recipe, options), options)
    n_epochs = min(most, int(seconds / (per_epoch * recipe.ensemble))) if per_epoch else 0
    if n_epochs < min(most, FEWEST_EPOCHS):
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
    own = training.rung(name, recipe, options)
    recipe.to_yaml(own.run.recipe)
    model = fit(own, options)
    save_model(model, own.run.model)
    found = {part: predict(model, own.samples_for(model, part)).predictions for part in ASKED if own.split.ids(part)}
    for part, predictions in found.items():
        write_predictions(predictions, own.run.predictions(part))
    return Rung(name, model, found["tune"], time.monotonic() - started)


def _kept_recipe(training: "Training") -> Recipe | None:
    """Return the recipe of a fine-tuning that was stopped, so that it goes on as it was begun."""
    kept = training.run.rung(FINE_TUNED).recipe
    return read_recipe(kept) if kept.is_file() else None


def _seconds_per_epoch(training: "Training", options: RunOptions) -> float | None:
    """Return what an epoch takes here, by a few steps; None where a batch does not fit into the memory."""
    from focusmap.models.fit_nets import training_data, untrained_net
    from focusmap.training.loop import training_seconds

    made = untrained_net(training)
    return training_seconds(
        made.net, training_data(made, training), replace(training.recipe, epochs=1), options.devices
    )


def _mean(rungs: Sequence[Rung], training: "Training") -> Rung:
    started = time.monotonic()
    model = combine([rung.model for rung in rungs], (), "rungs")
    return Rung(
        MEAN, model, predict(model, training.samples_for(model, "tune")).predictions, time.monotonic() - started
    )


def _write(rungs: Sequence[Rung], chosen: Rung, reason: str, training: "Training", options: RunOptions) -> None:
    """Write ``ladder.json``: each rung with its scores on the tuning set and its time, the choice, and its reason."""
    truth = training.cohort.of(list(chosen.tune.ids["image_id"])).truth
    entries: list[Json] = [
        {
            "name": rung.name,
            "inner": {
                "score": _defined(_score(rung.tune, truth)),
                "log_loss": _defined(_log_loss(rung.tune, truth)),
                "n": len(rung.tune),
            },
            "seconds": round(rung.seconds, 1),
            "chosen": rung is chosen,
        }
        for rung in rungs
    ]
    found: dict[str, Json] = {
        "budget_minutes": options.budget, "rungs": entries, "chosen": chosen.name, "reason": reason,
    }  # fmt: skip
    write_json(training.run.ladder, found)


def _defined(value: float) -> float | None:
    """Return a score for a file; None where the tuning set has one class only, so that there is none."""
    return value if np.isfinite(value) else None


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
    targets = cast(Mapping[str, Mapping[str, Mapping[str, float | None]]], found["targets"])
    entries = [targets[target.name].get(_metric(target), {}) for target in best.task.targets]
    ends = [(one.get("value"), one.get("low"), one.get("high")) for one in entries]
    known = [
        (value, low, high) for value, low, high in ends if value is not None and low is not None and high is not None
    ]
    if not known:
        return 0.0, 0.0
    values, lows, highs = np.array(known).T
    # Of the mean over targets, as if their errors were independent: they share patients, so that it is a little more.
    errors = (highs - lows) / WIDTH_IN_ERRORS
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(errors))


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


def _value(metrics: Mapping[str, Json], target: str, metric: str) -> float | None:
    found = cast(Mapping[str, Mapping[str, Mapping[str, float | None]]], metrics["targets"])[target].get(metric)
    return found["value"] if found else None
