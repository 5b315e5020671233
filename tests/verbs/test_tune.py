"""The search for a recipe: by patient, resumable, each trial noted, and blind to the test part."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import focusmap
from focusmap.basics import InputError, MissingPartError
from focusmap.cli import main
from focusmap.fitting import draw_recipe, first_trial, make_inner_folds, split
from focusmap.study import Recipe
from support.options import QUICK
from support.studies import phantom_study

pytest.importorskip("optuna")
AGE = ("--covariate", "age")


def ages(folder: Path, *, swapped: bool = False) -> Path:
    """Write a table of ages that tell the label, with a declared split; `swapped` labels of test say the opposite."""
    rng = np.random.default_rng(0)
    label = np.arange(90) % 2
    part = np.repeat(["train", "tune", "test"], [50, 20, 20])
    age = (50 + 8 * label + rng.normal(0, 6, 90)).round()
    shown = np.where((part == "test") & swapped, 1 - label, label)
    rows = {"patient_id": [f"p{k}" for k in range(90)], "age": age, "label": shown, "split": part}
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "ages.csv", index=False)
    return folder / "ages.csv"


def tuned(labels: Path, out: Path, *more: str) -> pd.DataFrame:
    """Return the trials that the command notes."""
    assert main(["tune", str(labels), "--out", str(out), "--accept", "duplicate-across-splits", *more]) == 0
    return pd.read_csv(out / "trials.csv", dtype=str).drop(columns="seconds")


def test_a_search_goes_on_and_its_recipe_can_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, out = ages(tmp_path), tmp_path / "tuned"
    first = tuned(labels, out, "--trials", "2", *AGE)
    assert len(first) == 2
    more = tuned(labels, out, "--trials", "3", *AGE)
    assert len(more) == 3
    pd.testing.assert_frame_equal(more.iloc[:2], first)
    assert set(more["model"]) <= {"gradient-boosting", "logistic"}
    assert more["model"].iloc[0] == "gradient-boosting", "what a run would take comes first"
    whole = more[more["state"] == "whole"]
    folds = np.array([row.split("|") for row in whole["folds"]], float)
    assert folds.shape[1] == 3
    np.testing.assert_allclose(folds.mean(axis=1), whole["score"].astype(float), atol=1e-4)
    best = whole.iloc[int(whole["score"].astype(float).argmax())]
    recipe = focusmap.read_recipe(out / "recipe.yaml")
    assert recipe.model == best["model"]
    assert f"focusmap run {labels} --recipe {out}/recipe.yaml" in capsys.readouterr().out
    assert main(["train", str(labels), *AGE, "--recipe", str(out / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 0
    assert focusmap.read_recipe(tmp_path / "run/recipe.yaml").model == recipe.model
    assert main(["tune", str(labels), "--out", str(out), *AGE, "--seed", "1"]) == 2
    assert "holds trials of other rows or another recipe" in capsys.readouterr().err


def test_labels_of_the_test_part_change_nothing(tmp_path: Path) -> None:
    found = [
        tuned(ages(tmp_path / name, swapped=name == "swapped"), tmp_path / name / "out", "--trials", "2", *AGE)
        for name in ("as-they-are", "swapped")
    ]
    pd.testing.assert_frame_equal(*found)
    first, second = (tmp_path / name / "out/recipe.yaml" for name in ("as-they-are", "swapped"))
    assert first.read_bytes() == second.read_bytes()
    train = pd.read_csv(ages(tmp_path / "learnt"))
    train.loc[train["split"] != "test", "label"] = 1 - train.loc[train["split"] != "test", "label"]
    train.loc[train.index % 3 == 0, "label"] = 1
    train.to_csv(tmp_path / "learnt/ages.csv", index=False)
    other = tuned(tmp_path / "learnt/ages.csv", tmp_path / "learnt/out", "--trials", "2", *AGE)
    assert other["folds"].tolist() != found[0]["folds"].tolist(), "those of train and tune do"


def test_inner_folds_hold_no_row_of_test_and_part_no_patient(tmp_path: Path) -> None:
    cohort = focusmap.read_cohort(phantom_study(tmp_path, patients=24, images=72, size=28))
    options = focusmap.RunOptions()
    divided = split(cohort, options)
    pair = (divided.ids("train")[0], divided.ids("tune")[0])
    inner = make_inner_folds(cohort, divided, [pair], tmp_path, 0)
    assert not set(inner.rows.image_ids) & set(divided.ids("test"))
    assert set(inner.rows.image_ids) == {*divided.ids("train"), *divided.ids("tune")}
    owners = pd.DataFrame({"patient": inner.rows.patient_ids, "fold": inner.fold})
    assert owners.groupby("patient")["fold"].nunique().max() == 1
    fold = dict(zip(inner.rows.image_ids, inner.fold, strict=True))
    assert fold[pair[0]] == fold[pair[1]]
    for k, one in enumerate(inner.splits()):
        assert one.ids("tune") == [image_id for image_id in inner.rows.image_ids if fold[image_id] == k]


class Usual:
    """Draws what the first trial is told to."""

    def __init__(self, drawn: dict[str, object]) -> None:
        self.drawn = drawn

    def suggest_categorical(self, name, choices):  # type: ignore[no-untyped-def]
        assert self.drawn[name] in choices
        return self.drawn[name]

    def suggest_float(self, name, low, high, *, log):  # type: ignore[no-untyped-def]
        assert low <= self.drawn[name] <= high
        assert log
        return self.drawn[name]


def test_the_first_trial_is_the_recipe_as_it_is() -> None:
    recipe = Recipe(learning_rate=1e-3)
    models = ("small-residual", "histogram+logistic")
    drawn = Usual(dict(first_trial(recipe, models)))
    assert draw_recipe(drawn, recipe, models) == Recipe(model="small-residual", learning_rate=1e-3)


def test_without_optuna_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("focusmap.basics.installation.find_spec", lambda _: None)
    with pytest.raises(MissingPartError, match=r"focusmap tune.*pip install 'focusmap\[tune\]'"):
        focusmap.tune(focusmap.read_cohort(ages(tmp_path)), tmp_path / "out")


def test_less_than_one_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--trials is 0"):
        focusmap.tune(focusmap.read_cohort(ages(tmp_path)), tmp_path / "out", 0)


@pytest.mark.slow
def test_images_of_the_test_part_are_not_opened(tmp_path: Path) -> None:
    labels = phantom_study(tmp_path / "study", patients=24, images=60, size=28)
    rows = pd.read_csv(labels, dtype=str, keep_default_na=False)
    owners = rows["patient_id"].unique()
    part = dict(zip(owners, ["train"] * 16 + ["tune"] * 4 + ["test"] * 4, strict=True))
    rows.assign(split=rows["patient_id"].map(part)).to_csv(labels, index=False)
    more = ["--no-group-near-duplicates", "--trials", "2", *QUICK]
    as_it_is = tuned(labels, tmp_path / "first", *more)
    for path in rows.loc[rows["patient_id"].map(part) == "test", "path"]:
        (labels.parent / path).write_bytes(b"no image")
    blind = tuned(labels, tmp_path / "second", *more)
    pd.testing.assert_frame_equal(as_it_is, blind)
    assert {"learning_rate", "augmentation", "sampling"} <= set(blind)
