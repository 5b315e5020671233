"""Differences are paired: what two models share cancels."""

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.evaluation.comparison import compare_predictions
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions
from focusmap.study import Target, Task

TASK = Task((Target("a"), Target("b"), Target("c", "multiclass", ("x", "y", "z"))))
OPTIONS = EvaluationOptions(n_resamples=200)


def make_models(n: int = 400) -> tuple[Predictions, Predictions, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = np.column_stack([generator.integers(0, 2, n), np.zeros(n), generator.integers(0, 3, n)]).astype(float)
    logits = generator.normal(size=(n, 5)) + TASK.label_truth(truth)
    patients = [str(i // 3) for i in range(n)]
    ids = pd.DataFrame({"image_id": [str(i) for i in range(n)], "patient_id": patients})
    worse = logits + generator.normal(size=logits.shape) * 0.5
    first, second = (Predictions(TASK, ids, shown, TASK.probabilities(shown)) for shown in (logits, worse))
    return first, second, truth


def test_differences_are_those_of_the_two_evaluations_and_narrower_than_unpaired() -> None:
    first, second, truth = make_models()
    found = compare_predictions(first, second, truth, (OPTIONS, OPTIONS))
    a, b = (evaluate_predictions(model, truth, OPTIONS) for model in (first, second))
    for target, metric in [("a", "auroc"), ("a", "brier"), ("c", "auroc"), ("c", "accuracy")]:
        alone = [e["targets"][target][metric] for e in (a, b)]
        paired = found["targets"][target][metric]
        assert paired["value"] == pytest.approx(alone[0]["value"] - alone[1]["value"])
        unpaired = sum((one["high"] - one["low"]) ** 2 for one in alone) ** 0.5
        assert paired["high"] - paired["low"] < unpaired
    assert found["targets"]["a"]["auroc_delong"]["value"] == pytest.approx(found["targets"]["a"]["auroc"]["value"])
    assert found["targets"]["b"]["auroc"]["value"] is None
    assert found["mean"]["auroc"]["left_out"] == ["b"]


def test_a_model_does_not_differ_from_itself() -> None:
    first, _, truth = make_models(60)
    found = compare_predictions(first, first, truth, (OPTIONS, OPTIONS))["targets"]["a"]
    assert {found[m][k] for m in ("auroc", "f1") for k in ("value", "low", "high")} == {0}


def test_a_difference_that_rests_on_one_patient_has_no_interval() -> None:
    first, second, truth = make_models(60)
    truth[:, 0] = 0
    truth[:3, 0] = 1
    found = compare_predictions(first, second, truth, (OPTIONS, OPTIONS))
    auroc = found["targets"]["a"]["auroc"]
    assert auroc["value"] is not None
    assert (auroc["low"], auroc["high"]) == (None, None)
    assert auroc["reason"] == "too few patients, or too few of a class, to resample"
    assert found["targets"]["a"]["accuracy"]["low"] is not None


def test_a_difference_that_no_resample_changes_has_no_interval() -> None:
    first, _, truth = make_models(60)
    truth[:, 1] = np.arange(60) // 3 % 2
    logits = np.repeat(truth[:, 1:2], 5, axis=1) * 8 - 4
    sure = Predictions(TASK, first.ids, logits, TASK.probabilities(logits))
    level = Predictions(TASK, first.ids, 0 * logits, TASK.probabilities(0 * logits))
    auroc = compare_predictions(sure, level, truth, (OPTIONS, OPTIONS))["targets"]["b"]["auroc"]
    assert auroc["value"] == 0.5
    assert auroc["low"] is None


def test_other_images_or_targets_are_refused() -> None:
    first, _, truth = make_models(30)
    other = Predictions(TASK, first.ids.iloc[::-1], first.logits, first.probabilities)
    with pytest.raises(InputError, match="same images"):
        compare_predictions(first, other, truth, (OPTIONS, OPTIONS))
