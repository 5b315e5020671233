"""Curves pass through scikit-learn's points and enclose the areas that the metrics state."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as peer

from focusmap.evaluation.predictions import Predictions
from focusmap.evaluation.writing import MOST_POINTS, calibration_bins, curves, pr_points, roc_points
from focusmap.study import Target, Task


def sample(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    positive = generator.random(n) < 0.3
    return positive, np.round(generator.random(n) * 0.7 + 0.3 * positive, 2)


def test_roc_points_equal_scikit_learn() -> None:
    positive, score = sample()
    points = roc_points(positive, score)
    fpr, tpr, _ = peer.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(points["fpr"], fpr)
    np.testing.assert_allclose(points["tpr"], tpr)


def test_precision_recall_steps_enclose_the_average_precision() -> None:
    positive, score = sample()
    points = pr_points(positive, score)
    area = np.sum(np.diff(points["recall"], prepend=0) * points["precision"])
    assert area == pytest.approx(peer.average_precision_score(positive, score))


def test_calibration_bins_hold_all_images() -> None:
    positive, score = sample()
    bins = calibration_bins(positive.astype(float), score)
    assert bins["n"].sum() == 300
    assert (bins["n"] * bins["observed"]).sum() == pytest.approx(positive.sum())


def test_every_label_with_two_classes_has_curves_of_bounded_length() -> None:
    task = Task((Target("a"), Target("b"), Target("c", "multiclass", ("x", "y")), Target("d", "continuous")))
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(1200, 5))
    ids = pd.DataFrame({"image_id": [str(i) for i in range(1200)]})
    truth = np.column_stack(
        [generator.integers(0, 2, 1200), np.ones(1200), generator.integers(0, 2, 1200), logits[:, 4]]
    )
    drawn = curves(Predictions(task, ids, logits, task.probabilities(logits)), truth.astype(float))
    assert list(drawn) == ["a", "c=x", "c=y"]
    assert len(drawn["a"]["roc"]["fpr"]) == MOST_POINTS
    assert drawn["a"]["roc"]["tpr"][-1] == 1
    assert set(drawn["a"]["calibration"]) == {"mean_predicted", "observed", "n"}
