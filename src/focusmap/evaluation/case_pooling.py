"""From images to cases: the slices of a volume, say, become one answer and one truth."""

from collections.abc import Callable

import numpy as np

from focusmap.basics import InputError, suggest
from focusmap.evaluation.predictions import Predictions
from focusmap.study import Target, Task

Pool = Callable[[np.ndarray], np.ndarray]
"""From logits ``(n, L)`` of n images to those of their case, ``(L,)``."""


def _attention(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=0))
    return np.asarray((weights * logits).sum(axis=0) / weights.sum(axis=0))


POOLS: dict[str, Pool] = {
    "mean": lambda logits: np.asarray(logits.mean(axis=0)),
    "max": lambda logits: np.asarray(logits.max(axis=0)),
    "attention": _attention,
}
"""``attention`` weighs each image by exp(its logit): between the mean and the max, without anything to be learnt."""


def pool_cases(predictions: Predictions, truth: np.ndarray, how: str) -> tuple[Predictions, np.ndarray]:
    """Return one row per case: its pooled logits with their probabilities, not calibrated, and its truth ``(N, T)``.

    A continuous value is the mean of the images', however the logits are pooled. A case has a binary label if any of
    its images has it; of other targets, its images must say the same.

    Parameters
    ----------
    predictions
        Of images, with their ``case_id``.
    truth
        ``(N, T)`` of the images, NaN unknown.
    how
        A key of `POOLS`.

    Raises
    ------
    InputError
        If there is no such pool, no case is known, or the truths of a case contradict each other.

    >>> import pandas as pd
    >>> from focusmap.study import Target
    >>> ids = pd.DataFrame({"image_id": ["a", "b"], "path": "", "patient_id": "p", "case_id": "v"})
    >>> slices = Predictions(Task((Target("tumour"),)), ids, np.array([[-1.0], [3.0]]), np.array([[0.3], [0.9]]))
    >>> found, truth = pool_cases(slices, np.array([[0.0], [1.0]]), "mean")
    >>> found.logits.tolist(), truth.tolist()
    ([[1.0]], [[1.0]])
    """
    if how not in POOLS:
        raise InputError(f"{how!r} is not one of {', '.join(POOLS)}.{suggest(how, POOLS)}")
    if "case_id" not in predictions.ids:
        raise InputError("the predictions name no cases. Train with --case COL, which says what belongs together.")
    task = predictions.task
    groups = predictions.ids.groupby("case_id", sort=False).indices
    logits = np.stack([_pooled(task, predictions.logits[rows], how) for rows in groups.values()])
    known = np.stack([_truth_of(task, truth[rows], str(case)) for case, rows in groups.items()])
    first = predictions.ids.iloc[[rows[0] for rows in groups.values()]].reset_index(drop=True)
    ids = first.assign(image_id=first["case_id"], path=first["case_id"])
    return Predictions(task, ids, logits, task.probabilities(logits)), known


def _pooled(task: Task, logits: np.ndarray, how: str) -> np.ndarray:
    pooled = POOLS[how](logits)
    for target in task.targets:
        if target.is_number:
            part = task.slice_of(target.name)
            known = logits[~np.isnan(logits[:, part]).any(axis=1), part]
            pooled[part] = known.mean(axis=0) if len(known) else np.nan
    return pooled


def _truth_of(task: Task, truth: np.ndarray, case: str) -> np.ndarray:
    return np.array([_agreed(target, truth[:, k], case) for k, target in enumerate(task.targets)])


def _agreed(target: Target, truth: np.ndarray, case: str) -> float:
    known = truth[~np.isnan(truth)]
    if not len(known):
        return float("nan")
    if target.kind != "binary" and np.ptp(known) > 0:
        raise InputError(f"case {case}: its images differ in {target.name}; a case has one.")
    return float(known.max())
