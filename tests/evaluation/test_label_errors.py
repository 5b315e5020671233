"""Label errors: the paper's definition, written out, and labels that were flipped on purpose."""

import numpy as np
import pytest

from focusmap.evaluation.label_errors import confident_class, doubts, suspects
from focusmap.study import Target, Task


def slow_joint(probabilities: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, list[tuple[float, int, int]]]:
    """Return C of equation 1 and the off-diagonal rows by margin, row by row."""
    n, k = probabilities.shape
    thresholds = []
    for j in range(k):
        own = [probabilities[i, j] for i in range(n) if given[i] == j]
        thresholds.append(sum(own) / len(own) if own else float("inf"))
    joint, found = np.zeros((k, k), int), []
    for i in range(n):
        reached = [j for j in range(k) if probabilities[i, j] >= thresholds[j]]
        if reached:
            best = max(reached, key=lambda j: probabilities[i, j])
            joint[given[i], best] += 1
            if best != given[i]:
                found.append((probabilities[i, given[i]] - probabilities[i, best], i, best))
    return joint, sorted(found)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_joint_and_the_ranking_are_those_of_the_paper(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    given = draw.integers(0, max(2, k - 1), 200)  # a class may be given to no row
    logits = draw.normal(size=(200, k)) + 1.5 * np.eye(k)[given]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    joint, found = slow_joint(probabilities, given)
    confident = confident_class(probabilities, given)
    assert [[((given == a) & (confident == b)).sum() for b in range(k)] for a in range(k)] == np.asarray(joint).tolist()
    rows, classes = suspects(probabilities, given)
    assert [(int(row), int(other)) for row, other in zip(rows, classes, strict=True)] == [f[1:] for f in found]


@pytest.mark.parametrize("seed", range(4))
def test_flipped_labels_are_found_far_above_chance(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = (draw.random(600) < 0.3).astype(float)
    shown = 1 / (1 + np.exp(-(3 * truth - 1.5 + draw.normal(size=600))))
    wrong = draw.choice(600, 30, replace=False)
    labels = truth.copy()
    labels[wrong] = 1 - labels[wrong]
    found = doubts(Task((Target("a"),)), shown[:, None], labels[:, None])
    assert sum(doubt.row in wrong for doubt in found[:20]) > 10, "by chance it would be one"
    assert [doubt.margin for doubt in found] == sorted(doubt.margin for doubt in found)
    assert all(doubt.given != doubt.suggested for doubt in found)


def test_unknown_labels_values_and_certain_ones_are_not_doubted() -> None:
    task = Task((Target("a"), Target("size", "continuous"), Target("c", "multiclass", ("x", "y"))))
    probabilities = np.array([[0.9, 3.0, 0.9, 0.1], [0.1, 5.0, 0.1, 0.9], [0.9, 4.0, 0.2, 0.8]])
    truth = np.array([[1.0, 3.0, 0.0], [0.0, 5.0, 1.0], [np.nan, 4.0, 0.0]])
    found = doubts(task, probabilities, truth)
    assert [(doubt.row, doubt.target, doubt.given, doubt.suggested) for doubt in found] == []
    many = doubts(task, np.tile(probabilities, (9, 1)), np.tile(truth, (9, 1)))
    assert {(doubt.row % 3, doubt.target) for doubt in many} <= {(2, "c")}
