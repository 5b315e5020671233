"""Temperature scaling: one divisor of the logits of each target, fitted on tune."""

from collections.abc import Mapping

import numpy as np

from focusmap.study.task import Target, Task

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


def apply(task: Task, logits: np.ndarray, temperatures: Mapping[str, float]) -> np.ndarray:
    """Return calibrated probabilities ``(N, L)``: those of logits / temperature; a target without one keeps its own."""
    return task.probabilities(np.asarray(logits, dtype=np.float64) / divisors(task, temperatures))


def divisors(task: Task, temperatures: Mapping[str, float]) -> np.ndarray:
    """Return what each logit is divided by ``(L,)``: its target's temperature; 1 for a continuous target."""
    scales = [
        np.full(target.n_logits, 1.0 if target.kind == "continuous" else temperatures.get(target.name, 1.0))
        for target in task.targets
    ]
    return np.concatenate(scales)


def _fit(target: Target, logits: np.ndarray, truth: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(truth)
    if target.kind == "continuous" or np.unique(truth[known]).size < 2:
        return 1.0
    spelt = Task((target,)).label_truth(truth[known, None])
    shown = np.asarray(logits[known], dtype=np.float64)
    # Searched on a log scale, where halving and doubling are equal steps.
    found = minimize_scalar(
        lambda t: _log_loss(target, shown / np.exp(t), spelt), bounds=tuple(np.log(RANGE)), method="bounded"
    )
    is_inside = RANGE[0] * 1.01 < np.exp(found.x) < RANGE[1] / 1.01
    return float(np.exp(found.x)) if is_inside else 1.0


def _log_loss(target: Target, logits: np.ndarray, truth: np.ndarray) -> float:
    from scipy.special import log_expit, log_softmax

    if target.kind == "binary":
        return float(-np.mean(truth * log_expit(logits) + (1 - truth) * log_expit(-logits)))
    return float(-np.mean(np.sum(truth * log_softmax(logits, axis=1), axis=1)))
