"""The verdict: each of the five levels, from numbers alone; none for one lucky label, nor for what guessing gives."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.evaluation.comparison import compare_predictions
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions, from_probabilities
from focusmap.evaluation.verdict import USEFUL, Evidence, verdict_of_all, verdicts_of, with_verdict
from focusmap.study import Target, Task

NODULE = Task((Target("nodule"),))


def metric(value: float, half: float) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def study(*aurocs: tuple[float, float], n: int = 50, mean: tuple[float, float] | None = None) -> dict:
    targets = {
        f"t{i}": {"kind": "binary", "n_patients_rarest": n, "auroc": metric(*found)} for i, found in enumerate(aurocs)
    }
    return {"n_patients": 200, "targets": targets, "mean": {"auroc": metric(*(mean or aurocs[0]))}}


def simpler(value: float, half: float, name: str = "logistic", key: str = "auroc", **more: object) -> dict:
    return {"name": name, "difference": {"targets": {"t0": {key: metric(value, half)}}}, **more}


def level_of(evidence: Evidence) -> str:
    return verdict_of_all(verdicts_of(evidence), evidence.accepted).level


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(study((0.9, 0.05)), [simpler(0.1, 0.05)]), "useful"),
        (Evidence(study((0.9, 0.05)), [simpler(0.1, 0.2)]), "useful-not-better-than-simpler"),
        (Evidence(study((0.9, 0.05)), [simpler(0.4, 0.05, "mean")]), "useful-not-better-than-simpler"),
        (Evidence(study((0.9, 0.05)), [simpler(0.1, 0.05), simpler(0.0, 0.1, "probe", is_rung=True)]), "useful"),
        (Evidence(study((0.9, 0.05)), is_simple=True), "useful"),
        (Evidence(study((0.9, 0.05)), [simpler(0.0, 0.0)]), "useful"),
        (Evidence(study((0.55, 0.1)), [simpler(0.1, 0.05)]), "not-shown-useful"),
        (Evidence(study((0.21, 0.1)), [simpler(0.1, 0.05)]), "not-shown-useful"),
        (Evidence(study((1.0, 0.0), n=1), [simpler(0.1, 0.05)]), "cannot-be-judged"),
        (Evidence(study((0.9, 0.395), n=6), is_simple=True), "not-shown-useful"),
        (Evidence(study((0.9, 0.395), n=500), is_simple=True), "useful"),
        (Evidence(study((0.5, 0.0)), []), "broken"),
        (Evidence(study((0.9, 0.05)), [simpler(0.1, 0.05)], ["patient-across-splits"]), "broken"),
        (Evidence(study((0.9, 0.05)), [simpler(0.1, 0.05)], ["no-patient-column"]), "useful"),
    ],
)
def test_each_level_follows_from_the_numbers(evidence: Evidence, expected: str) -> None:
    assert level_of(evidence) == expected


def test_a_model_is_itself_the_simple_one_where_not_even_a_loss_differs() -> None:
    itself = simpler(0.0, 0.0)
    assert level_of(Evidence(study((1.0, 0.0)), [itself])) == "useful"
    itself["difference"]["targets"]["t0"]["log_loss"] = metric(-0.01, 0.01)
    assert level_of(Evidence(study((1.0, 0.0)), [itself])) == "useful-not-better-than-simpler"


def test_a_perfect_ranking_of_few_patients_is_not_widened_twice() -> None:
    perfect = {"value": 1.0, "low": 0.61, "high": 1.0, "method": "Wilson over 6 patients or pairs of patients"}
    metrics = {"targets": {"t0": {"kind": "binary", "n_patients_rarest": 6, "auroc": perfect}}}
    assert level_of(Evidence(metrics, is_simple=True)) == "useful"
    resampled = {**perfect, "method": "patient-clustered bootstrap"}
    metrics["targets"]["t0"]["auroc"] = resampled
    assert level_of(Evidence(metrics, is_simple=True)) == "not-shown-useful"


def test_one_lucky_label_of_fourteen_is_not_shown_useful_unless_their_mean_is() -> None:
    aurocs = [(0.62, 0.1), *[(0.5, 0.1)] * 13]
    assert level_of(Evidence(study(*aurocs, mean=(0.51, 0.03)))) == "not-shown-useful"
    found = with_verdict(Evidence(study(*aurocs, mean=(0.6, 0.03))))
    assert found["verdict"] == found["targets"]["t0"]["verdict"] == "useful-not-better-than-simpler"  # type: ignore[index,call-overload]
    assert found["targets"]["t1"]["verdict"] == "not-shown-useful"  # type: ignore[index,call-overload]
    assert found["verdict_reason"] == "1 of 14 labels are above guessing; no simpler model was compared"


def test_a_value_is_judged_by_r2_and_compared_by_its_error() -> None:
    values = {"targets": {"t0": {"kind": "continuous", "n": 60, "r2": metric(0.5, 0.2)}}}
    assert level_of(Evidence(values, [simpler(-3.0, 1.0, key="mae")])) == "useful"
    assert level_of(Evidence(values, [simpler(3.0, 1.0, key="mae")])) == "useful-not-better-than-simpler"
    constant = {"kind": "continuous", "n": 60, "r2": metric(-0.1, 0.1), "pearson": {"reason_code": "constant"}}
    assert level_of(Evidence({"targets": {"t0": constant}})) == "broken"


def drawn(generator: np.random.Generator, n_patients: int, strength: float, n_labels: int = 1) -> tuple:
    """Return predictions of three images per patient, alike within a patient, and their truth; strength 0: guessing."""
    patients = np.repeat(np.arange(n_patients), 3)
    truth = (generator.random((n_patients, n_labels)) < 0.4)[patients].astype(float)
    score = generator.normal(size=(n_patients, n_labels))[patients] + 0.5 * generator.normal(size=truth.shape)
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(patients))], "path": "", "patient_id": patients})
    task = Task(tuple(Target(f"t{k}") for k in range(n_labels)))
    return from_probabilities(task, ids, 1 / (1 + np.exp(-score - strength * truth))), truth


@pytest.mark.parametrize(("n_patients", "n_labels"), [(14, 1), (40, 1), (40, 8)])
def test_guessing_is_called_useful_in_at_most_one_study_of_twenty(n_patients: int, n_labels: int) -> None:
    """Patients agree with themselves: whoever resampled images would find far more."""
    generator, n_called, n_studies = np.random.default_rng(5), 0, 120
    for seed in range(n_studies):
        predictions, truth = drawn(generator, n_patients, 0.0, n_labels)
        metrics = evaluate_predictions(predictions, truth, EvaluationOptions(n_resamples=200, seed=seed))
        n_called += level_of(Evidence(metrics)) in USEFUL
    # One-sided 2.5 %, and three standard errors of 120 studies.
    assert n_called <= 0.025 * n_studies + 3 * np.sqrt(0.025 * 0.975 * n_studies)


def test_a_strong_model_is_useful_in_nearly_all_studies_of_forty_patients() -> None:
    generator, n_called = np.random.default_rng(6), 0
    for seed in range(20):
        predictions, truth = drawn(generator, 40, 3.0)
        settings = EvaluationOptions(n_resamples=200, seed=seed)
        weak = Predictions(predictions.task, predictions.ids, 0 * predictions.logits, predictions.probabilities[::-1])
        difference = compare_predictions(predictions, weak, truth, (settings, settings))
        metrics = evaluate_predictions(predictions, truth, settings)
        n_called += level_of(Evidence(metrics, [{"name": "logistic", "difference": difference}])) == "useful"
    assert n_called >= 18


def test_a_table_of_predictions_has_a_verdict_in_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, truth = drawn(np.random.default_rng(0), 40, 3.0)
    table = pd.DataFrame({
        "image_id": predictions.ids["image_id"], "patient_id": predictions.ids["patient_id"],
        "true_nodule": truth[:, 0], "prob_nodule": predictions.probabilities[:, 0],
    })  # fmt: skip
    table.to_csv(tmp_path / "table.csv", index=False)
    assert main(["evaluate", "--predictions", str(tmp_path / "table.csv"), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    assert next(iter(found)) == "verdict"
    assert found["verdict"] == found["targets"]["nodule"]["verdict"] == "useful-not-better-than-simpler"
    assert found["verdict_reason_code"] == "verdict-none-compared"
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "verdict: useful, not shown to be better than a simpler model"
