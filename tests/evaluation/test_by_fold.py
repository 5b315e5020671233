"""What each fold reaches by itself: the metrics of its rows alone, untouched by what other folds' models say."""

import numpy as np
import pandas as pd
import pytest

from focusmap.evaluation.by_fold import by_fold
from focusmap.evaluation.predictions import Predictions
from focusmap.statistics import auroc
from focusmap.study import Target, Task


def predictions_of(logits: np.ndarray, task: Task) -> Predictions:
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(logits))]})
    return Predictions(task, ids, logits, task.probabilities(logits))


def test_a_fold_whose_model_says_all_by_larger_numbers_ranks_as_well():
    random = np.random.default_rng(0)
    truth, folds = (random.random(90) < 0.4).astype(float), np.arange(90) % 3
    logits = truth + random.normal(size=90)
    moved = logits + 5 * folds
    task = Task((Target("mass"),))
    found, of_moved = (by_fold(predictions_of(x[:, None], task), truth[:, None], folds) for x in (logits, moved))
    alone = [auroc(truth[folds == k], logits[folds == k]) for k in range(3)]
    assert found == {"mass": {"metric": "auroc", "values": pytest.approx(alone), "mean": pytest.approx(np.mean(alone))}}
    assert of_moved == found
    assert auroc(truth, moved) < min(alone)


def test_a_fold_with_one_class_only_has_none_and_is_left_out_of_the_mean():
    truth, folds = np.array([0, 0, 0, 1, 0, 1.0]), np.array([0, 0, 1, 1, 2, 2])
    logits = np.array([0, 1, 0, 1, 1, 0.0])
    found = by_fold(predictions_of(logits[:, None], Task((Target("mass"),))), truth[:, None], folds)
    assert found["mass"] == {"metric": "auroc", "values": [None, 1.0, 0.0], "mean": 0.5}


def test_values_are_judged_by_r2_and_unknown_ones_are_left_out():
    truth, folds = np.array([1.0, 2.0, 3.0, np.nan, 5.0, 7.0]), np.array([0, 0, 0, 1, 1, 1])
    task = Task((Target("age", "continuous"),))
    found = by_fold(predictions_of(np.array([[1.0], [2.0], [3.0], [9.0], [7.0], [5.0]]), task), truth[:, None], folds)
    assert found["age"] == {"metric": "r2", "values": [1.0, -3.0], "mean": -1.0}
