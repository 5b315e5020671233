"""Small colour images of everyday things and a MedMNIST colour set go from their files to a report."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.cli import main
from support.options import quick

QUICK = quick(size=0, epochs=3, more="--batch-size 16")
CLASSES = ("apple", "cloud", "pond")


def coloured(label: int, generator: np.random.Generator) -> np.ndarray:
    """A noisy 32 x 32 image whose middle has the colour of its class; all classes are equally bright."""
    pixels = generator.integers(60, 120, (32, 32, 3))
    top, left = generator.integers(4, 14, 2)
    pixels[top : top + 14, left : left + 14, label] += 110
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def natural(tmp_path_factory):
    """90 colour images in three classes, as a label file."""
    folder, generator, rows = tmp_path_factory.mktemp("natural"), np.random.default_rng(0), []
    for i in range(90):
        Image.fromarray(coloured(i % 3, generator)).save(folder / f"{i}.png")
        rows.append((f"{i}.png", CLASSES[i % 3]))
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.mark.slow
def test_natural_images_go_all_the_way(natural, tmp_path, capsys):
    run = tmp_path / "run"
    typed = ["run", str(natural), "--patient", "none", "--out", str(run), "--preset", "natural", *QUICK]
    assert main(typed) == 0
    assert "augmentation.mirror true" in capsys.readouterr().out
    recipe = (run / "recipe.yaml").read_text()
    assert "channels: 3" in recipe
    assert "mirror: true" in recipe
    values = json.loads((run / "evaluation/metrics.json").read_text())["targets"]["label"]
    assert values["classes"] == list(CLASSES)
    assert values["auroc"]["value"] > 0.8
    assert len(list((run / "focus/overlays").glob("*.png"))) == 3 * len(pd.read_csv(run / "predictions/test.csv"))
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_a_medmnist_colour_set_goes_all_the_way(tmp_path):
    generator, parts = np.random.default_rng(1), {}
    for name, n in (("train", 60), ("val", 18), ("test", 18)):
        labels = np.arange(n) % 3
        parts[f"{name}_images"] = np.stack([coloured(int(label), generator)[2:30, 2:30] for label in labels])
        parts[f"{name}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(tmp_path / "bloodmnist.npz", **parts)
    assert main(["convert", str(tmp_path / "bloodmnist.npz"), "--out", str(tmp_path / "set")]) == 0
    run = tmp_path / "run"
    options = ["--patient", "none", "--model", "small-residual", "--target", "label:multiclass", *QUICK]
    assert main(["run", str(tmp_path / "set/labels.csv"), "--out", str(run), *options]) == 0
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert metrics["n_images"] == 18
    assert "channels: 3" in (run / "recipe.yaml").read_text()
    assert "size: 28" in (run / "recipe.yaml").read_text()
