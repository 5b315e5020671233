"""An image of another kind is answered with a warning: in words, in the table, and when others are evaluated."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.cli import main
from focusmap.models import ood_of
from focusmap.models.ood import OOD_FILE
from support.options import quick
from support.studies import phantom_study

QUICK = quick()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kind")
    return phantom_study(folder, patients=160, images=160, size=32)


@pytest.fixture(scope="module", params=["small-residual", "histogram+logistic"])
def run(request, study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(study), "--out", str(folder), "--model", request.param, *QUICK]) == 0
    return folder


def turned(study, folder):
    """Write the study's images, the first five inverted, as those of other patients."""
    shutil.copytree(study.parent, folder)
    table = pd.read_csv(folder / study.name, dtype=str, keep_default_na=False)
    table["patient_id"] = "other" + table["patient_id"]
    table.to_csv(folder / study.name, index=False)
    for path in table["path"][:5]:
        with Image.open(folder / path) as image:
            inverted = Image.fromarray(255 - np.asarray(image))
        inverted.save(folder / path)
    return folder / study.name


def test_one_image_of_another_kind_is_flagged_in_words(run, study, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert main(["predict", str(run), str(tmp_path / "noise.png")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("  out of distribution: unlike the images of train in grey values and edges")
    assert [line.split("(")[0] for line in said[2:5]] == [
        f"  {n}: no answer " for n in ("nodule", "cavity", "consolidation")
    ]
    known = pd.read_csv(run / "cohort.csv")["path"].iloc[0]
    assert main(["predict", str(run), str(study.parent / known)]) == 0
    assert "out of distribution" not in capsys.readouterr().out


def test_a_table_and_an_evaluation_say_how_many(run, study, tmp_path, capsys):
    labels = turned(study, tmp_path / "turned")
    assert main(["predict", str(run), str(labels), "--out", str(tmp_path / "answers.csv")]) == 0
    answers = pd.read_csv(tmp_path / "answers.csv", keep_default_na=False)
    flagged = answers["flags"] != ""
    assert flagged[:5].all()
    assert flagged[5:].mean() < 0.1
    assert (answers.loc[flagged, "nodule.answer"] == "none").all()
    assert set(answers.loc[~flagged, "nodule.answer"]) <= {"yes", "no"}, "nothing was evaluated yet"
    assert list(answers).index("flags") < list(answers).index("nodule.answer")
    assert f"{flagged.sum()} of {len(answers)} images are out of distribution" in capsys.readouterr().err
    assert main(["evaluate", str(run), str(labels), "--out", str(tmp_path / "external")]) == 0
    assert json.loads((tmp_path / "external/metrics.json").read_text())["n_unlike"] == flagged.sum()
    assert "do not rely on their predictions" in capsys.readouterr().err


def test_a_model_that_does_not_know_says_so_and_flags_only_what_shows_nothing(run, study, tmp_path, capsys):
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "model" / OOD_FILE).unlink()
    image = next((study.parent / "images").iterdir())
    Image.new("L", (40, 24), 90).save(tmp_path / "grey.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "point.png")
    given = [str(tmp_path / "model"), str(image), str(tmp_path / "grey.png"), str(tmp_path / "point.png")]
    assert main(["predict", *given, "--out", str(tmp_path / "a.csv")]) == 0
    told = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    assert told["flags"].tolist() == ["", *["shows nothing (every pixel has the same value)"] * 2]
    assert told["nodule.answer"].tolist()[1:] == ["none", "none"] != [told["nodule.answer"][0]] * 2
    said = capsys.readouterr().err
    assert "2 of 3 images are out of distribution" in said
    assert "nothing was checked for being out of distribution" in said
    assert main(["predict", given[0], given[2]]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "  out of distribution: shows nothing (every pixel has the same value). No answer for this image."
    assert said[2].startswith("  nodule: no answer")


@pytest.mark.slow
def test_folds_together_know_the_train_of_each(study, tmp_path):
    folder = tmp_path / "folds"
    options = ["--folds", "3", "--model", "histogram+logistic", *QUICK]
    assert main(["run", str(study), "--out", str(folder), *options]) == 0
    for aspects in ood_of(folder).aspects.values():
        assert len(aspects) == 3
    assert [place for place in folder.rglob(OOD_FILE) if "baseline" in str(place)] == []
