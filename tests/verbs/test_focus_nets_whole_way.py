"""A focus-map net the whole way: files, report, single images; it outlines what was planted, from labels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import focusmap as verbs
from focusmap.api.workflow import DEMO_PIXELS, DEMO_RECIPE
from focusmap.cli import main
from focusmap.phantom import FINDINGS, PhantomOptions, make_phantom, write_phantom
from focusmap.study import read_cohort
from support.options import quick
from support.studies import phantom_study

pytestmark = pytest.mark.slow

QUICK = quick()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of 60 images of 15 patients, and a second label file where one class is named an image."""
    folder = tmp_path_factory.mktemp("study")
    labels = phantom_study(folder, patients=15, images=60, size=32)
    table = pd.read_csv(labels)
    first = table[list(FINDINGS)].fillna(0).assign(normal=0.5).idxmax(axis=1)
    table[["path", "patient_id"]].assign(label=first).to_csv(folder / "classes.csv", index=False)
    return labels


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    """A finished run of a net with FPN."""
    folder = tmp_path_factory.mktemp("runs") / "fpn"
    assert main(["run", str(study), "--out", str(folder), "--model", "small-residual-fpn", *QUICK]) == 0
    return folder


def test_a_run_leaves_maps_regions_cuts_and_says_how_many_masks_were_used(run):
    index = pd.read_csv(run / "focus/index.csv")
    assert set(index["method"]) == {"focus"}
    assert all((run / "focus" / path).is_file() for column in ("map", "overlay", "binary") for path in index[column])
    card = json.loads((run / "model/model.json").read_text())
    assert set(card["cuts"]) == set(FINDINGS)
    scores = json.loads((run / "focus/scores.json").read_text())
    assert scores["masks_used_for_tuning"] == sum(cut["n_masks"] for cut in card["cuts"].values()) > 0
    assert {"iou_at_cut", "dice_at_cut"} <= set(scores["methods"]["focus"])
    assert "pooling: lse" in (run / "recipe.yaml").read_text()
    assert f"Masks used for this: {scores['masks_used_for_tuning']}." in (run / "report.html").read_text()


def test_one_image_has_its_map_and_region_in_its_own_grid(run, study, tmp_path):
    image = tmp_path / "wide.png"
    Image.open(next((study.parent / "images").glob("*.png"))).resize((90, 50)).save(image)
    assert main(["explain", str(run), str(image), "--out", str(tmp_path / "out"), "--method", "focus"]) == 0
    row = pd.read_csv(tmp_path / "out/index.csv").iloc[0]
    heat_map = np.load(tmp_path / "out" / row["map"])["map"]
    assert heat_map.shape == (50, 90)
    assert Image.open(tmp_path / "out" / row["binary"]).size == (90, 50)


def test_other_methods_explain_a_focus_net_too(run, study, tmp_path):
    image = str(next((study.parent / "images").glob("*.png")))
    assert main(["explain", str(run), image, "--out", str(tmp_path / "out"), "--method", "gradcam"]) == 0
    index = pd.read_csv(tmp_path / "out/index.csv")
    assert set(index["method"]) == {"gradcam"}
    assert index["binary"].isna().all()


def test_trust_is_measured_in_the_maps_of_the_net_itself(run, study, tmp_path, capsys):
    labels, out = str(study), str(tmp_path / "out")
    few = ["--trust", "--trust-images", "2", "--trust-draws", "2", "--accept", "patient-across-splits"]
    assert main(["explain", str(run), labels, "--out", out, *few]) == 0
    trust = json.loads((tmp_path / "out/trust.json").read_text())
    assert list(trust["methods"]) == ["focus"]
    assert "focus" in capsys.readouterr().out


def test_trust_is_not_compared_with_a_net_that_has_no_focus_maps(run, study, tmp_path, capsys):
    plain = tmp_path / "plain"
    assert main(["train", str(study), "--out", str(plain), "--model", "small-residual", *QUICK]) == 0
    typed = ["explain", str(run), str(study), "--out", str(tmp_path / "out"), "--trust", "--against", str(plain)]
    assert main([*typed, "--accept", "patient-across-splits"]) == 2
    assert "has no focus maps to compare with" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_seeds_and_views_are_one_focus_map(study, tmp_path):
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text("ensemble: 2\ntta: true\nlayer_decay: 0.5\nsparsity: 0.1\n")
    typed = ["--model", "small-residual-evidence4", "--recipe", str(recipe), *QUICK]
    assert main(["run", str(study), "--out", str(run), *typed]) == 0
    cards = [json.loads((run / "model" / name / "model.json").read_text()) for name in ("", "members/0", "members/1")]
    assert all(set(card["cuts"]) == set(FINDINGS) for card in cards)
    index = pd.read_csv(run / "focus/index.csv")
    assert set(index["method"]) == {"focus"}
    for row in index[index["predicted"]].head(3).to_dict("records"):
        heat_map = np.load(run / "focus" / row["map"])["map"]
        region = np.asarray(Image.open(run / "focus" / row["binary"])) > 0
        np.testing.assert_array_equal(region, heat_map >= cards[0]["cuts"][row["target"]]["cut"])


def test_folds_keep_their_own_cuts_and_their_ensemble_has_cuts_of_all_tune_parts(study, tmp_path):
    run = tmp_path / "run"
    assert main(["run", str(study), "--out", str(run), "--folds", "3", "--model", "small-residual-fpn", *QUICK]) == 0
    folds = [json.loads((run / "folds" / str(k) / "model/model.json").read_text())["cuts"] for k in range(3)]
    cuts = json.loads((run / "model/model.json").read_text())["cuts"]
    for name in FINDINGS:
        assert cuts[name]["n_masks"] == sum(fold[name]["n_masks"] for fold in folds)
    scores = json.loads((run / "focus/scores.json").read_text())
    assert scores["masks_used_for_tuning"] == sum(cut["n_masks"] for fold in folds for cut in fold.values())
    assert "in fold 2" in (run / "report.html").read_text()


def test_classes_are_mapped_each_by_its_own_evidence_and_may_be_kept_small(study, tmp_path):
    (tmp_path / "recipe.yaml").write_text("sparsity: 0.1")
    run, classes = tmp_path / "run", str(study.parent / "classes.csv")
    assert main(["run", classes, "--out", str(run), "--model", "small-residual-evidence4",
                 "--recipe", str(tmp_path / "recipe.yaml"), *QUICK]) == 0  # fmt: skip
    card = json.loads((run / "model/model.json").read_text())
    assert card["architecture"]["classes"] == [[0, 4]]
    index = pd.read_csv(run / "focus/index.csv")
    assert (index.groupby("image_id")["predicted"].sum() == 1).all()
    maps = [np.load(run / "focus" / path)["map"] for path in index.loc[index["predicted"], "map"]]
    assert all(heat_map.min() >= 0 and heat_map.max() <= 1 for heat_map in maps)


@pytest.mark.parametrize(
    ("model", "recipe", "message"),
    [
        ("small-residual-fpm", "", "Did you mean 'small-residual-fpn'"),
        ("small-residual", "pooling: lse", "Try --model small-residual-fpn"),
        (
            "small-residual-fpn",
            "pooling: lsee",
            "pooling 'lsee' is not one of auto, average, max, lse, topk, attention",
        ),
        ("small-residual-fpn", "top_share: 0", "top_share must be above 0"),
        ("small-residual", "equivariance: 1", "equivariance is for focus maps"),
    ],
)
def test_a_recipe_without_a_net_costs_nothing(study, tmp_path, capsys, model, recipe, message):
    (tmp_path / "recipe.yaml").write_text(recipe)
    typed = ["--recipe", str(tmp_path / "recipe.yaml"), "--model", model, "--out", str(tmp_path / "run"), *QUICK]
    assert main(["run", str(study), *typed]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "store").exists()


def test_lesions_are_outlined_from_image_labels_alone(tmp_path: Path) -> None:
    labels = write_phantom(make_phantom(PhantomOptions(size=DEMO_PIXELS)), tmp_path / "study")
    options = verbs.RunOptions(recipe=replace(DEMO_RECIPE, model="small-residual-pan"))
    run = verbs.run(read_cohort(labels), tmp_path / "run", options)
    focus = json.loads((run.focus / "scores.json").read_text())["methods"]["focus"]
    assert focus["pointing_hit"]["value"] >= 0.95
    assert focus["dice_at_cut"]["value"] >= 0.6
