"""An autoencoder goes the whole way without a label, and what labels say changes nothing in it."""

import json

import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.images import read_image
from focusmap.statistics import auroc
from support.options import quick
from support.studies import phantom_study

QUICK = quick(epochs=2)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return phantom_study(folder, patients=16, images=48, size=40)


@pytest.fixture(scope="module")
def run(study):
    """A run on the study's images and patients alone."""
    table = pd.read_csv(study)
    bare = study.with_name("bare.csv")
    table[["path", "patient_id"]].to_csv(bare, index=False)
    folder = study.parent / "run"
    assert main(["run", str(bare), "--out", str(folder), "--model", "autoencoder", *QUICK]) == 0
    return folder


def test_a_label_file_without_labels_is_enough(run):
    history = pd.read_csv(run / "history.csv")
    assert history["tune_loss"].iloc[-1] < history["tune_loss"].iloc[0]
    table = pd.read_csv(run / "predictions/test.csv")
    assert (table["anomaly"] > 0).all()
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert metrics["targets"]["anomaly"]["mae"] == {
        **metrics["targets"]["anomaly"]["mae"], "value": None, "reason": "no row has a known reference value",
    }  # fmt: skip
    assert (run / "report.html").stat().st_size > 10_000


def test_labels_change_nothing(study, run):
    labelled = study.parent / "labelled"
    split = pd.read_csv(run / "split.csv", keep_default_na=False)
    table = pd.read_csv(study).assign(split=split["split"])
    table.to_csv(study.with_name("split.csv"), index=False)
    typed = [str(study.with_name("split.csv")), "--out", str(labelled), "--model", "autoencoder", *QUICK]
    assert main(["train", *typed]) == 0
    found, own = (pd.read_csv(folder / "predictions/test.csv") for folder in (labelled, run))
    pd.testing.assert_frame_equal(found, own)


def test_the_map_lies_on_the_images_own_pixels(study, run):
    index = pd.read_csv(run / "focus/index.csv")
    first = index.iloc[0]
    heat_map = np.load(run / "focus" / first["map"])["map"]
    assert set(index["method"]) == {"reconstruction"}
    assert heat_map.shape == read_image(study.parent / first["path"]).pixels.shape[1:]
    assert heat_map.min() >= 0
    scores = pd.read_csv(run / "predictions/test.csv").set_index("image_id")["anomaly"]
    np.testing.assert_allclose(index.set_index("image_id")["evidence"], scores[index["image_id"]], rtol=1e-3)


def test_its_score_is_compared_with_a_label_on_request(study, run, capsys):
    assert main(["evaluate", str(run), str(study), "--target", "nodule", "--accept", "patient-across-splits"]) == 0
    metrics = json.loads((run / "evaluation/labels/metrics.json").read_text())
    table = pd.read_csv(run / "evaluation/labels/predictions.csv")
    truth = pd.read_csv(study).set_index("path")["nodule"][table["path"]].to_numpy()
    assert metrics["targets"]["nodule"]["auroc"]["value"] == pytest.approx(auroc(truth, table["anomaly"].to_numpy()))
    assert "log_loss" not in metrics["targets"]["nodule"]
    assert "nodule" in capsys.readouterr().out


def test_its_score_may_be_compared_with_a_label_that_all_images_share(study, run):
    healthy, out = study.with_name("healthy.csv"), study.parent / "healthy"
    table = pd.read_csv(study)
    table[table["nodule"] == 0].to_csv(healthy, index=False)
    asked = ["evaluate", str(run), str(healthy), "--target", "nodule", "--out", str(out)]
    assert main([*asked, "--accept", "patient-across-splits"]) == 0
    auroc_of_one = json.loads((out / "metrics.json").read_text())["targets"]["nodule"]["auroc"]
    assert auroc_of_one["value"] is None


def test_it_is_said_in_words_and_its_encoder_starts_a_classifier(study, run, capsys):
    image = str(study.parent / pd.read_csv(study)["path"][0])
    assert main(["predict", str(run), image]) == 0
    assert "of the image's variance is not reconstructed, " in capsys.readouterr().out
    out, weights = study.parent / "started", str(run / "model/weights.safetensors")
    typed = [str(study), "--out", str(out), "--model", "small-residual", "--size", "32", "--epochs", "1"]
    assert main(["train", *typed, "--weights", weights, "--workers", "1"]) == 0
    card = json.loads((out / "model/model.json").read_text())
    assert card["training"]["start"] == "file"


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (["train", "labels.csv", "--model", "autoencoder", "--target", "nodule"], "focusmap evaluate RUN --target"),
        (["train", "bare.csv", "--model", "small-residual"], "Name the target with --target"),
        (["evaluate", "run", "--target", "nodule"], "has no column 'nodule'"),
        (["evaluate", "run", "labels.csv", "--target", "site:multiclass"], "is compared with binary labels"),
        (["explain", "run", "--method", "cam"], "use reconstruction"),
        (["explain", "run", "--trust"], "trust is measured in a classifier's maps"),
    ],
)
@pytest.mark.usefixtures("run")
def test_what_does_not_go_together_is_refused_in_one_message(study, typed, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(study.parent)
    out = ["--out", str(tmp_path / "out")] if typed[0] != "evaluate" else []
    assert main([*typed, *out]) == 2
    assert reason in capsys.readouterr().err
