"""What decisions gain from a model, and whether its probabilities can be taken at their word.

Net benefit is that of Vickers and Elkin (Med Decis Making 26 (2006), 565-574): true positives less false positives,
each false one weighed by the odds of the probability from which one acts. Calibration intercept and slope are those of
Cox (Biometrika 45 (1958), 562-565), the smooth curve a logistic regression on a restricted cubic spline of the logit
(Van Calster et al., J Clin Epidemiol 74 (2016), 167-176).

Intervals count patients and not images: variances come from sums over each cluster (Liang and Zeger, Biometrika 73
(1986), 13-22), so that they cost one pass and no resampling.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from focusmap.basics import InputError, Reason
from focusmap.statistics import Clusters, Interval, Z
from focusmap.study import Task

Points: TypeAlias = Mapping[str, np.ndarray]

ACTED_ON = np.round(np.linspace(0.02, 0.98, 49), 2)
SMALLEST = 1e-6  # probabilities are moved this far from 0 and 1 before a logarithm of odds
FEWEST = 10  # of either outcome, for a smooth curve
KNOTS = (0.05, 0.35, 0.65, 0.95)
N_SHOWN = 41
MOST_STEPS, CONVERGED, LARGEST = 50, 1e-9, 50.0
INTERCEPT, SLOPE = "calibration_intercept", "calibration_slope"
METHOD = "cluster-robust normal"


def decision_points(truth: np.ndarray, probability: np.ndarray, clusters: Clusters) -> Points:
    """Return the decision curve of a model, and by how much it beats acting on all and on none.

    Parameters
    ----------
    truth, probability
        ``(n,)``: positive from 0.5 on, and calibrated probabilities.
    clusters
        The patients of the n images.

    Returns
    -------
    dict
        For each of the 49 probabilities ``acted_on`` from which one might act: ``net_benefit`` with ``low`` and
        ``high``, ``act_on_all``, and ``gain`` over the better of acting on all and on none, with ``gain_low``: the
        lower limit of that paired difference. Benefit is in true positives per image.
    """
    positive = (truth >= 0.5).astype(np.float64)
    columns = []
    for at in ACTED_ON:
        acting = positive - (1 - positive) * at / (1 - at)
        benefit = np.where(probability >= at, acting, 0.0)
        default = acting if acting.mean() > 0 else np.zeros_like(acting)
        value, error = _mean_and_error(benefit, clusters)
        gain, gain_error = _mean_and_error(benefit - default, clusters)
        columns.append((at, value, value - Z * error, value + Z * error, acting.mean(), gain, gain - Z * gain_error))
    names = ("acted_on", "net_benefit", "low", "high", "act_on_all", "gain", "gain_low")
    return dict(zip(names, np.array(columns).T, strict=True))


def _mean_and_error(values: np.ndarray, clusters: Clusters) -> tuple[float, float]:
    """Return the mean over images, and its standard error when clusters are drawn; NaN of a single one."""
    mean = float(values.mean())
    sums = clusters.sums((values - mean)[:, None])[0]
    n = np.unique(clusters.codes).size
    return mean, float(np.sqrt((sums**2).sum() * n / (n - 1)) / len(values)) if n > 1 else np.nan


def recalibration(truth: np.ndarray, probability: np.ndarray, clusters: Clusters) -> dict[str, Interval]:
    """Return ``calibration_intercept``, ideally 0, and ``calibration_slope``, ideally 1, each with its interval.

    The intercept is what must be added to all logits (slope 1) for the mean probability to be the share of positives:
    below 0 the model says too much. A slope below 1 says that its probabilities are too extreme.
    """
    if not len(truth):
        return dict.fromkeys((INTERCEPT, SLOPE), Interval.undefined(Reason("no-truth"), METHOD))
    logit = _logit(probability)
    ones = np.ones((len(truth), 1))
    level = _fitted(ones, truth, clusters, offset=logit)
    line = _fitted(np.column_stack([ones, logit]), truth, clusters)
    return {INTERCEPT: _interval(level, 0), SLOPE: _interval(line, 1)}


def smooth_calibration(truth: np.ndarray, probability: np.ndarray, clusters: Clusters) -> Points:
    """Return the smooth share of positives ``observed`` at ``predicted``, with ``low`` and ``high``.

    Empty below 10 positives or 10 negatives, and where the probabilities have too few values for a curve.
    """
    positive = truth >= 0.5
    logit = _logit(probability)
    knots = np.unique(np.quantile(logit, KNOTS)) if len(logit) else np.array([])
    if min(positive.sum(), (~positive).sum()) < FEWEST or len(knots) < len(KNOTS):
        return {}
    fitted = _fitted(_spline(logit, knots), truth, clusters)
    if fitted is None:
        return {}
    beta, covariance = fitted
    first, last = np.quantile(probability, (0.01, 0.99))
    predicted = np.linspace(first, last, N_SHOWN)
    rows = _spline(_logit(predicted), knots)
    centre, error = rows @ beta, np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows))
    limits = {"observed": centre, "low": centre - Z * error, "high": centre + Z * error}
    return {"predicted": predicted, **{name: _share(values) for name, values in limits.items()}}


def predictive_values(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float) -> dict[str, np.ndarray]:
    """Return PPV and NPV where a share `prevalence` of patients is positive, by Bayes' rule; NaN where undefined.

    >>> found = predictive_values(np.array([0.9]), np.array([0.9]), 0.01)
    >>> round(float(found["ppv_at_prevalence"][0]), 3)
    0.083
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
        ppv = sensitivity * prevalence / called
        npv = specificity * (1 - prevalence) / (1 - called)
    return {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}


def prevalences(task: Task, stated: Sequence[str]) -> dict[str, float]:
    """Return the prevalence of each binary target that ``SHARE`` or ``NAME=SHARE`` states.

    Raises
    ------
    InputError
        If a share is none between 0 and 1, or a name is missing among several targets, or unknown.
    """
    names = [target.name for target in task.targets if target.kind == "binary"]
    prevalence_of = {}
    for words in stated:
        name, _, share = words.rpartition("=")
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            raise InputError(f"--prevalence {words}: name one of {', '.join(names)}, as in {names[0]}=0.02."
                             if names else "--prevalence is of binary targets, and there are none.")  # fmt: skip
        try:
            prevalence_of[name] = float(share)
        except ValueError:
            prevalence_of[name] = np.nan
        if not 0 < prevalence_of[name] < 1:
            raise InputError(f"--prevalence {words}: {share!r} is no share between 0 and 1.")
    return prevalence_of


def _logit(probability: np.ndarray) -> np.ndarray:
    safe = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(safe) - np.log1p(-safe))


def _share(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -LARGEST, LARGEST))))


def _spline(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return ``(n, len(knots))``: 1, x, and the terms of a cubic spline that is straight beyond the outer knots."""
    last, before = knots[-1], knots[-2]

    def cubed(knot: float) -> np.ndarray:
        return np.asarray(np.maximum(x - knot, 0.0) ** 3)

    terms = [
        cubed(knot) - (cubed(before) * (last - knot) - cubed(last) * (before - knot)) / (last - before)
        for knot in knots[:-2]
    ]
    return np.column_stack([np.ones(len(x)), x, *(term / (last - knots[0]) ** 2 for term in terms)])


def _fitted(
    design: np.ndarray, truth: np.ndarray, clusters: Clusters, offset: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the coefficients of a logistic regression and their clustered covariance; None where there is no maximum.

    Newton's steps; there is no maximum where one outcome is absent or the two are separated.
    """
    beta = np.zeros(design.shape[1])
    for _ in range(MOST_STEPS):
        share = _share(design @ beta + offset)
        hessian = design.T @ (design * (share * (1 - share))[:, None])
        if np.linalg.matrix_rank(hessian) < len(beta):
            return None
        step = np.linalg.solve(hessian, design.T @ (truth - share))
        beta = beta + step
        if np.abs(step).max() < CONVERGED:
            break
    else:
        return None
    n = np.unique(clusters.codes).size
    if n < 2:
        return None
    scores = clusters.sums(design * (truth - share)[:, None])
    bread = np.linalg.inv(hessian)
    return beta, bread @ (scores @ scores.T) @ bread * n / (n - 1)


def _interval(fitted: tuple[np.ndarray, np.ndarray] | None, position: int) -> Interval:
    if fitted is None:
        return Interval.undefined(Reason("no-calibration-line"), METHOD)
    beta, covariance = fitted
    value, error = float(beta[position]), float(np.sqrt(covariance[position, position]))
    return Interval(value, value - Z * error, value + Z * error, METHOD)
