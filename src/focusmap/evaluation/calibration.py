"""From logits to decisions: temperature scaling, and the probability from which an image is called positive.

Both are fitted on tune; the temperature is one divisor of the logits of each target.
"""

from collections.abc import Callable, Mapping

import numpy as np

from focusmap.statistics import confusion_metrics
from focusmap.study import ANOMALY, DEFAULT_THRESHOLD, UNLABELLED, Target, Task, check_threshold_rule

RANGE = (0.05, 20.0)


def fit_temperatures(task: Task, logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return for each target the temperature that minimises the log loss (Guo et al., ICML 2017, section 4.2).

    Parameters
    ----------
    task
        Order of the columns.
    logits
        ``(N, L)`` raw logits of the tune images.
    truth
        ``(N, T)``, NaN unknown.

    Returns
    -------
    dict
        Above 1 where the net is too sure of itself. 1 for continuous targets, where one class only is known, and where
        the tune images are separated perfectly or not at all, so that no temperature within `RANGE` is best.
    """
    return {
        target.name: _fit(target, logits[:, task.slice_of(target.name)], truth[:, position])
        for position, target in enumerate(task.targets)
    }


def calibrated_probabilities(task: Task, logits: np.ndarray, temperatures: Mapping[str, float]) -> np.ndarray:
    """Return calibrated probabilities ``(N, L)``: those of logits / temperature; a target without one keeps its own."""
    return task.probabilities(np.asarray(logits, dtype=np.float64) / divisors(task, temperatures))


def divisors(task: Task, temperatures: Mapping[str, float]) -> np.ndarray:
    """Return what each logit is divided by ``(L,)``: its target's temperature; 1 for a continuous target."""
    scales = [
        np.full(target.n_logits, 1.0 if target.is_number else temperatures.get(target.name, 1.0))
        for target in task.targets
    ]
    return np.concatenate(scales)


def _fit(target: Target, logits: np.ndarray, truth: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(truth)
    if target.is_number or np.unique(truth[known]).size < 2:
        return 1.0
    label_truth = Task((target,)).label_truth(truth[known, None])
    known_logits = np.asarray(logits[known], dtype=np.float64)
    # Searched on a log scale, where halving and doubling are equal steps.
    minimum = minimize_scalar(
        lambda t: _log_loss(target, known_logits / np.exp(t), label_truth),
        bounds=tuple(np.log(RANGE)),
        method="bounded",
    )
    is_inside = RANGE[0] * 1.01 < np.exp(minimum.x) < RANGE[1] / 1.01
    return float(np.exp(minimum.x)) if is_inside else 1.0


def _log_loss(target: Target, logits: np.ndarray, truth: np.ndarray) -> float:
    from scipy.special import log_expit, log_softmax

    if target.kind == "binary":
        return float(-np.mean(truth * log_expit(logits) + (1 - truth) * log_expit(-logits)))
    return float(-np.mean(np.sum(truth * log_softmax(logits, axis=1), axis=1)))


USUAL_SHARE = 0.95

Criterion = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def choose_thresholds(task: Task, probabilities: np.ndarray, truth: np.ndarray, rule: str) -> dict[str, float]:
    """Return a threshold for each binary target; an image is positive where its probability is at least that.

    Parameters
    ----------
    task
        Order of the columns.
    probabilities, truth
        ``(N, L)`` calibrated, and ``(N, T)``, of the tune images; truth is positive from 0.5 on, NaN unknown.
    rule
        ``accuracy``, ``youden`` (sensitivity + specificity), ``f1``: the highest. ``sensitivity=0.9``: the highest
        specificity with at least that sensitivity; ``specificity=0.9`` the other way round. ``cost=5``: the lowest
        total cost where missing a positive costs 5 times what a false alarm does.

    Returns
    -------
    dict
        Thresholds lie midway between neighbouring probabilities; of equally good ones, the nearest to 0.5.
        0.5 where one class only is known. An anomaly score's is what 95 % of the tune images do not exceed.

    Raises
    ------
    InputError
        If there is no such rule.
    """
    criterion = parse_rule(rule)
    if task == UNLABELLED:
        return {ANOMALY.name: float(np.quantile(probabilities, USUAL_SHARE))} if len(probabilities) else {}
    return {
        target.name: _choose(probabilities[:, task.slice_of(target.name).start], truth[:, position], criterion)
        for position, target in enumerate(task.targets)
        if target.kind == "binary"
    }


def parse_rule(rule: str) -> Criterion:
    """Return the function that a rule's best threshold maximises; `InputError` names the known rules."""
    check_threshold_rule(rule)
    name, _, wanted = rule.partition("=")
    if name in PLAIN_RULES:
        return PLAIN_RULES[name]
    value = float(wanted)
    if name == "cost":
        return lambda metrics: -(metrics["false_positives"] + value * metrics["false_negatives"])
    held, maximised = name, HELD_RULES[name]
    # The allowance is for rounding: 9 of 10 must count as 0.9.
    return lambda metrics: np.where(metrics[held] >= value - 1e-9, metrics[maximised], -1.0)


PLAIN_RULES: dict[str, Criterion] = {
    "accuracy": lambda metrics: metrics["accuracy"],
    "youden": lambda metrics: metrics["balanced_accuracy"],
    "f1": lambda metrics: metrics["f1"],
}
HELD_RULES = {"sensitivity": "specificity", "specificity": "sensitivity"}


def _choose(probability: np.ndarray, truth: np.ndarray, criterion: Criterion) -> float:
    known = ~np.isnan(truth)
    positive, known_probability = truth[known] >= 0.5, probability[known]
    if not positive.any() or positive.all():
        return DEFAULT_THRESHOLD
    thresholds, table = _outcomes(positive, known_probability)
    counts = {"false_positives": table[1], "false_negatives": table[2]}
    gain = np.nan_to_num(criterion(confusion_metrics(table) | counts), nan=-1.0)
    best = thresholds[gain >= gain.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - DEFAULT_THRESHOLD))])


def _outcomes(positive: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every threshold between distinct probabilities, ``(K + 1,)``, and its ``(4, K + 1)`` tp, fp, fn, tn."""
    levels, at = np.unique(probability, return_inverse=True)
    lower, upper = np.append(0.0, levels), np.append(levels, np.nextafter(max(levels[-1], 1.0), 2.0))
    middle = (lower + upper) / 2
    thresholds = np.where(middle > lower, middle, upper)  # between neighbouring floats there is no middle
    positives, all_images = (np.bincount(at, weights=w, minlength=len(levels)) for w in (positive, np.ones(len(at))))
    tp = positive.sum() - np.append(0.0, np.cumsum(positives))
    called = len(at) - np.append(0.0, np.cumsum(all_images))
    fp, fn = called - tp, positive.sum() - tp
    return thresholds, np.stack([tp, fp, fn, len(at) - tp - fp - fn])
