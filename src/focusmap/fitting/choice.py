"""Which of several models the tuning set prefers: the one-standard-error rule, and the mean where its loss is lower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from focusmap.basics import Json, Reason
from focusmap.evaluation import JUDGED_BY, EvaluationOptions, Predictions, compare_predictions, evaluate_predictions
from focusmap.fitting.training import Training
from focusmap.models.predictor import Predictor

PROBE, SIMPLE, FROM_SCRATCH, FINE_TUNED, MEAN = "probe", "simple", "from-scratch", "fine-tuned", "mean"
N_RESAMPLES = 200
# Half the width of a 95 % interval is 1.96 standard errors.
WIDTH_IN_ERRORS = 2 * 1.96


@dataclass(frozen=True)
class Rung:
    """A model that was fitted, calibrated on tune, with what it says of test and tune, and how long it took.

    Of cases it knows what each of their images weighs on test.
    """

    name: str
    model: Predictor
    predictions: Mapping[str, Predictions]
    seconds: float
    attention: pd.DataFrame | None = None

    @property
    def tune(self) -> Predictions:
        """What it says of tune."""
        return self.predictions["tune"]


def choose(rungs: Sequence[Rung], training: Training) -> tuple[Rung, Reason]:
    """Return the rung that the tuning set prefers, and why in words; rungs come the simplest first, their mean last."""
    truth = truth_of(rungs[0].tune, training)
    single = [rung for rung in rungs if rung.name != MEAN]
    best = max(single, key=lambda rung: score(rung.tune, truth))
    chosen = next(rung for rung in single if rung is best or _is_equal(rung, best, truth))
    if len(single) == 1:
        reason = Reason("rung-only", name=chosen.name)
    elif chosen is best:
        reason = Reason("rung-best", name=chosen.name)
    else:
        reason = Reason("rung-simpler", name=chosen.name, best=best.name)
    for rung in rungs:
        if rung.name == MEAN and log_loss(rung.tune, truth) < log_loss(chosen.tune, truth):
            return rung, Reason("rung-mean", name=chosen.name)
    return chosen, reason


def truth_of(predictions: Predictions, training: Training) -> np.ndarray:
    """Return the truth ``(N, T)`` of the images of some predictions."""
    return training.cohort.of(list(predictions.ids["image_id"])).truth


def _is_equal(rung: Rung, best: Rung, truth: np.ndarray) -> bool:
    """Return whether a rung is within one standard error of the paired difference from the best."""
    difference, error = _difference(best.tune, rung.tune, truth)
    return difference <= error


def score(tune: Predictions, truth: np.ndarray) -> float:
    """Return the mean over targets of AUROC or, of continuous ones, R2; minus infinity where none is defined."""
    metrics = evaluate_predictions(tune, truth, EvaluationOptions({}, "tune", n_resamples=N_RESAMPLES))
    scores = [_value(metrics, target.name, JUDGED_BY[target.kind]) for target in tune.task.targets]
    known = [value for value in scores if value is not None]
    return float(np.mean(known)) if known else -np.inf


def _difference(best: Predictions, other: Predictions, truth: np.ndarray) -> tuple[float, float]:
    """Return the mean over targets of best - other, and its standard error; the error is 0 where it is not known."""
    options = EvaluationOptions({}, "tune", n_resamples=N_RESAMPLES)
    comparison = compare_predictions(best, other, truth, (options, options))
    targets = cast(Mapping[str, Mapping[str, Mapping[str, float | None]]], comparison["targets"])
    entries = [targets[target.name].get(JUDGED_BY[target.kind], {}) for target in best.task.targets]
    limits = [[entry.get(key) for key in ("value", "low", "high")] for entry in entries]
    known = [row for row in limits if None not in row]
    if not known:
        return 0.0, 0.0
    values, lows, highs = np.array(known, dtype=np.float64).T
    # Of the mean over targets, as if their errors were independent: they share patients, so that it is a little more.
    errors = (highs - lows) / WIDTH_IN_ERRORS
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(errors))


def log_loss(tune: Predictions, truth: np.ndarray) -> float:
    """Return the mean over targets of the log loss or, of continuous ones, of the squared error over the variance."""
    metrics = evaluate_predictions(tune, truth, EvaluationOptions({}, "tune", n_resamples=2))
    losses = []
    for target in tune.task.targets:
        if target.is_number:
            r2 = _value(metrics, target.name, "r2")
            losses.append(None if r2 is None else 1 - r2)
        else:
            losses.append(_value(metrics, target.name, "log_loss"))
    known = [loss for loss in losses if loss is not None]
    return float(np.mean(known)) if known else np.inf


def _value(metrics: Mapping[str, Json], target: str, metric: str) -> float | None:
    entry = cast(Mapping[str, Mapping[str, Mapping[str, float | None]]], metrics["targets"])[target].get(metric)
    return entry["value"] if entry else None
