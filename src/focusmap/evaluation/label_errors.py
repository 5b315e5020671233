"""Labels to look at again: confident learning on probabilities that no model has for what it learnt from.

Northcutt, Jiang and Chuang (J. Artif. Intell. Res. 70 (2021), 1373-1411), sections 3.1 and 3.2. Our own: the ranking is
by normalised margin, and the suspects are the off-diagonal of the confident joint.
"""

from dataclasses import dataclass

import numpy as np

from focusmap.basics import Json
from focusmap.study import Task

MOST_SHOWN = 20


@dataclass(frozen=True)
class Doubt:
    """A label that may be wrong.

    Parameters
    ----------
    row
        Among those that were looked at, from 0.
    given, suggested
        Classes: as the label file says, and as the features do.
    probability
        Of the class that is given, out of fold.
    margin
        That less the probability of the class that is suggested: the lower, the more doubtful.
    """

    row: int
    target: str
    given: str
    suggested: str
    probability: float
    margin: float

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON, without the row."""
        return {key: value for key, value in vars(self).items() if key != "row"}


def usual_confidence(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return ``(K,)``: the mean probability of each class among the rows that are given it; infinite where none is.

    >>> usual_confidence(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]), np.array([0, 0, 1])).tolist()
    [0.7, 0.7]
    """
    members = [probabilities[given == k, k] for k in range(probabilities.shape[1])]
    return np.array([own.mean() if len(own) else np.inf for own in members])


def confident_class(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return ``(N,)``: the likeliest of the classes whose usual confidence a row reaches, -1 where it reaches none.

    Parameters
    ----------
    probabilities, given
        ``(N, K)``, rows summing to one, and ``(N,)`` numbers of classes.
    """
    reached = probabilities >= usual_confidence(probabilities, given)
    return np.where(reached.any(axis=1), np.where(reached, probabilities, -1.0).argmax(axis=1), -1)


def suspects(probabilities: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are confidently of another class than given, the most doubtful first, and of which class."""
    confident = confident_class(probabilities, given)
    rows = np.flatnonzero((confident >= 0) & (confident != given))
    margins = probabilities[rows, given[rows]] - probabilities[rows, confident[rows]]
    order = rows[np.argsort(margins, kind="stable")]
    return order, confident[order]


def doubts(task: Task, probabilities: np.ndarray, truth: np.ndarray) -> list[Doubt]:
    """Return the labels that may be wrong, of all targets with classes, the most doubtful first.

    Parameters
    ----------
    probabilities, truth
        ``(N, L)`` and ``(N, T)``, NaN unknown; of a soft label the nearer class is what is given.
    """
    doubted = []
    for position, target in enumerate(task.targets):
        if not target.classes:
            continue
        of_target = probabilities[:, task.slice_of(target.name)]
        by_class = np.concatenate([1 - of_target, of_target], axis=1) if target.kind == "binary" else of_target
        known = np.flatnonzero(~np.isnan(truth[:, position]))
        cells = truth[known, position]
        given = (cells >= 0.5 if target.kind == "binary" else cells).astype(int)
        rows, suggested = suspects(by_class[known], given)
        for row, other in zip(rows, suggested, strict=True):
            mine = float(by_class[known[row], given[row]])
            margin = mine - float(by_class[known[row], other])
            names = target.classes[given[row]], target.classes[other]
            doubted.append(Doubt(int(known[row]), target.name, *names, mine, margin))
    return sorted(doubted, key=lambda doubt: doubt.margin)
