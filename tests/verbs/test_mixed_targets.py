"""Targets of three kinds in one net of images, the whole way: ordinal, continuous, binary, weighed by uncertainty."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.cli import main
from support.options import NET, quick

GRADES = ("low", "mid", "high")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on images of 60 patients with one bright band, whose width says grade, size and whether there is any."""
    folder, generator = tmp_path_factory.mktemp("bands"), np.random.default_rng(0)
    widths = generator.integers(0, 3, 120)
    for i, width in enumerate(widths):
        pixels = generator.normal(80, 15, (24, 24))
        pixels[:, 4 : 4 + 5 * width] += 100
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(120)], "patient_id": [f"p{i // 2}" for i in range(120)]})
    table["grade"], table["size"], table["band"] = np.array(GRADES)[widths], 5000.0 * widths, (widths > 0).astype(int)
    table.loc[::9, "grade"] = ""
    table.to_csv(folder / "labels.csv", index=False)
    (folder / "recipe.yaml").write_text("target_weights: uncertainty\nbatch_size: 8\n")
    targets = ["--target", "grade:ordinal:classes=low,mid,high", "--target", "size:continuous", "--target", "band"]
    how = ["--recipe", str(folder / "recipe.yaml"), "--baseline", "none", "--devices", "cpu"]
    how += quick(NET, size=24, epochs=12)
    assert main(["run", str(folder / "labels.csv"), "--out", str(folder / "run"), *targets, *how]) == 0
    return folder / "run"


@pytest.mark.slow
def test_each_is_learnt_though_one_counts_in_thousands(run):
    targets = json.loads((run / "evaluation/metrics.json").read_text())["targets"]
    assert targets["grade"]["quadratic_kappa"]["value"] > 0.6
    assert targets["size"]["r2"]["value"] > 0.5
    assert targets["band"]["auroc"]["value"] > 0.9


@pytest.mark.slow
def test_an_ordinal_target_is_told_in_words_in_a_table_and_in_the_report(run, capsys):
    images = run.parent
    assert main(["predict", str(run), str(images / "0.png")]) == 0
    assert "grade: " in capsys.readouterr().out
    told = pd.read_csv(run / "predictions/test.csv")
    shares = told[[f"grade={name}" for name in GRADES]].to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert told["grade"].tolist() == [GRADES[i] for i in shares.argmax(axis=1)]
    assert "kappa" in (run / "report.html").read_text()
