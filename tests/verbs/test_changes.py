"""Change targets (delta): the change is learnt, the value is said, and an unknown baseline value costs one row."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.study import Target, Task

pytestmark = pytest.mark.slow

COVARIATES = ["--covariate", "drug", "--covariate", "age", "--case", "eye"]
GAPS = [3, 40, 77]


def visits(n=120, seed=0):
    """Eyes of n / 2 patients whose thickness falls by what the drug does, whatever it was before."""
    generator = np.random.default_rng(seed)
    before, drug = generator.uniform(200, 900, n).round(), generator.choice(["none", "old", "new"], n)
    effect = pd.Series(drug).map({"none": 10.0, "old": -40.0, "new": -120.0}).to_numpy()
    table = pd.DataFrame({
        "eye": [f"{seed}-{i}" for i in range(n)],
        "patient_id": [f"{seed}-p{i // 2}" for i in range(n)],
        "drug": drug,
        "age": generator.integers(40, 90, n),
        "before": before,
        "fold": np.arange(n) // 2 % 3,
        "after": (before + effect + generator.normal(0, 8, n)).round(1),
        "dry": (effect < -20).astype(int),
    })  # fmt: skip
    table["change"] = table["after"] - table["before"]
    return table.astype({"before": object})


def gaps(table):
    """Return the table with some baseline values unknown; their changes are unknown then."""
    return table.assign(
        before=table["before"].mask(table.index.isin(GAPS)), change=table["change"].mask(table.index.isin(GAPS))
    )


def trained(folder, table, *options):
    """Return what a run's test predictions are, by row; its folds tune whole, whatever the target."""
    table.to_csv(folder / "labels.csv", index=False)
    command = ["train", str(folder / "labels.csv"), "--out", str(folder / "run"), "--devices", "cpu", "--split", "fold"]
    command += ["--patient", "none"]
    assert main([*command, *options, "--force"]) == 0
    return pd.read_csv(folder / "run/predictions/test.csv").set_index("image_id")


@pytest.mark.parametrize("model", ["logistic", "gradient-boosting", "table-net"])
def test_a_change_is_learnt_as_a_column_of_changes_is_and_told_as_the_value(tmp_path, model):
    table = gaps(visits())
    options = ["--target", "dry", *COVARIATES, "--model", model, "--epochs", "3"]
    told = trained(tmp_path, table, "--target", "after:delta=before", *options)
    by_hand = trained(tmp_path, table, "--target", "change:continuous", *options)
    known = table.set_index("eye")["before"].reindex(told.index).astype(float)
    np.testing.assert_allclose(told["after"], by_hand["change"] + known, rtol=1e-6)
    np.testing.assert_allclose(told["dry"], by_hand["dry"], rtol=1e-6)
    assert told["after"].isna().sum() == len(GAPS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes")
    gaps(visits()).to_csv(folder / "labels.csv", index=False)
    study = ["--target", "after:delta=before", "--target", "dry", *COVARIATES, "--covariate", "before"]
    command = ["run", str(folder / "labels.csv"), "--out", str(folder / "run"), "--folds", "3", "--model", "logistic"]
    assert main([*command, *study]) == 0
    return folder / "run"


def test_an_unknown_earlier_value_costs_that_target_of_that_row_alone(run):
    targets = json.loads((run / "evaluation/metrics.json").read_text())["targets"]
    assert targets["after"]["n"] == 120 - len(GAPS)
    assert targets["dry"]["n"] == 120
    assert targets["after"]["mae"]["value"] < 12, "in the value's own unit, with the noise that was planted"
    told = pd.read_csv(run / "predictions/test.csv", keep_default_na=False).set_index("image_id").loc[f"0-{GAPS[0]}"]
    assert told["after"] == ""
    assert "before is not known: no after" in told["flags"]


def test_carrying_the_earlier_value_forward_stands_beside_without_being_asked_for(run):
    baselines = json.loads((run / "evaluation/baselines.json").read_text())["baselines"]
    carried = next(entry for entry in baselines if entry["name"] == "carried-forward")
    assert carried["difference"]["targets"]["after"]["mae"]["high"] < 0
    assert carried["without_earlier_value"] == {"after": 0}, "rows without one are not scored"
    worth = json.loads((run / "evaluation/importance.json").read_text())
    assert abs(worth["before"]["after"]["mae"]["value"]) < 3, "the value that a change is added to is not shuffled"


def test_new_rows_are_told_values_and_a_submission_leaves_the_unknown_empty(run, tmp_path, capsys):
    asked = gaps(visits(60, 1)).drop(columns=["after", "change", "dry"])
    asked.to_csv(tmp_path / "asked.csv", index=False)
    (tmp_path / "form.csv").write_text("Eye,AFTER\n")
    command = ["predict", str(run), str(tmp_path / "asked.csv"), "--template", str(tmp_path / "form.csv")]
    assert main([*command, "--out", str(tmp_path / "told.csv")]) == 0
    told = pd.read_csv(tmp_path / "told.csv")
    off = (told["AFTER"] - visits(60, 1)["after"]).abs()
    assert off.max() < 45
    assert off.isna().sum() == 2, "rows 3 and 40 of 60"
    asked.loc[3:3].to_csv(tmp_path / "one.csv", index=False)
    assert main(["predict", str(run), str(tmp_path / "one.csv")]) == 0
    assert "after: not known" in capsys.readouterr().out


def test_learning_the_change_is_compared_with_learning_the_value(run, tmp_path):
    study = ["--target", "after:continuous", "--target", "dry", *COVARIATES, "--folds", "3", "--model", "logistic"]
    command = ["train", str(run.parent / "labels.csv"), "--out", str(tmp_path / "run"), *study, "--covariate", "before"]
    assert main(command) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert main(["compare", str(tmp_path / "run"), str(run), "--out", str(tmp_path / "compared")]) == 0
    rows = json.loads((tmp_path / "compared/compare.json").read_text())["differences"]
    (mae,) = [row["difference"] for row in rows if (row["target"], row["metric"]) == ("after", "mae")]
    assert mae["high"] < 0, "the value's coefficient of the baseline value is shrunk below 1, the change's is not"


def test_another_table_is_evaluated_in_the_values_own_unit(run, tmp_path):
    visits(60, 2).to_csv(tmp_path / "other.csv", index=False)
    assert main(["evaluate", str(run), str(tmp_path / "other.csv"), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/metrics.json").read_text())["targets"]["after"]["r2"]["value"] > 0.95


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    table = gaps(visits(60)).drop(columns="eye")
    generator = np.random.default_rng(0)
    table["path"] = [f"{i}.png" for i in table.index]
    for path, change in zip(table["path"], visits(60)["change"], strict=True):
        level = 128 + change / 2
        Image.fromarray(generator.normal(level, 20, (24, 24)).clip(0, 255).astype(np.uint8)).save(folder / path)
    return folder, table


@pytest.mark.parametrize("model", ["small-residual", "moments+logistic"])
def test_models_of_images_learn_changes_too(images, model, capsys):
    folder, table = images
    options = ["--model", model, "--size", "24", "--epochs", "1", "--weights", "none", "--workers", "1"]
    told = trained(folder, table, "--target", "after:delta=before", *options)
    run, labels = str(folder / "run"), str(folder / "labels.csv")
    assert main(["evaluate", run]) == 0
    assert main(["predict", run, labels, "--out", str(folder / "all.csv"), "--force"]) == 0
    everyone = pd.read_csv(folder / "all.csv").set_index("image_id")
    assert everyone["after"].isna().sum() == 2
    if model != "small-residual":
        assert (everyone["after"] - table.set_index("path")["after"]).abs().median() < 30
    assert main(["predict", run, str(folder / "0.png")]) == 2
    assert "give one label file with the column(s) before" in capsys.readouterr().err
    by_hand = trained(folder, table, "--target", "change:continuous", *options)
    known = table.set_index("path")["before"].reindex(told.index).astype(float)
    np.testing.assert_allclose(told["after"], by_hand["change"] + known, rtol=1e-4)


@pytest.mark.parametrize(
    ("target", "change", "message"),
    [
        ("after:delta=befor", {}, "has no column 'befor'. Did you mean 'before'"),
        ("dry:binary:delta=before", {}, "delta= is the change of a number, which has no classes"),
        ("after:delta=drug", {}, "row 2: drug '(new|old|none)' is not a number"),
        ("after:delta=before", {"before": ["inf"] + ["300"] * 119}, "row 2: before 'inf' is not a finite number"),
        ("after:delta=before", {"before": ""}, "has one known value only"),
    ],
)
def test_a_change_that_cannot_be_told_is_one_message(tmp_path, capsys, target, change, message):
    import re

    visits().assign(**change).to_csv(tmp_path / "labels.csv", index=False)
    command = ["train", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), "--model", "logistic"]
    assert main([*command, "--target", target, *COVARIATES]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert not (tmp_path / "run/model").exists()


def test_a_table_without_the_earlier_value_is_named(run, tmp_path, capsys):
    visits(6).rename(columns={"before": "befor"}).to_csv(tmp_path / "asked.csv", index=False)
    assert main(["predict", str(run), str(tmp_path / "asked.csv"), "--out", str(tmp_path / "told.csv")]) == 2
    said = capsys.readouterr().err
    assert "asked.csv lacks the column(s) before that predicted changes are added to." in said
    assert "Did you mean 'befor'? Columns: " in said
    assert not (tmp_path / "told.csv").exists()


def test_a_task_with_changes_is_written_and_read_back_equal():
    task = Task((Target("a"), Target("v", "continuous", baseline="v0")))
    assert Task.from_dict(task.to_dict()) == task
    assert [target.baseline for target in Task.from_dict(task.to_dict()).targets] == ["", "v0"]
    with pytest.raises(InputError, match="a change is one of numbers"):
        Target("a", baseline="a0")
