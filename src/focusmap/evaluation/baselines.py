"""The simplest answers that a model must better: what is usual on train, and what was there before."""

import numpy as np

from focusmap.study.task import Target, Task


def usual_answer(task: Task, truth: np.ndarray) -> np.ndarray:
    """Return ``(L,)``: the mean of each target over the known truth ``(N, T)`` of train, or the share of each class.

    A target that train does not know at all is answered with 0, or with equal shares.

    >>> usual_answer(Task((Target("a"), Target("v", "continuous"))), np.array([[1.0, 3.0], [0.0, np.nan]]))
    array([0.5, 3. ])
    """
    answers = []
    for position, target in enumerate(task.targets):
        known = truth[~np.isnan(truth[:, position]), position]
        if target.kind in ("multiclass", "ordinal"):
            counts = np.bincount(known.astype(int), minlength=target.n_logits)
            answers.append(counts / counts.sum() if len(known) else np.full(target.n_logits, 1 / target.n_logits))
        else:
            empty = 0.0 if target.kind == "continuous" else 0.5
            answers.append(np.array([known.mean() if len(known) else empty]))
    return np.concatenate(answers)


def carried_forward(target: Target, before: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return ``(N, n)``: the earlier value as the answer, and the usual answer ``(N, n)`` where there is none.

    Parameters
    ----------
    target
        What is predicted.
    before
        ``(N,)``: its earlier truth, NaN where that is not known.
    usual
        ``(N, n)``, as `usual_answer` gives it.

    >>> carried_forward(Target("a"), np.array([1.0, np.nan]), np.array([[0.3], [0.3]])).tolist()
    [[1.0], [0.3]]
    """
    spelt = Task((target,)).label_truth(before[:, None])
    return np.where(np.isnan(before)[:, None], usual, spelt)
