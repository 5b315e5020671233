"""One target's estimator, fitted to rows of numbers; what it scores of rows that were held out is calibrated."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from focusmap.fitting.estimators import FITS, Estimator, resampled
from focusmap.models.scorers import Linear
from focusmap.models.target_model import TargetModel
from focusmap.study import Sampling, Target

# The logit of a class that train does not have.
ABSENT = -30.0
N_FOLDS = 3
LEAST_SLOPE = 0.01
"""Of the logit by the standard deviation of a score."""


@dataclass(frozen=True)
class Rows:
    """Training rows of one target, all of known truth.

    Parameters
    ----------
    values
        ``(N, K)``.
    truth
        ``(N,)``: 0 or 1, class index, or value.
    patients
        ``(N,)``: rows of one patient stay together where rows are parted.
    shown
        ``(N,) bool``: which the estimator is fitted to; what it answers is calibrated on all. None: all.
    """

    values: np.ndarray
    truth: np.ndarray
    patients: np.ndarray
    shown: np.ndarray | None = None

    def take(self, positions: np.ndarray) -> "Rows":
        """Return the rows at `positions`."""
        shown = None if self.shown is None else self.shown[positions]
        return Rows(self.values[positions], self.truth[positions], self.patients[positions], shown)


def fit_target(target: Target, estimator: str, rows: Rows, sampling: Sampling, seed: int) -> TargetModel:
    """Return the estimator fitted to one target.

    A binary label's fraction counts as positive from 0.5 on. Scores that are no log-odds, and all where classes were
    sampled unevenly, are calibrated: a logistic regression on the scores of rows that were held out, patient by
    patient (Platt 1999; for several classes its multinomial form).

    Parameters
    ----------
    target
        What is predicted; a target with one known value on train is answered with a constant.
    estimator
        A name of `FITS`.
    rows
        Training rows of known truth.
    sampling, seed
        How classes are sampled, and of all that is drawn.
    """
    fit = FITS[estimator]
    if target.is_number:
        return _fit_values(fit, rows, seed)
    labels = (rows.truth >= 0.5 if target.kind == "binary" else rows.truth).astype(np.int64)
    present, classes = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return _constant(target, rows, present)
    coded = replace(rows, truth=classes)
    readout = _identity_for_classes(len(present))
    if not fit.gives_logits or sampling != "all" or rows.shown is not None:
        held_out = _held_out_scores(fit, coded, sampling, seed)
        if held_out is None and rows.shown is not None:
            # What is not shown could not be made up for.
            return fit_target(target, estimator, replace(rows, shown=None), sampling, seed)
        readout = readout if held_out is None else _calibration(held_out, classes)
    plain = _fit_classes(fit, coded, sampling, seed)
    return TargetModel(plain.shift, plain.scale, plain.scorer, plain.floor, _for_all_classes(readout, target, present))


def screened(rows: Rows, estimator: str, limit: float, seed: int) -> Rows:
    """Return the rows of a binary target without the negatives that are told easily, for an even training.

    A negative is not shown if models fitted without its patient give it, once calibrated, a probability above `limit`
    of being negative. At least as many negatives as positives stay: those that are told least surely. Rows of one
    class, or of too few patients to hold any out, stay as they are.
    """
    labels = (rows.truth >= 0.5).astype(np.int64)
    if not 0 < labels.sum() < len(labels):
        return rows
    scores = _held_out_scores(FITS[estimator], replace(rows, truth=labels), "all", seed)
    if scores is None:
        return rows
    logits = _calibration(scores, labels)(scores)[:, 0]
    negatives = np.flatnonzero(labels == 0)
    least_sure_first = negatives[np.argsort(-logits[negatives], kind="stable")]
    n_unsure = int((expit(-logits[negatives]) <= limit).sum())
    shown = labels == 1
    shown[least_sure_first[: max(n_unsure, int(labels.sum()))]] = True
    return replace(rows, shown=shown)


def _fit_values(fit: Estimator, rows: Rows, seed: int) -> TargetModel:
    assert fit.regress is not None, "check_kinds has let it through"
    if len(rows.truth) < 2 or rows.truth.min() == rows.truth.max():
        value = float(rows.truth[0]) if len(rows.truth) else 0.0
        return _unscaled(rows, _constant_scorer(rows, np.array([value])))
    shift, scale = _scaling(fit, rows.values)
    return TargetModel(
        shift, scale, fit.regress((rows.values - shift) / scale, rows.truth, seed), np.zeros(1), _identity(1)
    )


def _fit_classes(fit: Estimator, rows: Rows, sampling: Sampling, seed: int) -> TargetModel:
    shift, scale = _scaling(fit, rows.values)
    members = np.arange(len(rows.truth)) if rows.shown is None else np.flatnonzero(rows.shown)
    drawn = members[resampled(rows.truth[members], sampling, seed)]
    scorer = fit.classify((rows.values[drawn] - shift) / scale, rows.truth[drawn], seed)
    floor = np.array([0.5 / (len(drawn) + 1) if fit.gives_shares else 0.0])
    return TargetModel(shift, scale, scorer, floor, _identity_for_classes(int(rows.truth.max()) + 1))


def _scaling(fit: Estimator, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n_columns = values.shape[1]
    if not fit.is_scaled:
        return np.zeros(n_columns), np.ones(n_columns)
    deviation = values.std(axis=0, dtype=np.float64)
    return values.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0)


def _held_out_scores(fit: Estimator, rows: Rows, sampling: Sampling, seed: int) -> np.ndarray | None:
    """Return the scores of all rows, each scored without its patient; None for too few patients of a class."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(rows.patients[rows.truth == label])) for label in np.unique(rows.truth))
    if fewest < N_FOLDS:
        return None
    parts = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed).split(rows.values, rows.truth, rows.patients)
    scores = np.zeros((len(rows.truth), len(_identity_for_classes(int(rows.truth.max()) + 1).bias)))
    for kept, held_out in parts:
        learnt = rows.take(kept)
        known = learnt.truth if learnt.shown is None else learnt.truth[learnt.shown]
        if len(np.unique(known)) < len(np.unique(rows.truth)):
            return None
        model = _fit_classes(fit, learnt, sampling, seed)
        scores[held_out] = model.scores(rows.values[held_out])
    return scores


def _calibration(scores: np.ndarray, classes: np.ndarray) -> Linear:
    """Return what turns scores into logits; where they tell nothing, nearly the shares of classes, in their order.

    Held-out scores of a model that has learnt nothing go against the truth, since what is left out of train lowers its
    class's share there. A slope below 0 would turn the model upside down.
    """
    from sklearn.linear_model import LogisticRegression

    # Standardised, so that the weak prior means the same for scores of any unit.
    centre, spread = scores.mean(axis=0), np.where(scores.std(axis=0) > 0, scores.std(axis=0), 1.0)
    fitted = LogisticRegression(C=100.0, max_iter=1000).fit((scores - centre) / spread, classes)
    slopes, bias = fitted.coef_, fitted.intercept_
    of_own_class = slopes[:, 0] if len(slopes) == 1 else np.diag(slopes - slopes.mean(axis=0))
    if of_own_class.mean() < LEAST_SLOPE:
        shares = np.bincount(classes) / len(classes)
        slopes = LEAST_SLOPE * np.eye(len(slopes))
        bias = np.log(shares) if len(shares) > 2 else np.log(shares[1:] / shares[:1])
    weights = slopes / spread
    return Linear(weights, bias - weights @ centre)


def _for_all_classes(readout: Linear, target: Target, present: np.ndarray) -> Linear:
    """Return the readout with a logit for each class of the target; one that train does not have is never likely."""
    if target.kind == "binary":
        return readout
    weights = np.zeros((target.n_logits, readout.weights.shape[1]))
    bias = np.full(target.n_logits, ABSENT)
    both = len(present) == 2 and len(readout.bias) == 1
    weights[present] = np.concatenate([-readout.weights, readout.weights]) / 2 if both else readout.weights
    bias[present] = np.concatenate([-readout.bias, readout.bias]) / 2 if both else readout.bias
    return Linear(weights, bias)


def _constant(target: Target, rows: Rows, present: np.ndarray) -> TargetModel:
    """Return the answer where train has one class only, or none: as likely as by Laplace's rule of succession."""
    n = len(rows.truth)
    likely = np.log(n + 1.0)
    if target.kind == "binary":
        sign = 0.0 if not len(present) else 1.0 if present[0] else -1.0
        return _unscaled(rows, _constant_scorer(rows, np.array([sign * likely])))
    bias = np.zeros(target.n_logits)
    bias[present] = likely
    return _unscaled(rows, _constant_scorer(rows, bias))


def _constant_scorer(rows: Rows, bias: np.ndarray) -> Linear:
    return Linear(np.zeros((len(bias), rows.values.shape[1])), bias.astype(np.float64))


def _unscaled(rows: Rows, scorer: Linear) -> TargetModel:
    n_columns = rows.values.shape[1]
    return TargetModel(np.zeros(n_columns), np.ones(n_columns), scorer, np.zeros(1), _identity(len(scorer.bias)))


def _identity_for_classes(n_classes: int) -> Linear:
    return _identity(1 if n_classes == 2 else n_classes)


def _identity(n: int) -> Linear:
    return Linear(np.eye(n), np.zeros(n))
