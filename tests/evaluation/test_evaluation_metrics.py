"""metrics.json: the promised keys, numbers equal to scikit-learn's, and words where there is no number."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as peer

from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions
from focusmap.study import Target, Task

BINARY = ["auroc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv"]
BINARY += ["f1", "log_loss", "brier", "ece"]
EFFUSION = Target("effusion")
LABEL = Target("label", "multiclass", ("normal", "benign", "malignant"))
GRADE = Target("grade", "ordinal", ("low", "middle", "high"))
THICKNESS = Target("thickness", "continuous")


def make_predictions(targets: tuple[Target, ...], logits: np.ndarray, n_patients: int = 40) -> Predictions:
    task = Task(targets)
    patients = np.arange(len(logits)) % n_patients
    ids = pd.DataFrame({"image_id": [f"i{i}" for i in range(len(logits))], "patient_id": [f"p{i}" for i in patients]})
    return Predictions(task, ids.assign(path=ids["image_id"]), logits, task.probabilities(logits))


def evaluate(predictions: Predictions, truth: np.ndarray, **options) -> dict:
    found = evaluate_predictions(predictions, truth, EvaluationOptions(n_resamples=100, **options))
    json.dumps(found, allow_nan=False)
    return found


def test_binary_metrics_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 120).astype(float)
    predictions = make_predictions((EFFUSION,), generator.normal(size=(120, 1)) + truth[:, None])
    found = evaluate(predictions, truth[:, None], thresholds={"effusion": 0.6}, split="tune")
    assert (found["split"], found["n_images"], found["n_patients"], found["clustered_by"]) == (
        "tune",
        120,
        40,
        "patient",
    )
    target, p = found["targets"]["effusion"], predictions.probabilities[:, 0]
    assert (target["kind"], target["positive"], target["n"], target["n_positive"]) == ("binary", "1", 120, truth.sum())
    assert (target["threshold"], target["threshold_source"]) == (0.6, "tune")
    assert target["confusion"] == peer.confusion_matrix(truth, p >= 0.6).tolist()
    expected = {
        "auroc": peer.roc_auc_score(truth, p),
        "average_precision": peer.average_precision_score(truth, p),
        "f1": peer.f1_score(truth, p >= 0.6),
        "log_loss": peer.log_loss(truth, p),
        "brier": peer.brier_score_loss(truth, p),
    }
    assert {name: target[name]["value"] for name in expected} == pytest.approx(expected)
    for name in BINARY:
        assert target[name]["low"] <= target[name]["value"] <= target[name]["high"], name
    assert target["auroc_delong"]["value"] == pytest.approx(expected["auroc"])
    assert found["mean"]["auroc"]["value"] == pytest.approx(expected["auroc"])


def test_without_a_threshold_one_half_is_used_and_said() -> None:
    found = evaluate(make_predictions((EFFUSION,), np.array([[1.0], [-1.0]])), np.array([[1.0], [0.0]]))
    assert found["targets"]["effusion"]["threshold"] == 0.5
    assert found["targets"]["effusion"]["threshold_source"] == "default"


def test_multiclass_metrics_equal_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 150)
    predictions = make_predictions((LABEL,), generator.normal(size=(150, 3)) + np.eye(3)[truth])
    target = evaluate(predictions, truth[:, None].astype(float))["targets"]["label"]
    p, called = predictions.probabilities, predictions.probabilities.argmax(axis=1)
    expected = {
        "auroc": peer.roc_auc_score(truth, p, multi_class="ovr"),
        "accuracy": peer.accuracy_score(truth, called),
        "balanced_accuracy": peer.balanced_accuracy_score(truth, called),
        "f1": peer.f1_score(truth, called, average="macro"),
        "log_loss": peer.log_loss(truth, p),
    }
    assert {name: target[name]["value"] for name in expected} == pytest.approx(expected)
    assert target["confusion"] == peer.confusion_matrix(truth, called).tolist()
    assert target["classes"] == ["normal", "benign", "malignant"]
    benign = target["per_class"]["benign"]
    assert benign["auroc"]["value"] == pytest.approx(peer.roc_auc_score(truth == 1, p[:, 1]))
    assert benign["sensitivity"]["value"] == pytest.approx(peer.recall_score(truth == 1, called == 1))


def test_ordinal_and_continuous_targets_stand_beside_binary_ones() -> None:
    generator = np.random.default_rng(2)
    grade, thickness = generator.integers(0, 3, 90), generator.normal(300, 40, 90)
    effusion = generator.integers(0, 2, 90)
    logits = np.column_stack([effusion - 0.5, np.eye(3)[grade] + generator.normal(size=(90, 3)), thickness + 5])
    predictions = make_predictions((EFFUSION, GRADE, THICKNESS), logits)
    found = evaluate(predictions, np.column_stack([effusion, grade, thickness]).astype(float))
    called = logits[:, 1:4].argmax(axis=1)
    kappa = peer.cohen_kappa_score(grade, called, weights="quadratic")
    assert found["targets"]["grade"]["quadratic_kappa"]["value"] == pytest.approx(kappa)
    assert found["targets"]["grade"]["mae"]["value"] == pytest.approx(np.abs(grade - called).mean())
    assert found["targets"]["thickness"]["mae"]["value"] == pytest.approx(5)
    assert found["targets"]["thickness"]["pearson"]["value"] == pytest.approx(1)
    assert found["mean"]["auroc"]["n_targets"] == 2


def test_a_label_of_one_class_is_null_with_a_reason_and_stays_out_of_the_mean() -> None:
    generator = np.random.default_rng(3)
    truth = np.column_stack([generator.integers(0, 2, 60), np.zeros(60)]).astype(float)
    found = evaluate(make_predictions((EFFUSION, Target("hernia")), generator.normal(size=(60, 2))), truth)
    hernia = found["targets"]["hernia"]
    assert hernia["auroc"]["value"] is None
    assert hernia["auroc"]["reason"] == "one class only: no row is positive"
    assert hernia["sensitivity"]["reason"] == "no row is positive"
    assert hernia["auroc_delong"]["value"] is None
    assert hernia["specificity"]["value"] is not None
    assert found["mean"]["auroc"]["left_out"] == ["hernia"]
    assert found["mean"]["auroc"]["value"] == found["targets"]["effusion"]["auroc"]["value"]


def test_a_perfect_label_widens_the_mean_by_what_resampling_does_not_see_of_it() -> None:
    generator = np.random.default_rng(3)
    truth = np.column_stack([generator.integers(0, 2, 60), np.arange(60) < 8]).astype(float)
    logits = np.column_stack([generator.normal(size=60) + truth[:, 0], truth[:, 1]])
    found = evaluate(make_predictions((EFFUSION, Target("hernia")), logits), truth)
    effusion, hernia, mean = (
        one["auroc"] for one in (found["targets"]["effusion"], found["targets"]["hernia"], found["mean"])
    )
    assert hernia["value"] == 1
    assert hernia["low"] < 0.7
    assert mean["low"] == pytest.approx((effusion["low"] + hernia["low"]) / 2)
    assert mean["high"] == pytest.approx((effusion["high"] + 1) / 2)


@pytest.mark.parametrize("target", [EFFUSION, LABEL, GRADE, THICKNESS])
def test_without_any_known_truth_every_metric_says_so(target: Target) -> None:
    predictions = make_predictions((target,), np.zeros((5, target.n_logits)))
    described = evaluate(predictions, np.full((5, 1), np.nan))["targets"][target.name]
    metrics = {name: value for name, value in described.items() if isinstance(value, dict) and "value" in value}
    assert metrics
    for name, metric in metrics.items():
        assert (metric["value"], metric["reason"]) == (None, "no row has a known reference value"), name


def test_a_class_without_images_is_named_and_left_out_of_macro_means() -> None:
    logits = np.eye(3)[[0, 1, 0, 1, 2, 0]] * 3.0
    target = evaluate(make_predictions((LABEL,), logits), np.array([[0.0, 1, 0, 1, 1, 0]]).T)["targets"]["label"]
    assert target["left_out"] == ["malignant"]
    assert target["balanced_accuracy"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    absent = target["per_class"]["malignant"]["auroc"]
    assert absent["reason"] == "one class only: no row is malignant"
    assert (absent["reason_code"], absent["reason_values"]) == ("one-class-none", {"name": "malignant"})


def test_a_perfect_and_a_constant_model() -> None:
    truth = np.tile([0.0, 1.0], 20)[:, None]
    perfect = evaluate(make_predictions((EFFUSION,), 100 * truth - 50), truth)["targets"]["effusion"]
    for name in ("auroc", "average_precision", "accuracy", "sensitivity", "ppv", "f1"):
        assert (perfect[name]["value"], perfect[name]["high"]) == (1, 1)
        assert perfect[name]["low"] < 1, name
    constant = evaluate(make_predictions((EFFUSION,), np.zeros((40, 1))), truth)["targets"]["effusion"]
    assert constant["auroc"]["value"] == 0.5
    assert constant["brier"]["value"] == 0.25
    assert constant["ece"]["value"] == 0


def test_unknown_rows_and_row_order_change_nothing() -> None:
    generator = np.random.default_rng(4)
    truth, logits = generator.integers(0, 2, 80).astype(float), generator.normal(size=(80, 1))
    predictions = make_predictions((EFFUSION,), logits)
    order = generator.permutation(80)
    shuffled = Predictions(
        predictions.task, predictions.ids.iloc[order], logits[order], predictions.probabilities[order]
    )
    a, b = evaluate(predictions, truth[:, None]), evaluate(shuffled, truth[order, None])
    for name in BINARY:
        for key in ("value", "low", "high"):
            assert a["targets"]["effusion"][name][key] == pytest.approx(b["targets"]["effusion"][name][key]), name


def test_without_patients_images_are_drawn_and_that_is_said() -> None:
    predictions = make_predictions((EFFUSION,), np.array([[1.0], [-1.0], [0.5]]))
    bare = Predictions(
        predictions.task, predictions.ids[["image_id", "path"]], predictions.logits, predictions.probabilities
    )
    found = evaluate(bare, np.array([[1.0], [0.0], [0.0]]))
    assert (found["clustered_by"], found["n_patients"]) == ("image", 3)


def test_soft_truth_is_decided_for_answers_and_whole_in_losses() -> None:
    generator = np.random.default_rng(3)
    truth, logits = generator.random((60, 1)), generator.normal(size=(60, 1))
    predictions = make_predictions((EFFUSION,), logits)
    soft = evaluate(predictions, truth)["targets"]["effusion"]
    hard = evaluate(predictions, (truth >= 0.5).astype(float))["targets"]["effusion"]
    for metric in ("auroc", "average_precision", "sensitivity", "specificity", "n_positive"):
        assert soft[metric] == hard[metric]
    y, p = truth[:, 0], predictions.of("effusion")[:, 0]
    assert soft["log_loss"]["value"] == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    assert soft["brier"]["value"] == pytest.approx(((p - y) ** 2).mean())


def simulated(n_patients: int, seed: int) -> tuple[Predictions, np.ndarray]:
    """One to three images per patient, half of the patients sick; patients differ in how hard they are."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_patients), rng.integers(1, 4, n_patients))
    sick = rng.permutation(np.arange(n_patients) % 2)[owner]
    logits = 2 * sick - 1 + rng.normal(size=n_patients)[owner] + rng.normal(size=len(owner))
    ids = pd.DataFrame({"image_id": [f"i{i}" for i in range(len(owner))], "patient_id": [f"p{i}" for i in owner]})
    task = Task((EFFUSION,))
    predictions = Predictions(
        task, ids.assign(path=ids["image_id"]), logits[:, None], task.probabilities(logits[:, None])
    )
    return predictions, sick[:, None].astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("n_patients", [20, 30, 50, 100])
def test_sensitivity_and_specificity_are_covered_in_small_studies(n_patients: int) -> None:
    """P(normal of variance 2 > -1) = 0.760; the share of 400 intervals has a standard error of 1.1 %."""
    covered = []
    for seed in range(200):
        found = evaluate_predictions(*simulated(n_patients, seed), EvaluationOptions())["targets"]["effusion"]
        covered += [found[name]["low"] <= 0.7602 <= found[name]["high"] for name in ("sensitivity", "specificity")]
        assert found["sensitivity"]["method"].startswith(("clustered Wilson", "Wilson over"))
    assert 0.93 <= np.mean(covered) <= 0.97


def test_two_patients_give_no_interval() -> None:
    truth = np.array([0, 1, 1, 0, 1, 0.0])[:, None]
    predictions = make_predictions((EFFUSION,), np.random.default_rng(0).normal(size=(6, 1)), n_patients=2)
    found = evaluate(predictions, truth)["targets"]["effusion"]
    for name in (*BINARY, "auroc_delong"):
        assert found[name]["low"] is None, name
        assert "too few patients" in found[name]["reason"], name
