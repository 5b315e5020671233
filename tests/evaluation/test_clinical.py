"""Decision curves, calibration lines and predictive values, against slow versions of their formulas."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from focusmap.basics import InputError
from focusmap.evaluation.calibration import choose_thresholds
from focusmap.evaluation.clinical import (
    decision_points,
    predictive_values,
    prevalences,
    recalibration,
    smooth_calibration,
)
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions
from focusmap.evaluation.writing import curves
from focusmap.statistics import Clusters
from focusmap.study import Target, Task


def study(n_patients=200, per_patient=3, seed=0, steepness=1.0):
    """Return truth, probabilities and clusters; patients have a level of their own, and `steepness` is too extreme."""
    draw = np.random.default_rng(seed)
    level = np.repeat(draw.normal(size=n_patients), per_patient)
    logit = level + draw.normal(size=len(level)) - 0.5
    truth = (draw.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(float)
    probability = 1 / (1 + np.exp(-steepness * logit))
    return truth, probability, Clusters.of(np.arange(len(logit)) // per_patient)


def logit(probability):
    return np.log(probability / (1 - probability))


def test_net_benefit_is_true_positives_less_weighed_false_ones():
    truth, probability, clusters = study()
    points = decision_points(truth, probability, clusters)
    for at, benefit, of_all, gain in zip(
        points["acted_on"], points["net_benefit"], points["act_on_all"], points["gain"], strict=True
    ):
        called = probability >= at
        tp, fp, n = (called & (truth == 1)).sum(), (called & (truth == 0)).sum(), len(truth)
        assert benefit == pytest.approx(tp / n - fp / n * at / (1 - at))
        assert of_all == pytest.approx(truth.mean() - (1 - truth.mean()) * at / (1 - at))
        assert gain == pytest.approx(benefit - max(of_all, 0))


def test_net_benefit_is_that_of_dcurves():
    """As `dcurves.dca` of dcurves 1.1.7 gives it of the same numbers, of the model and of acting on all."""
    draw = np.random.default_rng(20)
    logits = draw.normal(size=200) - 0.5
    truth = (draw.random(200) < 1 / (1 + np.exp(-logits))).astype(float)
    points = decision_points(truth, np.round(1 / (1 + np.exp(-1.5 * logits)), 3), Clusters.single(200))
    at = [int(np.abs(points["acted_on"] - share).argmin()) for share in (0.1, 0.2, 0.3, 0.5, 0.7)]
    model = [0.290556, 0.222500, 0.120000, 0.020000, -0.016667]
    of_all = [0.294444, 0.206250, 0.092857, -0.270000, -1.116667]
    assert points["net_benefit"][at] == pytest.approx(model, abs=1e-6)
    assert points["act_on_all"][at] == pytest.approx(of_all, abs=1e-6)


def test_limits_of_net_benefit_are_those_of_drawing_patients():
    truth, probability, clusters = study(seed=1)
    points = decision_points(truth, probability, clusters)
    draw, position = np.random.default_rng(0), 9
    at = points["acted_on"][position]
    benefit = np.where(probability >= at, truth - (1 - truth) * at / (1 - at), 0.0).reshape(-1, 3)
    means = [benefit[draw.integers(0, len(benefit), len(benefit))].mean() for _ in range(4000)]
    half = (points["high"] - points["low"])[position] / 2
    assert half == pytest.approx(1.96 * np.std(means), rel=0.05)


def test_repeating_each_image_of_a_patient_narrows_no_limit():
    truth, probability, _ = study(per_patient=1)
    once = decision_points(truth, probability, Clusters.single(len(truth)))
    twice = decision_points(np.repeat(truth, 2), np.repeat(probability, 2), Clusters.of(np.arange(2 * len(truth)) // 2))
    np.testing.assert_allclose(once["low"], twice["low"])


def test_slope_and_intercept_are_those_of_maximum_likelihood():
    truth, probability, clusters = study(steepness=2.0)
    found = recalibration(truth, probability, clusters)
    line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(probability)[:, None], truth)
    assert found["calibration_slope"].value == pytest.approx(line.coef_[0, 0], abs=1e-4)
    level = brentq(lambda added: (1 / (1 + np.exp(-logit(probability) - added)) - truth).sum(), -9, 9)
    assert found["calibration_intercept"].value == pytest.approx(level, abs=1e-6)


def test_the_interval_of_the_slope_covers_its_true_value():
    covered = 0
    for seed in range(200):
        truth, probability, clusters = study(n_patients=100, seed=seed, steepness=2.0)
        slope = recalibration(truth, probability, clusters)["calibration_slope"]
        covered += slope.low <= 0.5 <= slope.high
    assert 0.91 <= covered / 200 <= 0.99


def test_what_cannot_be_fitted_has_a_reason():
    separated = recalibration(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), Clusters.single(4))
    assert separated["calibration_slope"].value is None
    assert separated["calibration_slope"].reason.code == "no-calibration-line"
    alone = recalibration(np.zeros(5), np.linspace(0.1, 0.9, 5), Clusters.single(5))
    assert alone["calibration_intercept"].value is None


def test_the_smooth_curve_follows_the_truth_and_is_absent_where_patients_are_few():
    truth, probability, clusters = study(n_patients=4000, steepness=2.0)
    points = smooth_calibration(truth, probability, clusters)
    expected = 1 / (1 + np.exp(-logit(points["predicted"]) / 2))
    np.testing.assert_allclose(points["observed"], expected, atol=0.03)
    assert np.mean((points["low"] <= expected) & (expected <= points["high"])) > 0.8
    assert smooth_calibration(truth[:12], probability[:12], Clusters.single(12)) == {}


def test_predictive_values_at_the_prevalence_of_the_sample_are_its_own():
    truth, probability, _ = study()
    called = probability >= 0.5
    sensitivity, specificity = called[truth == 1].mean(), (~called)[truth == 0].mean()
    found = predictive_values(np.array([sensitivity]), np.array([specificity]), truth.mean())
    assert found["ppv_at_prevalence"][0] == pytest.approx(truth[called].mean())
    assert found["npv_at_prevalence"][0] == pytest.approx(1 - truth[~called].mean())


def predictions_of(truth, probability, clusters):
    task = Task((Target("mass"),))
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(truth))], "patient_id": clusters.codes.astype(str)})
    return Predictions(task, ids, logit(probability)[:, None], probability[:, None])


def test_metrics_hold_them_all_with_limits():
    truth, probability, clusters = study()
    predictions = predictions_of(truth, probability, clusters)
    options = EvaluationOptions(n_resamples=200, prevalence=prevalences(predictions.task, ["0.01"]))
    found = evaluate_predictions(predictions, truth[:, None], options)["targets"]["mass"]
    assert found["prevalence"] == 0.01
    assert found["ppv_at_prevalence"]["low"] < found["ppv_at_prevalence"]["value"] < found["ppv"]["value"]
    assert found["calibration_slope"]["low"] < 1 < found["calibration_slope"]["high"]
    drawn = curves(predictions, truth[:, None])["mass"]
    assert len(drawn["decision"]["net_benefit"]) == 49
    assert len(drawn["calibration_curve"]["observed"]) == 41


@pytest.mark.parametrize("stated", ["2", "none", "other=0.1", "0"])
def test_a_prevalence_that_is_none_is_refused(stated):
    task = Task((Target("mass"),))
    with pytest.raises(InputError, match="--prevalence"):
        prevalences(task, [stated])


def test_a_rule_of_cost_weighs_what_is_missed():
    truth, probability, _ = study(n_patients=3000)
    task = Task((Target("mass"),))
    for ratio in (0.5, 4):
        threshold = choose_thresholds(task, probability[:, None], truth[:, None], f"cost={ratio}")["mass"]
        # Probabilities that mean what they say are best acted on from 1 / (1 + ratio) on.
        assert threshold == pytest.approx(1 / (1 + ratio), abs=0.08)
    with pytest.raises(InputError, match="cost"):
        choose_thresholds(task, probability[:, None], truth[:, None], "cost=-1")
