"""Tables without images, the whole way: models of several targets beside simple answers, and bad input."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import focusmap
import focusmap as verbs
from focusmap.basics import ModelError
from focusmap.cli import main
from focusmap.statistics import auroc
from support.models import unseal

pytestmark = pytest.mark.slow

TARGETS = ["--target", "after:continuous", "--target", "relapse", "--target", "grade:ordinal:classes=low,mid,high"]
COVARIATES = ["--covariate", "before", "--covariate", "age", "--covariate", "drug", "--covariate", "noise"]
STUDY = [*TARGETS, *COVARIATES, "--case", "eye", "--before", "after=before"]


def planted(n, seed):
    """Eyes of n / 2 patients: `after` follows `before` and drug, `relapse` drug and age, `grade` follows `after`."""
    generator = np.random.default_rng(seed)
    before, age = generator.normal(300, 60, n), generator.integers(40, 90, n)
    drug = generator.choice(["none", "old", "new"], n)
    effect = pd.Series(drug).map({"none": 60.0, "old": 0.0, "new": -60.0}).to_numpy()
    after = before + effect + generator.normal(0, 10, n)
    relapse = (effect / 60 + (age - 65) / 15 + generator.normal(0, 0.5, n) > 0).astype(float)
    relapse[::17] = np.nan
    columns = {
        "eye": [f"{seed}-{i}" for i in range(n)],
        "patient_id": [f"{seed}-p{i // 2}" for i in range(n)],
        "before": np.where(np.arange(n) % 11 == 5, np.nan, before.round(1)),
        "age": age,
        "drug": drug,
        "noise": generator.normal(size=n).round(3),
        "after": after.round(1),
        "relapse": relapse,
        "grade": np.array(["low", "mid", "high"])[np.digitize(after, (260, 340))],
    }
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "labels.csv"
    planted(240, 0).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(labels, tmp_path_factory):
    """A run of the default model, gradient boosting, in folds."""
    folder = tmp_path_factory.mktemp("runs") / "boosting"
    assert main(["run", str(labels), "--out", str(folder), "--folds", "3", *STUDY]) == 0
    return folder


def test_what_was_planted_is_found_out_of_fold(run):
    targets = json.loads((run / "evaluation/metrics.json").read_text())["targets"]
    assert targets["after"]["r2"]["value"] > 0.75
    assert targets["after"]["mae"]["value"] > 5, "in the target's own unit"
    assert targets["relapse"]["auroc"]["value"] > 0.85
    assert targets["grade"]["quadratic_kappa"]["value"] > 0.7
    assert targets["relapse"]["n"] == 240 - 15


def test_each_fold_is_told_by_itself(run):
    by_fold = json.loads((run / "evaluation/metrics.json").read_text())["by_fold"]
    assert {name: (entry["metric"], len(entry["values"])) for name, entry in by_fold.items()} == {
        "after": ("r2", 3), "grade": ("auroc", 3), "relapse": ("auroc", 3),
    }  # fmt: skip
    first = pd.read_csv(run / "folds/0/predictions/test.csv")
    truth = pd.read_csv(run / "cohort.csv").set_index("image_id")["relapse"].reindex(first["image_id"]).to_numpy()
    assert by_fold["relapse"]["values"][0] == pytest.approx(auroc(truth, first["relapse"].to_numpy()))
    assert "of each fold by itself" in (run / "report.html").read_text()


def test_the_simple_answers_stand_beside_it(run, labels):
    baselines = json.loads((run / "evaluation/baselines.json").read_text())["baselines"]
    found = {entry["name"]: entry for entry in baselines}
    assert list(found) == ["mean", "carried-forward", "logistic"]
    table = pd.read_csv(labels)
    known = table["before"].notna()
    carried = found["carried-forward"]
    assert list(carried["metrics"]["targets"]) == ["after"]
    assert carried["without_earlier_value"] == {"after": int((~known).sum())}
    own = json.loads((run / "evaluation/metrics.json").read_text())["targets"]["after"]["mae"]["value"]
    assert carried["difference"]["targets"]["after"]["mae"]["value"] == pytest.approx(
        own - carried["metrics"]["targets"]["after"]["mae"]["value"]
    )
    assert (table["after"] - table["before"])[known].abs().mean() == pytest.approx(
        carried["metrics"]["targets"]["after"]["mae"]["value"], rel=0.15
    )
    assert carried["difference"]["targets"]["after"]["mae"]["high"] < 0
    assert found["mean"]["metrics"]["targets"]["after"]["r2"]["value"] == pytest.approx(0, abs=0.05)
    page = (run / "report.html").read_text()
    assert "Comparison with simple baselines" in page
    assert "baseline value carried forward" in page
    assert "focusmap explain" not in page


def test_what_a_covariate_is_worth_is_what_was_planted(run):
    found = json.loads((run / "evaluation/importance.json").read_text())
    assert list(found) == ["before", "age", "drug", "noise"]
    worth = {name: entry["after"]["mae"] for name, entry in found.items()}
    assert max(worth["before"]["high"], worth["drug"]["high"]) < -10
    assert abs(worth["noise"]["value"]) < 2
    assert found["drug"]["relapse"]["auroc"]["low"] > 0
    assert found["age"]["relapse"]["auroc"]["low"] > 0
    assert "Importance of each covariate" in (run / "report.html").read_text()


def test_no_patient_is_in_two_folds_and_nothing_is_pickled(run):
    table = pd.read_csv(run / "cohort.csv").merge(pd.read_csv(run / "split.csv"), on="image_id")
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    kinds = {path.suffix for path in run.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".csv", ".yaml", ".safetensors", ".png", ".html", ".md"}


def test_predictions_are_the_same_in_any_company_and_strange_rows_are_flagged(run, tmp_path, capsys):
    asked = planted(12, 1).drop(columns=["after", "relapse", "grade"])
    asked.loc[0, "drug"], asked.loc[1, "age"] = "other", 200
    # No fold that tests or tunes on the highest value has learnt from it; another has.
    asked.loc[2, "noise"] = pd.read_csv(run / "cohort.csv")["noise"].max()
    asked.to_csv(tmp_path / "asked.csv", index=False)
    assert main(["predict", str(run), str(tmp_path / "asked.csv"), "--out", str(tmp_path / "all.csv")]) == 0
    said = capsys.readouterr().err
    assert "3 of 12 rows are flagged, 1 for a category and 2 for a number outside the training data" in said
    together = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
    assert together["flags"][:2].tolist() == ["drug other is not in train", "age 200 lies above train"]
    assert re.fullmatch(r"noise [\d.]+ lies above train of [12] of 3 models", together["flags"][2])
    asked[5:6].to_csv(tmp_path / "one.csv", index=False)
    assert main(["predict", str(run), str(tmp_path / "one.csv"), "--out", str(tmp_path / "alone.csv")]) == 0
    alone = pd.read_csv(tmp_path / "alone.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(alone, together[5:6].reset_index(drop=True))
    assert main(["predict", str(run / "model"), str(tmp_path / "one.csv")]) == 0
    assert "after: " in capsys.readouterr().out


def test_a_category_that_reads_like_another_flag_is_counted_as_what_it_is(run, tmp_path):
    asked = planted(12, 1)
    asked.loc[0, "drug"] = "dose lies below train; unlike the images of train in all"
    asked.to_csv(tmp_path / "asked.csv", index=False)
    request = verbs.PredictRequest((tmp_path / "asked.csv",), out=tmp_path / "all.csv")
    answer = verbs.predict(run, request)
    assert (answer.n_flagged, answer.n_unseen, answer.n_outside, answer.n_unlike) == (1, 1, 0, 0)
    told = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)["flags"]
    assert told[0] == "drug dose lies below train; unlike the images of train in all is not in train"


def test_a_packed_table_is_answered_and_a_packed_volume_is_none(run, tmp_path, capsys):
    planted(12, 1).to_csv(tmp_path / "asked.csv.gz", index=False)
    assert main(["predict", str(run), str(tmp_path / "asked.csv.gz"), "--out", str(tmp_path / "all.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "all.csv")) == 12
    (tmp_path / "scan.nii.gz").write_bytes((tmp_path / "asked.csv.gz").read_bytes())
    assert main(["predict", str(run), str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "no.csv")]) == 2
    assert "is a table model; give one table (.csv or .csv.gz)" in capsys.readouterr().err


def test_a_submission_has_the_columns_of_its_template(run, tmp_path, capsys):
    planted(6, 1).to_csv(tmp_path / "asked.csv", index=False)
    (tmp_path / "form.csv").write_text("Patient ID,Before,After,RELAPSE\n")
    command = ["predict", str(run), str(tmp_path / "asked.csv"), "--out"]
    assert main([*command, str(tmp_path / "all.csv")]) == 0
    assert main([*command, str(tmp_path / "form_filled.csv"), "--template", str(tmp_path / "form.csv")]) == 0
    told, filled = (pd.read_csv(tmp_path / name) for name in ("all.csv", "form_filled.csv"))
    assert list(filled) == ["Patient ID", "Before", "After", "RELAPSE"]
    np.testing.assert_allclose(filled[["After", "RELAPSE"]], told[["after", "relapse"]])
    assert filled["Patient ID"].tolist() == told["patient_id"].tolist()
    (tmp_path / "form.csv").write_text("eye,afters\n")
    assert main([*command, str(tmp_path / "no.csv"), "--template", str(tmp_path / "form.csv")]) == 2
    assert "asks for afters, which neither" in capsys.readouterr().err
    assert not (tmp_path / "no.csv").exists()


def test_a_table_from_elsewhere_is_evaluated(run, tmp_path):
    planted(60, 2).to_csv(tmp_path / "other.csv", index=False)
    assert main(["evaluate", str(run), str(tmp_path / "other.csv"), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/metrics.json").read_text())["targets"]["after"]["r2"]["value"] > 0.7


def test_a_table_net_learns_the_same_targets_and_is_compared(run, labels, tmp_path):
    folder = tmp_path / "net"
    settings = ["--folds", "3", "--model", "table-net", "--epochs", "25", "--baseline", "none", "--devices", "cpu"]
    assert main(["run", str(labels), "--out", str(folder), *STUDY, *settings]) == 0
    targets = json.loads((folder / "evaluation/metrics.json").read_text())["targets"]
    assert targets["after"]["r2"]["value"] > 0.5
    assert targets["relapse"]["auroc"]["value"] > 0.8
    assert main(["compare", str(run), str(folder), "--out", str(tmp_path / "compared")]) == 0
    model = focusmap.load_model(folder / "model")
    assert len(model.members) == 3


def test_a_model_of_other_arrays_is_refused(run):
    part = run / "folds/0/model"
    weights = part / "weights.safetensors"
    kept = weights.read_bytes()
    unseal(part)
    try:
        weights.write_bytes((run / "folds/1/model/weights.safetensors").read_bytes())
        with pytest.raises(ModelError, match=r"do not belong together|does not give the logits"):
            focusmap.load_model(part)
        weights.write_bytes(kept[:-50])
        with pytest.raises(ModelError, match="is damaged"):
            focusmap.load_model(part)
    finally:
        weights.write_bytes(kept)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ["--model", "small-residual"], "has no path column"),
        ({}, ["--model", "hog+svm"], "has no path column"),
        ({}, ["--model", "centroid"], "centroid tells classes apart; after is continuous"),
        ({}, ["--model", "logistic", "--tta"], "tta shows a net several views"),
        ({"noise": "x y z"}, [], r"labels.csv: every covariate \(noise\) is constant.*--covariate"),
        ({}, ["--recipe", "screen.yaml", "--model", "table-net"], "screen_negatives leaves rows out .* is a net"),
        ({"noise": [f"words {i}" for i in range(240)]}, [], "holds 240 different texts"),
        ({"noise": ["inf"] + ["1.5"] * 239}, [], "row 2: covariate noise 'inf' is not a finite number"),
        ({"noise": ["2024-01-31"] * 239 + ["31.01.2024"]}, [], "row 241: date noise '31.01.2024'"),
        ({"relapse": ["6"] + ["0", "1"] * 119 + ["0"]}, [], "Row 2 has '6'.*--missing relapse=6"),
        ({}, ["--missing", "relapse"], "two parts joined by '='"),
        ({}, ["--covariate", "age:colour"], "'colour' is not one of numeric"),
        ({}, ["--before", "after=befor"], "has no column 'befor'. Did you mean 'before'"),
        ({}, ["--before", "relapse=drug"], "row 2: drug '(new|old|none)' is not a number"),
    ],
)
def test_bad_input_is_one_message(tmp_path, capsys, change, options, message):
    import re

    planted(240, 0).assign(**change).to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "screen.yaml").write_text("screen_negatives: 0.9")
    options = [str(tmp_path / option) if option == "screen.yaml" else option for option in options]
    constant = change == {"noise": "x y z"}
    study = ["--covariate", "noise", *TARGETS] if constant else STUDY
    assert main(["train", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), *study, *options]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert "Traceback" not in said
    assert not (tmp_path / "run/model").exists()


def test_a_covariate_that_is_constant_on_train_is_left_out_and_named(tmp_path, capsys):
    parts = np.where(np.arange(240) < 200, "train", np.where(np.arange(240) < 220, "tune", "test"))
    table = planted(240, 0).assign(noise=(parts == "test").astype(int), split=parts)
    table.to_csv(tmp_path / "labels.csv", index=False)
    command = ["train", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), *STUDY, "--model", "logistic"]
    assert main(command) == 0
    assert "constant in the training set, and therefore excluded: noise" in capsys.readouterr().err


def test_cells_that_mean_not_known_are_taken_for_empty(tmp_path, capsys):
    table = planted(240, 0)
    table["relapse"] = ["6"] + ["0", "1"] * 119 + ["0"]
    table.to_csv(tmp_path / "labels.csv", index=False)
    command = ["audit", str(tmp_path / "labels.csv"), "--target", "relapse", "--missing", "relapse=6.0"]
    assert main([*command, "--out", str(tmp_path / "audit")]) == 0
    said = capsys.readouterr().out
    assert "row 2: relapse 6" not in said, "what the user has named is nothing to warn of"
    assert "unknown-labels: Not every case has every label (relapse: 1 case)" in said


DATA = Path(os.environ.get("FOCUSMAP_DATA", "no-data-here")) / "aptos2021_tabular"


@pytest.mark.skipif(not DATA.is_dir(), reason="FOCUSMAP_DATA names no folder")
def test_the_earlier_acuity_is_hard_to_better_and_the_other_targets_are_not(tmp_path):
    names = ("VA", "CST", "IRF", "SRF", "PED", "HRF")
    targets = [f"--target={name}{':continuous' * (name in ('VA', 'CST'))}" for name in (*names, "continue_injection")]
    covariates = [f"--covariate={name}" for name in ("gender", "age", "diagnosis", "anti_VEGF", "laterality")]
    before = [option for name in names for option in (f"--covariate=pre{name}", f"--before={name}=pre{name}")]
    study = ["--case=eye_id", "--missing=continue_injection=6", *targets, *covariates, *before]
    assert main(["run", str(DATA / "labels.csv"), *study, "--folds=5", "--out", str(tmp_path / "run")]) == 0
    evaluation = tmp_path / "run/evaluation"
    found = {e["name"]: e for e in json.loads((evaluation / "baselines.json").read_text())["baselines"]}
    carried = found["carried-forward"]["difference"]["targets"]
    assert carried["VA"]["mae"]["low"] > 0, "the model's error is larger"
    assert carried["CST"]["mae"]["high"] < 0
    assert all(carried[name]["auroc"]["low"] > 0 for name in ("IRF", "SRF", "PED", "HRF"))
    own = json.loads((evaluation / "metrics.json").read_text())["targets"]
    assert own["continue_injection"]["auroc"]["value"] > 0.84
