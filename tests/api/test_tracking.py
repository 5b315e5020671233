"""Tracking: what MLflow reads back is what the run's own files say, and nothing of images or patients."""

import math
from pathlib import Path

import pytest

from focusmap.api.tracking import FILES, named
from focusmap.basics import installation, read_json, read_table
from focusmap.cli import main
from support.options import QUICK
from support.studies import phantom_study

pytestmark = pytest.mark.slow

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked")
    labels = phantom_study(folder / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert main(["run", str(labels), "--out", str(folder / "first"), "--track", "mlflow", *QUICK]) == 0
    return folder / "first"


@pytest.fixture(scope="module")
def logged(tracked: Path):
    client = mlflow.MlflowClient(tracking_uri=(tracked.parent / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("labels")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def test_metrics_settings_and_the_verdict_are_those_of_the_run(tracked: Path, logged) -> None:
    _, run = logged
    metrics = read_json(tracked / "evaluation/metrics.json")
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.tags["verdict"] == metrics["verdict"]
    assert run.data.params["model"] == "small-residual"
    assert run.data.params["augmentation.shift"] == "0.08"
    n_known = 0
    for name, target in metrics["targets"].items():  # type: ignore[union-attr]
        for metric, entry in target.items():  # type: ignore[union-attr]
            value = entry.get("value") if isinstance(entry, dict) else None
            if value is not None:
                n_known += 1
                assert math.isclose(run.data.metrics[named(f"{name}/{metric}")], value)  # type: ignore[arg-type]
    assert n_known > 10


def test_the_course_of_the_training_has_a_step_per_epoch(tracked: Path, logged) -> None:
    client, run = logged
    history = read_table(tracked / "history.csv")
    steps = client.get_metric_history(run.info.run_id, "train_loss" if "train_loss" in history else history.columns[1])
    assert [one.step for one in steps] == list(range(len(history)))


def test_only_files_without_images_and_ids_are_logged(tracked: Path, logged) -> None:
    client, run = logged
    folder = Path(client.download_artifacts(run.info.run_id, ""))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"recipe.yaml", "evaluation/metrics.json", "model/model_card.md"} <= found <= set(FILES)
    patients = set(read_table(tracked / "cohort.csv")["patient_id"])
    logged_text = "".join((folder / name).read_text(encoding="utf-8") for name in found)
    assert not [name for name in patients if f'"{name}"' in logged_text]


def test_without_mlflow_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = phantom_study(tmp_path / "study")
    real = installation.find_spec
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "mlflow" else real(name))
    installation_cache = getattr(installation.require, "cache_clear", None)
    if installation_cache is not None:
        installation_cache()
    assert main(["run", str(labels), "--out", str(tmp_path / "run"), "--track", "mlflow", *QUICK]) == 2
    assert "mlflow" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
