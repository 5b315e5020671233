"""Classical models of images, the whole way: trained, evaluated, asked; and one beside every net."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.cli import main
from support.options import QUICK
from support.studies import phantom_study

pytestmark = pytest.mark.slow

STRIPES = 80


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Images of 40 patients: stripes that lie, stand or are none; their contrast is a number to be told."""
    folder, generator, rows = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0), []
    grid = np.mgrid[:48, :48]
    for i in range(STRIPES):
        kind, contrast = i % 3, generator.uniform(20, 60)
        wave = np.sin(2 * np.pi * (grid[kind % 2] + generator.uniform(0, 8)) / 8) if kind < 2 else 0.0
        pixels = 128 + contrast * wave + generator.normal(0, 10, (48, 48))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        rows.append(
            (f"{i}.png", f"p{i // 2}", ("lying", "standing", "none")[kind], int(kind < 2), contrast * (kind < 2))
        )
    table = pd.DataFrame(rows, columns=["path", "patient_id", "kind", "striped", "contrast"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def run(stripes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "hog"
    targets = ["--target", "kind:classes=lying,none,standing", "--target", "striped", "--target", "contrast:continuous"]
    options = ["--model", "hog+moments+forest", "--baseline", "sift-bow+logistic", "--workers", "1"]
    assert main(["run", str(stripes), "--out", str(folder), *targets, *options]) == 0
    return folder


def test_what_is_planted_is_told(run):
    targets = json.loads((run / "evaluation/metrics.json").read_text())["targets"]
    assert targets["kind"]["accuracy"]["value"] > 0.8
    assert targets["striped"]["auroc"]["value"] > 0.9
    assert targets["contrast"]["r2"]["value"] > 0.6


def test_the_baseline_stands_in_the_report_with_a_paired_difference(run):
    found = json.loads((run / "evaluation/baselines.json").read_text())["baselines"]
    assert [entry["name"] for entry in found] == ["mean", "sift-bow+logistic"]
    assert found[1]["metrics"]["targets"]["kind"]["accuracy"]["value"] > 0.6
    assert found[1]["difference"]["n_images"] > 0
    page = (run / "report.html").read_text()
    assert "sift-bow+logistic" in page
    assert "fitted in one step" in page


def test_an_image_alone_is_answered_as_it_was_among_the_others(run, stripes, tmp_path, capsys):
    tested = pd.read_csv(run / "predictions/test.csv")
    image = stripes.parent / tested["path"][0]
    out = tmp_path / "one.csv"
    assert main(["predict", str(run), str(image), "--out", str(out)]) == 0
    columns = [name for name in tested if name.endswith(".logit") or name == "contrast"]
    np.testing.assert_allclose(pd.read_csv(out)[columns].iloc[0], tested[columns].iloc[0].astype(float), rtol=1e-5)
    (tmp_path / "none.png").write_bytes(b"no image")
    assert main(["predict", str(run), str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err


def test_it_says_that_it_has_no_heat_maps(run, stripes, tmp_path, capsys):
    image = next(stripes.parent.glob("*.png"))
    assert main(["explain", str(run), str(image), "--out", str(tmp_path / "maps")]) == 2
    assert (
        "hog+moments+forest, is no net of images; heat maps, masks and export need one of images"
        in capsys.readouterr().err
    )


def test_a_training_is_not_repeated_where_it_is_done(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    noted = json.loads((copy / "manifest.json").read_text())
    noted["seconds"]["train"] = 12.3
    (copy / "manifest.json").write_text(json.dumps(noted))
    written = (copy / "model/weights.safetensors").stat().st_mtime_ns
    assert main(["train", "--resume", str(copy)]) == 0
    assert (copy / "model/weights.safetensors").stat().st_mtime_ns == written
    assert json.loads((copy / "manifest.json").read_text()) == noted
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"focusmap run --resume {copy}")


def test_a_net_is_shown_beside_a_fast_model_by_default(tmp_path):
    labels = phantom_study(tmp_path / "study", patients=14, images=42, size=32)
    assert main(["run", str(labels), "--out", str(tmp_path / "run"), *QUICK]) == 0
    found = json.loads((tmp_path / "run/evaluation/baselines.json").read_text())["baselines"]
    assert [entry["name"] for entry in found] == ["mean", "histogram+lbp+pyramid+logistic"]
    assert (tmp_path / "run/focus/index.csv").is_file()


@pytest.mark.parametrize(("patient", "known"), [("none", False), ("patient_id", True)])
def test_the_terminal_counts_patients_where_they_are_known(stripes, tmp_path, capsys, patient, known):
    said = ["--target", "striped", "--patient", patient, "--model", "moments+logistic", "--workers", "1"]
    assert main(["run", str(stripes), "--out", str(tmp_path / "run"), *said]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("rows ", "test: "))]
    assert len(lines) == 3
    assert ["patients" in line for line in lines] == [known] * 3
    metrics = json.loads((tmp_path / "again/metrics.json").read_text())
    assert metrics["clustered_by"] == ("patient" if known else "image")
