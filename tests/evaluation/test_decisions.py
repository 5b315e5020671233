"""Acceptance and claims: right where patients are enough, silent where not, and seldom wrong."""

import numpy as np
import pytest

from focusmap.basics import InputError
from focusmap.evaluation.decisions import better_of, decide, parse_requirement
from focusmap.statistics import clustered_delong, paired_delong


def metrics_of(auroc, units=80):
    entry = {"kind": "binary", "n": 2 * units, "n_positive": units, "n_patients_rarest": units, "auroc": auroc}
    return {"n_images": 2 * units, "n_patients": 2 * units, "clustered_by": "patient", "targets": {"mass": entry},
            "mean": {"auroc": {**auroc, "n_targets": 1, "left_out": []}}}  # fmt: skip


UNCLEAR = "too few patients"


@pytest.mark.parametrize(
    ("limit", "is_upper", "decision"),
    [(0.7, False, "pass"), (0.8, False, UNCLEAR), (0.95, False, "fail"), (0.95, True, "pass"), (0.7, True, "fail")],
)
def test_a_requirement_is_decided_by_the_whole_interval(limit, is_upper, decision):
    required = parse_requirement(f"auroc={limit}", is_upper=is_upper)
    found = decide(metrics_of({"value": 0.85, "low": 0.78, "high": 0.9}), [required])
    assert found["decision"] == decision
    assert found["requirements"][0]["decision"] == decision


def test_so_many_patients_as_are_named_would_tell():
    auroc = {"value": 0.85, "low": 0.79, "high": 0.91}
    needed = decide(metrics_of(auroc), [parse_requirement("auroc=.80")])["requirements"][0]["n_patients_needed"]
    assert needed > 80
    shrink = np.sqrt(80 / (1.05 * needed))
    narrower = {"value": 0.85, "low": 0.85 - 0.06 * shrink, "high": 0.85 + 0.06 * shrink}
    assert decide(metrics_of(narrower, int(1.05 * needed)), [parse_requirement("auroc=.80")])["decision"] == "pass"


def test_all_must_pass_and_one_failure_fails():
    metrics = metrics_of({"value": 0.85, "low": 0.8, "high": 0.9})
    good, bad, unclear = (parse_requirement(f"mass/auroc={limit}") for limit in (0.7, 0.95, 0.84))
    assert decide(metrics, [good, good])["decision"] == "pass"
    assert decide(metrics, [good, unclear])["decision"] == "too few patients"
    assert decide(metrics, [good, unclear, bad])["decision"] == "fail"


def test_what_is_not_measured_cannot_be_required():
    metrics = metrics_of({"value": 0.85, "low": 0.8, "high": 0.9})
    with pytest.raises(InputError, match="Did you mean"):
        decide(metrics, [parse_requirement("aurocc=.8")])
    with pytest.raises(InputError, match="no target"):
        decide(metrics, [parse_requirement("masss/auroc=.8")])
    with pytest.raises(InputError, match="no requirement"):
        parse_requirement("auroc")
    with pytest.raises(InputError, match="--at-least"):
        decide(metrics, [])


def auroc_of(seed, n_patients, per_patient, distance):
    draw = np.random.default_rng(seed)
    truth = np.repeat(draw.random(n_patients) < 0.4, per_patient)
    own = np.repeat(draw.normal(size=n_patients), per_patient)
    score = np.sqrt(0.7) * own + np.sqrt(0.3) * draw.normal(size=len(truth)) + distance * truth
    return truth.astype(float), score, np.repeat(np.arange(n_patients), per_patient)


def test_a_model_that_just_misses_is_seldom_accepted():
    """At 500 sites the true AUROC is what is required: at most one pass in twenty is wrong."""
    distance, passed = 1.19, 0
    limit = 0.8  # the normal distribution function of 1.19 / sqrt(2)
    for seed in range(500):
        truth, score, patients = auroc_of(seed, 60, 3, distance)
        interval = clustered_delong(truth, score, patients)
        units = min(len(set(patients[truth == 1])), len(set(patients[truth == 0])))
        metrics = metrics_of({"value": interval.value, "low": interval.low, "high": interval.high}, units)
        passed += decide(metrics, [parse_requirement(f"auroc={limit}")])["decision"] == "pass"
    assert passed / 500 <= 0.05


def difference(value, low, high, metric="auroc", target="mass", n=100):
    return {"a": "one", "b": "two", "target": target, "metric": metric, "n_patients": n, "n_images": n, "p": None,
            "difference": {"value": value, "low": low, "high": high}}  # fmt: skip


def test_the_better_one_is_named_only_where_that_may_be_said():
    assert better_of([difference(0.1, 0.02, 0.18)])["better"] == "two"
    assert better_of([difference(-0.1, -0.18, -0.02)])["better"] == "one"
    assert better_of([difference(0.1, -0.02, 0.22)])["better"] is None
    assert better_of([difference(0.1, 0.02, 0.18, "mae")])["better"] == "one"
    assert better_of([difference(0.3, 0.1, 0.5), difference(0.0, -0.1, 0.1, target="mean")])["better"] is None
    assert better_of([difference(0.1, None, None)])["p_false"] is None
    assert better_of([difference(0.1, 0.0, 0.2, "log_loss")]) == {}


def test_of_two_models_that_are_alike_one_is_seldom_called_better():
    """600 pairs whose models differ by noise alone: a claim in at most 5 %."""
    claims = 0
    for seed in range(600):
        draw = np.random.default_rng(10**6 + seed)
        truth, score, patients = auroc_of(seed, 60, 2, 1.2)
        scores = [score + 0.7 * draw.normal(size=len(score)) for _ in range(2)]
        found = paired_delong(truth, scores[1], scores[0], patients).difference
        claims += better_of([difference(found.value, found.low, found.high, n=60)])["better"] is not None
    assert claims / 600 <= 0.05
