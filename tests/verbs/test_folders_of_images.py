"""A folder per class goes the whole way: indexed, learnt as one class against the rest, and asked about its images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import focusmap
from focusmap.cli import main
from focusmap.models.neighbours import description, nearest, save_descriptions
from focusmap.study import Declaration, read_cohort

CLASSES = ("benign", "malignant", "normal")
OPTIONS = ["--patient", "none", "--model", "moments+logistic", "--workers", "1"]


def drawn(kind: str, generator: np.random.Generator) -> Image.Image:
    """Return an image of 40 x 40: noise, with stripes that are steep in one class, flat in another, absent in one."""
    y, x = np.mgrid[:40, :40]
    stripes = {"benign": np.sin(x), "malignant": 3 * np.sin(y), "normal": 0 * x}[kind]
    return Image.fromarray(np.clip(110 + 25 * stripes + generator.normal(0, 8, (40, 40)), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, generator = tmp_path_factory.mktemp("folder") / "images", np.random.default_rng(0)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for k in range(40):
            drawn(kind, generator).save(folder / kind / f"{kind}{k:02d}.png")
    return folder


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", str(images), "--out", str(folder), "--target", "label:positive=malignant", *OPTIONS]) == 0
    return folder


def test_a_folder_is_indexed_beside_the_run_and_one_class_stands_against_the_rest(run: Path) -> None:
    assert len(pd.read_csv(run.with_name("first_labels.csv"))) == 120
    (target,) = focusmap.load_model(run).task.targets
    assert (target.kind, target.classes) == ("binary", ("benign|normal", "malignant"))
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert 3 < metrics["targets"]["label"]["n_positive"] < 0.5 * metrics["n_images"], "one class of three"
    assert metrics["verdict"] == "useful-not-better-than-simpler"
    assert metrics["verdict_reason"].endswith("was not shown to be above histogram+lbp+pyramid+logistic")
    assert "benign, normal and malignant" not in (run / "report.html").read_text()


def test_a_class_that_is_none_is_refused(images: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = str(run.with_name("first_labels.csv"))
    asked = ["run", labels, "--images", str(images), "--target", "label:positive=malign", "--dry-run", *OPTIONS]
    assert main(asked) == 2
    assert (
        "positive=malign is not one of benign, malignant, normal. Did you mean 'malignant'?" in capsys.readouterr().err
    )


def test_every_other_class_is_negative(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(4), "grade": ["low", "Mid", "high", ""]})
    table.to_csv(tmp_path / "labels.csv", index=False)
    cohort = read_cohort(tmp_path / "labels.csv", Declaration(targets=("grade:positive=high",), patient="none"))
    np.testing.assert_array_equal(cohort.truth[:, 0], [0, 0, 1, np.nan])


def test_a_folder_with_a_table_or_one_that_was_indexed_is_said(
    images: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(images), "--out", str(run), *OPTIONS]) == 2
    assert "was indexed before, to" in capsys.readouterr().err
    assert main(["run", str(images), "--dry-run", *OPTIONS]) == 2
    assert "to index it: focusmap index" in capsys.readouterr().err
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images/labels.csv").write_text("path,label\n")
    assert main(["run", str(tmp_path / "images"), "--out", str(tmp_path / "run"), *OPTIONS]) == 2
    assert "is a folder with the table labels.csv. Give that:" in capsys.readouterr().err


def test_the_most_alike_images_of_train_are_named_with_their_labels(
    images: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = pd.read_csv(run / "split.csv").merge(pd.read_csv(run / "cohort.csv"), on="image_id")
    known = split[(split["split"] == "train") & (split["label"] == 1)].iloc[0]
    asked = images / known["path"].rpartition("images/")[2]
    assert main(["predict", str(run), str(asked)]) == 0
    said = capsys.readouterr().out.splitlines()[-2]
    assert said.startswith(f"  most similar in the training set: {known['image_id']} (malignant), ")
    assert said.count("(malignant)") == 3
    assert main(["predict", str(run), str(asked), "--alike", "0"]) == 0
    assert "similar" not in capsys.readouterr().out
    Image.new("L", (40, 40)).save(run / "blank.png")
    assert main(["predict", str(run), str(run / "blank.png")]) == 0
    assert "similar" not in capsys.readouterr().out
    found = focusmap.load_model(run).predict(asked).alike()
    assert found[0].image_id == known["image_id"]
    assert found[0].distance == pytest.approx(0, abs=1e-3)
    assert found[0].file.is_file()


def test_an_image_is_nearest_to_itself_however_bright(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    pixels = [generator.normal(size=(1, 20, 20)).cumsum(axis=2) for _ in range(9)]
    save_descriptions(np.stack([*map(description, pixels)]), [f"i{k}" for k in range(9)], tmp_path)
    (name, apart), *others = nearest(3 * pixels[4] + 10, tmp_path, 3)
    assert (name, round(apart, 5)) == ("i4", 0)
    assert all(distance > 0.2 for _, distance in others)
    assert nearest(pixels[0], tmp_path / "nowhere", 3) == []
