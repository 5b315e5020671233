"""Reproducing: a second training from a run's own files predicts the same, and what differs is found."""

from dataclasses import replace
from pathlib import Path

import pytest

import focusmap
from focusmap.basics import read_json
from focusmap.cli import main
from focusmap.evaluation import read_predictions, write_predictions
from focusmap.report import words_in
from focusmap.study import load_cohort
from support.studies import phantom_study
from support.synthetic_run import words_of

SIMPLE = ["--model", "histogram+logistic", "--workers", "1"]


def test_a_net_predicts_the_same_again_and_the_report_says_so(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = {path.name for path in trained.parent.iterdir()}
    assert main(["reproduce", str(trained), "--workers", "1"]) == 0
    assert "predictions are equal" in capsys.readouterr().out
    assert {path.name for path in trained.parent.iterdir()} == beside, "the second run is removed"
    found = read_json(trained / "reproduction.json")
    assert found["largest_difference"] == 0
    assert found["changed"] == []
    assert set(found["parts"]) == {"tune", "test"}  # type: ignore[arg-type]
    page = words_of(focusmap.report(trained).read_text(encoding="utf-8"))
    assert words_in("en")("provenance.equal", date=str(found["date"])[:10]) in page


def test_predictions_of_another_model_are_not_equal(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "predictions/test.csv"
    kept = read_predictions(path, load_cohort(trained).task)
    write_predictions(replace(kept, probabilities=kept.probabilities + 0.01), path)
    (trained / "manifest.json").write_text(
        (trained / "manifest.json").read_text().replace('"numpy": "', '"numpy": "0.')
    )
    (trained / "hashes.json").unlink()
    assert main(["reproduce", str(trained), "--out", str(tmp_path / "again"), "--workers", "1"]) == 3
    said = capsys.readouterr().out
    assert "NOT equal" in said
    assert "since then numpy was changed" in said
    assert read_json(trained / "reproduction.json")["largest_difference"] == pytest.approx(0.01)
    assert (tmp_path / "again/model/model.json").is_file()
    assert main(["reproduce", str(trained), "--out", str(tmp_path / "again"), "--workers", "1"]) == 2


def test_folds_and_the_label_file_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = phantom_study(tmp_path / "study")
    run = tmp_path / "run"
    assert main(["train", str(labels), "--out", str(run), "--folds", "3", *SIMPLE]) == 0
    labels.write_text(labels.read_text() + "\n")
    assert main(["reproduce", str(run), "--workers", "1"]) == 0, "the run has its own cohort"
    assert "since then labels was changed" in capsys.readouterr().out


def test_a_run_that_was_stopped_is_finished_first(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "predictions/tune.csv").unlink()
    assert main(["reproduce", str(trained)]) == 2
    assert "--resume" in capsys.readouterr().err
