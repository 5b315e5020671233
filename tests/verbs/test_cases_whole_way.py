"""Cases of several images and a table, the whole way: train, evaluate, report, predict, and bad input."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.cli import main
from support.options import quick
from support.phantom_eyes import EyeOptions, make_eyes, write_eyes

pytestmark = pytest.mark.slow

TARGETS = ["--target", "CST:continuous", "--target", "relapse"]
STUDY = [*TARGETS, *[word for name in ("drug", "age", "acuity") for word in ("--covariate", name)]]
CASES = ["--case", "eye_id", "--view", "view"]
QUICK = quick(size=28, more="--batch-size 8")
NET = ["--model", "small-residual+table"]
VIEWS = ["post left-half", "post right-half", "pre left-half", "pre right-half"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Halves of a small study of eyes: four views a case, but one case has a view twice and one lacks some."""
    place = tmp_path_factory.mktemp("eyes")
    labels = write_eyes(make_eyes(EyeOptions(n_patients=10, size=28)), place / "exports")
    out = place / "halves"
    assert main(["convert", str(labels), "--parts", "left-half,right-half", "--out", str(out)]) == 0
    table = pd.read_csv(out / "labels.csv", dtype=str, keep_default_na=False)
    table = table[~((table["eye_id"] == "P001R") & table["view"].str.startswith("pre"))].reset_index(drop=True)
    table.loc[table["view"] == "pre right-half", "acuity"] = ""
    table.loc[(table["patient_id"] == "P002") & (table["view"] == "pre right-half"), "view"] = "pre left-half"
    patients = table["patient_id"]
    split = np.where(patients < "P007", "train", np.where(patients < "P009", "tune", "test"))
    table.assign(split=split).to_csv(out / "labels.csv", index=False)
    return out


@pytest.fixture(scope="module")
def run(folder):
    assert main(["run", str(folder / "labels.csv"), "--out", str(folder / "run"), *STUDY, *CASES, *NET, *QUICK]) == 0
    return folder / "run"


def read(path):
    return pd.read_csv(path, keep_default_na=False)


def test_a_case_is_a_row_of_cohort_split_and_predictions(run):
    cohort, test = read(run / "cohort.csv"), read(run / "predictions/test.csv")
    assert len(cohort) == len(read(run / "split.csv")) == 20
    assert sorted(test["case_id"]) == ["P009L", "P009R", "P010L", "P010R"] == sorted(test["image_id"])
    assert json.loads((run / "evaluation/metrics.json").read_text())["n_images"] == 4
    assert set(read(run / "pictures.csv")["view"]) == set(VIEWS)


def test_attention_is_written_and_sums_to_one_in_each_view(run):
    table = read(run / "predictions/attention.csv")
    assert len(table) == 16
    assert table.groupby(["case_id", "view"])["attention"].sum().to_numpy() == pytest.approx(1, abs=1e-3)


def test_the_report_says_what_each_side_is_worth_and_counts_cases(run):
    assert list(json.loads((run / "evaluation/importance.json").read_text())) == ["drug", "age", "acuity"]
    sides = json.loads((run / "evaluation/sides.json").read_text())
    assert list(sides) == ["pictures", "table", *(f"view={view}" for view in VIEWS)]
    assert {"CST", "relapse"} == set(sides["pictures"])
    page = (run / "report.html").read_text()
    assert "Contribution of each input" in page
    assert "20 cases of 10 patients: 78 images" in page
    assert "unreadable or withdrawn" not in page
    assert "logistic" in page, "the simple model beside is the table's"
    assert main(["report", str(run), "--language", "zh"]) == 0
    page = (run / "report.html").read_text()
    assert "10 名患者的 20 个病例" in page
    assert "模型各部分的价值" in page


def test_predict_answers_a_table_of_cases_alone_as_in_company(run, folder, tmp_path, capsys):
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    labels = labels.drop(columns=["CST", "relapse", "continue_injection", "loss"])
    asked = ["predict", str(run), "--images", str(folder), "--out"]
    labels[labels["split"] == "test"].to_csv(tmp_path / "all.csv", index=False)
    assert main([*asked, str(tmp_path / "out/all.csv"), str(tmp_path / "all.csv")]) == 0
    together, known = read(tmp_path / "out/all.csv"), read(run / "predictions/test.csv")
    assert list(together["case_id"]) == list(known["case_id"])
    np.testing.assert_allclose(together["CST"], known["CST"], rtol=1e-3)
    np.testing.assert_allclose(together["relapse"], known["relapse"], atol=1e-3)
    assert (tmp_path / "out/attention.csv").is_file()
    labels[labels["eye_id"] == "P010R"].to_csv(tmp_path / "one.csv", index=False)
    assert main(["predict", str(run), str(tmp_path / "one.csv"), "--images", str(folder)]) == 0
    assert "CST: " in capsys.readouterr().out


def test_what_cannot_be_read_is_named_and_the_rest_is_answered(run, folder, tmp_path, capsys):
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    labels = labels[labels["split"] == "test"].reset_index(drop=True)
    labels.loc[labels["eye_id"] == "P009L", "path"] = [f"gone{i}.png" for i in range(4)]
    labels.loc[labels["eye_id"].eq("P009R") & labels["view"].eq("post left-half"), "path"] = "gone.png"
    labels.to_csv(tmp_path / "asked.csv", index=False)
    command = ["predict", str(run), str(tmp_path / "asked.csv"), "--images", str(folder), "--out"]
    assert main([*command, str(tmp_path / "answers.csv")]) == 2
    assert "P009L: no image of this case can be read" in capsys.readouterr().err
    answers = read(tmp_path / "answers.csv")
    assert list(answers["case_id"]) == ["P009R", "P010L", "P010R"]
    assert ["cannot be read" in flags for flags in answers["flags"]] == [True, False, False]
    assert len(read(tmp_path / "failures.csv")) == 6


def changed(folder, tmp_path, change):
    table = change(pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False))
    table.to_csv(tmp_path / "changed.csv", index=False)
    return [str(tmp_path / "changed.csv"), "--images", str(folder), "--out", str(tmp_path / "out")]


def test_bad_tables_at_predict_are_one_message(run, folder, tmp_path, capsys):
    def refused(change):
        assert main(["predict", str(run), *changed(folder, tmp_path, change)]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "view 'lateral' is not one of post left-half" in refused(lambda table: table.assign(view="lateral"))
    assert "does not say which view" in refused(lambda table: table.drop(columns="view"))
    assert "does not say which images are a case" in refused(lambda table: table.drop(columns="eye_id"))
    assert "lacks the column(s) age" in refused(lambda table: table.drop(columns="age"))
    image = next(folder.rglob("*.png"))
    assert main(["predict", str(run), str(image)]) == 2
    assert "is a model of cases; give one table" in capsys.readouterr().err


def test_a_run_that_was_stopped_goes_on_to_the_same_answers(run):
    # Beside the run: where its images lie is said from its folder.
    again = shutil.copytree(run, run.with_name("again"))
    for name in ("model", "predictions"):
        shutil.rmtree(again / name)
    assert main(["train", "--resume", str(again)]) == 0
    for name in ("test", "attention"):
        told = read(again / f"predictions/{name}.csv")
        # What is answered is added by the evaluation.
        pd.testing.assert_frame_equal(told, read(run / f"predictions/{name}.csv")[list(told)])


def test_other_cases_are_evaluated_as_the_runs_own(run, folder, tmp_path, capsys):
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    labels[labels["split"] == "test"].to_csv(tmp_path / "others.csv", index=False)
    command = [
        "evaluate",
        str(run),
        str(tmp_path / "others.csv"),
        "--images",
        str(folder),
        "--out",
        str(tmp_path / "e"),
    ]
    assert main(command) == 3
    assert main([*command, "--accept", "patient-across-splits"]) == 0
    found, own = (
        json.loads(path.read_text()) for path in (tmp_path / "e/metrics.json", run / "evaluation/metrics.json")
    )
    assert found["n_images"] == 4
    assert found["targets"]["CST"]["mae"]["value"] == pytest.approx(own["targets"]["CST"]["mae"]["value"], rel=1e-3)


def test_a_dry_run_says_how_many_cases_there_are_and_prepare_counts_them(folder, tmp_path, capsys):
    command = [str(folder / "labels.csv"), "--out", str(tmp_path / "run"), *STUDY, *CASES, *NET, *QUICK]
    assert main(["run", *command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"cases       20, images pooled by attention per view: {', '.join(VIEWS)}" in said
    assert "of 32 maps" in said, "of 4 cases, with 4 images each, and 2 labels"
    left_open = [str(folder / "labels.csv"), "--out", str(tmp_path / "run"), *STUDY, *CASES, "--dry-run"]
    assert main(["run", *left_open]) == 0
    assert "of 32 maps" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert main(["prepare", *command]) == 0
    assert "train: 12 cases" in capsys.readouterr().out


def test_images_judged_one_by_one_though_a_case_is_named_are_said(folder, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("cases: pictures\n")
    command = ["run", str(folder / "labels.csv"), "--out", str(tmp_path / "run"), "--target", "relapse", *QUICK]
    net, said = ["--model", "small-residual", "--dry-run"], "note: each image is predicted on its own, although eye_id"
    for study, is_said in (
        (["--case", "eye_id"], True),
        (CASES, False),
        ([], False),
        (["--case", "eye_id", "--recipe", str(tmp_path / "recipe.yaml")], False),
    ):
        assert main([*command, *net, *study]) == 0
        assert (said in capsys.readouterr().err) == is_said


def test_what_a_model_of_cases_cannot_do_is_said(run, folder, tmp_path, capsys):
    assert main(["segment", str(run), "--out", str(tmp_path / "x")]) == 2
    assert "is a model of cases; masks and --trust need one of single images" in capsys.readouterr().err
    assert main(["export", str(run), "--format", "onnx", "--out", str(tmp_path / "x")]) == 2
    assert "is no net of single images, nor a mean of such nets; only those are exported" in capsys.readouterr().err
    assert main(["explain", str(run), "--trust", "--out", str(tmp_path / "x")]) == 2
    assert "is a model of cases; masks and --trust need one of single images" in capsys.readouterr().err
    assert main(["explain", str(run), "--method", "focus", "--out", str(tmp_path / "x")]) == 2
    assert "'focus' needs a net with evidence at every place" in capsys.readouterr().err
    image = str(next(folder.rglob("*.png")))
    assert main(["explain", str(run), image, "--out", str(tmp_path / "x")]) == 2
    assert "is a model of cases; give a label file that says" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_each_image_of_each_test_case_has_a_map_that_the_report_shows(run):
    index, test = read(run / "focus/index.csv"), read(run / "predictions/test.csv").set_index("image_id")
    assert len(index) == 16 * 2
    assert set(index["view"]) == set(VIEWS)
    assert set(index["case_id"]) == set(test.index)
    assert all((run / "focus" / name).is_file() for column in ("map", "overlay") for name in index[column])
    for target in ("CST", "relapse"):
        own = index[index["target"] == target]
        np.testing.assert_allclose(own["probability"], test[target][own["case_id"]], rtol=1e-3)
    assert main(["report", str(run), "--language", "en"]) == 0
    page = (run / "report.html").read_text()
    maps = page.split('<section id="maps">')[1].split("</section>")[0]
    assert any(all(f"case {case} · view {view} · relapse" in maps for view in VIEWS) for case in test.index)
    assert "predicted probability of the whole case" in maps
    assert "--trust" not in maps, "it is refused for models of cases"


def test_other_cases_are_explained_with_their_masks_and_answered_with_overlays(run, folder, tmp_path, capsys):
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    labels = labels[labels["eye_id"].isin(["P009L", "P009R"])].assign(relapse="1", lesion="")
    marked = labels["view"] == "post left-half"
    mask = np.zeros((28, 28), np.uint8)
    mask[5:10, 5:10] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    labels.loc[marked, "lesion"] = "mask.png"
    labels.to_csv(tmp_path / "others.csv", index=False)
    asked = [str(run), str(tmp_path / "others.csv"), "--images", str(folder)]
    methods = ["--method", "gradcam", "--method", "occlusion", "--target", "relapse"]
    marked_ones = ["explain", *asked, "--mask", "lesion", *methods, "--out", str(tmp_path / "maps")]
    assert main(marked_ones) == 3, "they are of the run's own study"
    assert main([*marked_ones, "--accept", "patient-across-splits"]) == 0
    index = read(tmp_path / "maps/index.csv")
    assert list(index.groupby("method").size()) == [8, 8]
    scores = read(tmp_path / "maps/scores.csv")
    assert set(scores["image_id"]) == set(labels.loc[marked, "path"]), "only an image's own mask is its mask"
    assert {"gradcam", "occlusion", "centre"} <= set(scores["method"])
    overlays = ["--overlay", str(tmp_path / "overlays"), "--out", str(tmp_path / "answers.csv")]
    assert main(["predict", *asked, *overlays]) == 0
    assert "overlays: " in capsys.readouterr().out
    own = read(tmp_path / "overlays/index.csv")
    assert set(own["case_id"]) == set(read(tmp_path / "answers.csv")["case_id"]) == {"P009L", "P009R"}
    ends = [json.loads((place / "scale.json").read_text())["ends"] for place in (run / "focus", tmp_path / "overlays")]
    assert ends[0] == ends[1], "colours mean what they mean in the run's own maps"
    assert main(["predict", *asked, *overlays, "--out", str(tmp_path / "again.csv")]) == 2
    assert not (tmp_path / "again.csv").exists()


def test_bad_tables_at_explain_are_one_message(run, folder, tmp_path, capsys):
    for change, fact in (
        (lambda table: table.assign(view="lateral"), "view 'lateral' is not one of post left-half"),
        (lambda table: table.drop(columns="view"), "does not say which view"),
        (lambda table: table.drop(columns="age"), "lacks the column(s) age"),
    ):
        assert main(["explain", str(run), *changed(folder, tmp_path, change)]) == 2
        assert fact in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "recipe", "fact"),
    [
        (
            [*CASES, "--model", "small-residual-fpn"],
            "",
            "nets of cases are made of plain backbones. Try small-residual.",
        ),
        ([*CASES, *NET, "--tta"], "", "tta is for nets of single images"),
        ([*CASES, *NET], "augmentation: {mixup: 0.2}", "augmentation.mixup is for nets of single images"),
        ([*CASES, "--model", "hog+svm"], "cases: mean", "hog+svm is shown single images"),
        (["--model", "small-residual"], "cases: mean", "does not say which images are a case. Say --case COL"),
        ([*CASES, *NET, "--baseline", "hog+svm"], "", "baseline 'hog+svm' is shown single images"),
        ([*CASES, "--model", "gradient-boosting+table"], "", "goes with a net of images"),
    ],
)
def test_recipes_that_do_not_fit_cases_are_refused(folder, tmp_path, capsys, arguments, recipe, fact):
    (tmp_path / "recipe.yaml").write_text(recipe)
    command = ["train", str(folder / "labels.csv"), "--out", str(tmp_path / "run"), *STUDY, *arguments, *QUICK]
    assert main([*command, "--recipe", str(tmp_path / "recipe.yaml")]) == 2
    assert fact in capsys.readouterr().err


def test_a_label_that_differs_within_a_case_stops_the_training(folder, tmp_path, capsys):
    def change(table):
        table.loc[0, "CST"] = "1"
        return table

    assert main(["train", *changed(folder, tmp_path, change), *STUDY, *CASES, *NET, *QUICK]) == 2
    assert "differ in CST" in capsys.readouterr().err
    assert not (tmp_path / "out/model").exists()


@pytest.mark.parametrize(
    ("arguments", "recipe"),
    [
        ([*CASES, *NET], "{fusion: gated, cases: max, encoder: separate}"),
        ([*CASES, *NET], "{fusion: late}"),
        ([*CASES, *NET, "--folds", "3"], "{fusion: stacked, cases: mean}"),
        ([*CASES, "--model", "small-residual", "--ensemble", "2"], "{}"),
        (NET, "{}"),
        (["--case", "eye_id", "--model", "small-residual"], "{cases: attention}"),
        ([*CASES, "--model", "table-net"], "{}"),
    ],
)
def test_every_way_of_fusion_goes_the_whole_way(folder, tmp_path, arguments, recipe):
    (tmp_path / "recipe.yaml").write_text(recipe)
    out = tmp_path / "run"
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    if arguments == NET:
        # A single image's own cells are its own.
        labels["acuity"] = "0.5"
    labels.drop(columns="split").to_csv(tmp_path / "labels.csv", index=False)
    command = ["run", str(tmp_path / "labels.csv"), "--images", str(folder), "--out", str(out), *STUDY, *arguments]
    assert main([*command, *QUICK, "--recipe", str(tmp_path / "recipe.yaml")]) == 0
    test = read(out / "predictions/test.csv")
    assert np.isfinite(test["CST"]).all()
    if "table-net" not in arguments:
        maps = read(out / "focus/index.csv").drop_duplicates("case_id").set_index("case_id")
        np.testing.assert_allclose(maps["probability"][test["image_id"]], test["CST"], rtol=1e-3)
    asked = ["predict", str(out), str(tmp_path / "labels.csv"), "--images", str(folder), "--out"]
    assert main([*asked, str(tmp_path / "answers.csv")]) == 0
    answers = read(tmp_path / "answers.csv").set_index("image_id").loc[test["image_id"]]
    assert len(read(tmp_path / "answers.csv")) == len(read(out / "cohort.csv"))
    if "--folds" not in arguments:
        np.testing.assert_allclose(answers["CST"], test["CST"], rtol=1e-3)


@pytest.mark.parametrize("fusion", ["joint", "late", "stacked"])
def test_a_change_of_a_case_is_learnt_as_a_column_of_changes_is(folder, tmp_path, fusion):
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    base = labels["eye_id"].map({name: 200.0 + 3 * k for k, name in enumerate(sorted(set(labels["eye_id"])))})
    unknown = labels["eye_id"] == "P009R"
    change = (labels["CST"].astype(float) - base).astype(object).mask(unknown, "")
    labels = labels.assign(base=base.astype(object).mask(unknown, ""), change=change)
    labels.to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(f"fusion: {fusion}\n")
    told = {}
    for name, target in (("value", "CST:delta=base"), ("change", "change:continuous")):
        command = ["train", str(tmp_path / "labels.csv"), "--images", str(folder), "--out", str(tmp_path / name)]
        command += ["--recipe", str(tmp_path / "recipe.yaml"), "--target", target, "--covariate", "age"]
        assert main([*command, *CASES, *NET, *QUICK, "--baseline", "none"]) == 0
        told[name] = read(tmp_path / name / "predictions/test.csv").set_index("image_id")
    earlier = pd.Series(base.to_numpy(), labels["eye_id"]).groupby(level=0).first()
    assert list(told["value"].query("CST == ''").index) == ["P009R"]
    assert told["value"].loc["P009R", "flags"].count("base is not known") == 1
    known = told["value"].drop("P009R")["CST"].astype(float)
    change = told["change"]["change"].astype(float)[known.index]
    np.testing.assert_allclose(known, change + earlier[known.index], rtol=1e-5)
