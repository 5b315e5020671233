"""Formulas over sums equal scikit-learn's over rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peer

from focusmap.statistics import formulas


def two_class_counts(truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    cells = [truth & called, ~truth & called, truth & ~called, ~truth & ~called]
    return np.array([[cell.sum()] for cell in cells], dtype=float)


def class_counts(truth: np.ndarray, called: np.ndarray, n: int) -> np.ndarray:
    return peer.confusion_matrix(truth, called, labels=range(n)).astype(float)[:, :, None]


def test_decisions_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, called = generator.random(200) < 0.3, generator.random(200) < 0.4
    found = formulas.confusion_metrics(two_class_counts(truth, called))
    expected = {
        "accuracy": peer.accuracy_score(truth, called),
        "balanced_accuracy": peer.balanced_accuracy_score(truth, called),
        "sensitivity": peer.recall_score(truth, called),
        "specificity": peer.recall_score(~truth, ~called),
        "ppv": peer.precision_score(truth, called),
        "npv": peer.precision_score(~truth, ~called),
        "f1": peer.f1_score(truth, called),
    }
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected)


def test_classes_equal_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    truth, called = generator.integers(0, 4, 150), generator.integers(0, 4, 150)
    confusion = class_counts(truth, called, 4)
    found = formulas.class_metrics(confusion, np.full(4, True))
    assert found["accuracy"][0] == pytest.approx(peer.accuracy_score(truth, called))
    assert found["balanced_accuracy"][0] == pytest.approx(peer.balanced_accuracy_score(truth, called))
    assert found["f1"][0] == pytest.approx(peer.f1_score(truth, called, average="macro"))
    kappa = peer.cohen_kappa_score(truth, called, weights="quadratic")
    assert formulas.quadratic_kappa(confusion)[0] == pytest.approx(kappa)
    second = formulas.confusion_metrics(formulas.one_vs_rest(confusion, 2))
    assert second["ppv"][0] == pytest.approx(peer.precision_score(truth == 2, called == 2))


@given(st.floats(-1e6, 1e6), st.integers(0, 100))
def test_continuous_metrics_equal_scikit_learn_wherever_zero_lies(shift: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=30) + shift
    predicted = truth + generator.normal(size=30)
    sums = formulas.moments(truth, predicted).sum(axis=0)[:, None]
    found = {name: values[0] for name, values in formulas.continuous_metrics(sums).items()}
    assert found["mae"] == pytest.approx(peer.mean_absolute_error(truth, predicted), abs=1e-8)
    assert found["rmse"] == pytest.approx(peer.root_mean_squared_error(truth, predicted), abs=1e-8)
    assert found["r2"] == pytest.approx(peer.r2_score(truth, predicted), abs=1e-6)
    assert found["pearson"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1], abs=1e-6)


def test_a_constant_truth_has_errors_and_no_correlation() -> None:
    sums = formulas.moments(np.full(5, 0.1), np.arange(5.0)).sum(axis=0)[:, None]
    found = formulas.continuous_metrics(sums)
    assert found["mae"][0] == pytest.approx(1.94)
    assert np.isnan(found["r2"][0])
    assert np.isnan(found["pearson"][0])


def test_calibration_bins_hold_equal_masses_and_keep_ties_together() -> None:
    probability = np.random.default_rng(2).random(1000)
    assert np.bincount(formulas.calibration_bins(probability)).tolist() == [100] * 10
    assert len(set(formulas.calibration_bins(np.full(7, 0.3)))) == 1


def test_calibration_error_of_bins_computed_one_by_one() -> None:
    generator = np.random.default_rng(3)
    probability, n = generator.random(200), 200
    outcome = (generator.random(n) < probability**2).astype(float)
    gaps = formulas.calibration_gaps(outcome, probability)
    order = np.argsort(probability)
    bins = np.array_split(order, 10)
    slow = sum(len(b) / n * abs(outcome[b].mean() - probability[b].mean()) for b in bins)
    assert np.abs(gaps.sum(axis=0)).sum() / n == pytest.approx(slow)
