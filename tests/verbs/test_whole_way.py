"""The whole way through on a small phantom study: files of the contract, resume, errors, and the same from Python."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import focusmap
from focusmap.basics import write_json
from focusmap.cli import main
from focusmap.fitting import train_baseline
from focusmap.study import Run, RunOptions
from support.options import NET, quick
from support.studies import phantom_study

QUICK = quick(NET, epochs=2)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A study of 80 images of 20 patients."""
    folder = tmp_path_factory.mktemp("study")
    return phantom_study(folder, patients=20, images=80, size=32)


@pytest.fixture(scope="session")
def run(study, tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", str(study), "--out", str(folder), *QUICK]) == 0
    return folder


def test_a_run_leaves_the_files_of_the_contract(run):
    expected = [
        "study.yaml", "cohort.csv", "split.csv", "audit.json", "audit.html", "recipe.yaml", "history.csv",
        "manifest.json", "model/model.json", "model/weights.safetensors", "predictions/tune.csv",
        "predictions/test.csv", "evaluation/metrics.json", "evaluation/roc.png", "focus/index.csv",
        "focus/scores.json", "report.html",
    ]  # fmt: skip
    assert [name for name in expected if not (run / name).is_file()] == []


def test_no_patient_stands_in_two_parts(run):
    cohort = pd.read_csv(run / "cohort.csv").merge(pd.read_csv(run / "split.csv"), on="image_id")
    assert (cohort.groupby("patient_id")["split"].nunique() == 1).all()


def test_metrics_carry_intervals_or_a_reason(run):
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    for values in metrics["targets"].values():
        auroc = values["auroc"]
        assert auroc["low"] <= auroc["value"] <= auroc["high"] if auroc["value"] is not None else auroc["reason"]


def test_a_map_lies_in_the_grid_of_its_image(run, study):
    from PIL import Image

    row = pd.read_csv(run / "focus/index.csv").iloc[0]
    with Image.open(study.parent / row["path"]) as image:
        assert np.load(run / "focus" / row["map"])["map"].shape == image.size[::-1]


def test_a_misspelt_method_or_target_costs_no_maps(run, capsys):
    before = sorted((run / "focus/maps").iterdir())
    assert main(["explain", str(run), "--method", "gradcamm"]) == 2
    assert main(["explain", str(run), "--target", "nodul"]) == 2
    assert "Did you mean 'nodule'" in capsys.readouterr().err
    assert sorted((run / "focus/maps").iterdir()) == before


def test_every_method_maps_an_image_and_is_named_by_help(run, study, tmp_path, capsys):
    from focusmap.heatmaps.methods import METHODS

    image = study.parent / pd.read_csv(run / "focus/index.csv")["path"][0]
    lacking = {"focus", "acam", "rollout", "reconstruction"}
    for method in lacking:
        assert main(["explain", str(run), str(image), "--method", method, "--out", str(tmp_path / method)]) == 2
        assert f"'{method}' needs a" in capsys.readouterr().err
        assert not (tmp_path / method).exists()
    methods = (METHODS.keys() | {"gradcam@mirror,sizes"}) - lacking
    asked = [word for method in methods for word in ("--method", method)]
    assert main(["explain", str(run), str(image), *asked, "--out", str(tmp_path / "maps")]) == 0
    index = pd.read_csv(tmp_path / "maps/index.csv")
    assert set(index["method"]) == methods
    assert all((tmp_path / "maps" / overlay).is_file() for overlay in index["overlay"])
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    shown = capsys.readouterr().out.replace(",", " ").split()
    assert [method for method in METHODS if method not in shown] == []


def test_a_run_is_not_overwritten(run, study, capsys):
    assert main(["run", str(study), "--out", str(run), *QUICK]) == 2
    assert "--force" in capsys.readouterr().err


def test_one_image_is_answered_in_words(run, study, tmp_path, capsys):
    image = next((study.parent / "images").glob("*.png"))
    assert main(["predict", str(run), str(image), "--overlay", str(tmp_path / "overlays")]) == 0
    said = capsys.readouterr().out
    assert "probability" in said
    assert "not a medical device" in said
    assert list((tmp_path / "overlays/overlays").glob("*.png"))
    with Image.open(tmp_path / "overlays/sheet.png") as sheet:
        assert sheet.width > sheet.height, "one row of three labels"


def test_an_answer_says_how_the_label_did_and_a_label_no_better_than_guessing_gets_none(run, study, tmp_path, capsys):
    own = tmp_path / "run"
    shutil.copytree(run, own)
    standings = json.loads((own / "model/answers.json").read_text())
    assert {error for entry in standings["targets"].values() for error in entry["limits"]} >= {"0.05", "0.1"}
    standings["targets"]["nodule"]["verdict"] = "not-shown-useful"
    standings["targets"]["cavity"] |= {"verdict": "useful", "limits": {"0.1": {"0": 1.0, "1": 1.0}}}
    write_json(own / "model/answers.json", standings)
    image = next((study.parent / "images").glob("*.png"))
    assert main(["predict", str(own), str(image)]) == 0
    said = capsys.readouterr().out
    assert "nodule: no answer: not better than guessing on the test set" in said
    assert "cavity: unsure: no or yes (probability" in said
    assert "on test AUROC" in said
    standings["targets"]["cavity"]["verdict"] = "cannot-be-judged"
    write_json(own / "model/answers.json", standings)
    assert main(["predict", str(own), str(image)]) == 0
    said = capsys.readouterr().out
    assert "cavity: no answer: too few patients in the test set to judge this label (probability" in said
    assert not re.search(r"cavity: .*(yes|AUROC)", said)
    assert main(["predict", str(own), str(image), "--error", "0.07"]) == 2
    assert "error 0.07 is not one of" in capsys.readouterr().err
    answers = focusmap.load_model(own).predict(image)
    assert [told.answer for told in answers.told()][:2] == ["none", "none"]
    sealed = (own / "model/answers.json").read_text()
    (own / "model/answers.json").write_text(sealed.replace("not-shown-useful", "useful"))
    assert main(["predict", str(own), str(image)]) == 2
    assert "answers.json: was changed or damaged after it was written" in capsys.readouterr().err
    (own / "model/answers.json").write_text(sealed)
    assert answers.told(language="zh")[0].words.startswith("不作回答：测试集上不优于随机猜测")


def test_the_sets_are_checked_on_test_by_class_and_stand_in_the_predictions(run):
    test = pd.read_csv(run / "predictions/test.csv", keep_default_na=False, dtype=str)
    assert set(test["nodule.answer"]) <= {"yes", "no", "unsure", "none"}
    checked = json.loads((run / "evaluation/coverage.json").read_text())
    assert checked["error"] == 0.1
    assert set(checked["targets"]) == {"nodule", "cavity", "consolidation"}


def test_a_folder_is_answered_line_by_line_and_its_masks_are_no_images(run, study, tmp_path, capsys):
    folder = tmp_path / "films"
    folder.mkdir()
    for image in sorted((study.parent / "images").glob("*.png"))[:3]:
        shutil.copy(image, folder)
    shutil.copy(image, folder / f"{image.stem}_mask.png")
    assert main(["predict", str(run), str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("nodule" in line and "probability" in line for line in lines)


def test_many_images_become_a_table_and_a_broken_one_is_listed(run, study, tmp_path, capsys):
    folder = tmp_path / "pictures"
    shutil.copytree(study.parent / "images", folder)
    (folder / "broken.png").write_text("no image")
    out = tmp_path / "answers.csv"
    assert main(["predict", str(run), str(folder), "--out", str(out)]) == 2
    assert len(pd.read_csv(out)) == 80
    failed = pd.read_csv(tmp_path / "failures.csv").iloc[0]
    assert failed["path"].endswith("broken.png")
    assert failed["reason"].startswith("its content is none of")
    assert "broken.png" in capsys.readouterr().err
    assert main(["predict", str(run), str(folder), "--out", str(out), "--force", "--skip-unreadable"]) == 0


def test_predictions_of_files_equal_those_of_the_store(run, study, tmp_path):
    out = tmp_path / "answers.csv"
    assert main(["predict", str(run), str(study), "--out", str(out)]) == 0
    streamed = pd.read_csv(out)
    stored = pd.read_csv(run / "predictions/test.csv")
    both = stored.merge(streamed, on=["image_id", "path", "patient_id"], suffixes=("", ".again"))
    assert len(both) == len(stored)
    assert (both["nodule.logit"] - both["nodule.logit.again"]).abs().max() < 1e-4


def test_predictions_and_evaluations_of_packed_tables_are_called_as_they_are(run, study, tmp_path):
    for name in ("answers.csv", "answers.csv.gz"):
        assert main(["predict", str(run), str(study), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "answers.csv.gz").read_bytes()[:2] == b"\x1f\x8b"
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "answers.csv.gz"), pd.read_csv(tmp_path / "answers.csv"))
    others = pd.read_csv(study)
    others.assign(patient_id=others["patient_id"].map("new{}".format)).to_csv(tmp_path / "other.csv.gz", index=False)
    command = ["evaluate", str(run), str(tmp_path / "other.csv.gz"), "--images", str(study.parent)]
    assert main(command) == 0
    assert json.loads((run / "evaluation/other/metrics.json").read_text())["split"] == "other"


def test_a_packed_label_file_is_predicted_and_explained_as_the_same_one_unpacked(run, study, tmp_path):
    other = pd.read_csv(study).query("nodule == 1").head(4)
    other["patient_id"] = [f"new{i}" for i in range(len(other))]
    for name in ("plain.csv", "packed.csv.gz"):
        other.to_csv(tmp_path / name, index=False)
        named = [str(tmp_path / name), "--images", str(study.parent)]
        overlays = ["--overlay", str(tmp_path / f"{name}.overlays")]
        assert main(["predict", str(run), *named, "--out", str(tmp_path / f"{name}.answers.csv"), *overlays]) == 0
        assert main(["explain", str(run), *named, "--out", str(tmp_path / f"{name}.maps")]) == 0
    for made in ("answers.csv", "overlays/index.csv", "maps/index.csv", "maps/scores.json"):
        assert (tmp_path / f"packed.csv.gz.{made}").read_text() == (tmp_path / f"plain.csv.{made}").read_text()


def test_a_packed_label_file_among_images_is_named(run, study, tmp_path, capsys):
    pd.read_csv(study).to_csv(tmp_path / "labels.csv.gz", index=False)
    image = next((study.parent / "images").glob("*.png"))
    mixed = [str(image), str(tmp_path / "labels.csv.gz"), "--out", str(tmp_path / "maps")]
    assert main(["explain", str(run), *mixed]) == 2
    assert "give images or one label file, not both" in capsys.readouterr().err


def test_columns_of_another_label_file_may_be_called_otherwise(run, study, tmp_path, capsys):
    lesions = pd.read_csv(study).query("consolidation == 1").head(4)
    other = lesions.rename(columns={"patient_id": "Pat", "mask_consolidation": "outline"})
    other = other.drop(columns=["mask_nodule", "mask_cavity"])
    other["Pat"] = [f"new{i}" for i in range(len(other))]
    other.to_csv(tmp_path / "other.csv", index=False)
    named = [str(tmp_path / "other.csv"), "--images", str(study.parent), "--patient", "Pat"]
    assert main(["explain", str(run), *named, "--mask", "outline", "--out", str(tmp_path / "maps")]) == 0
    assert (tmp_path / "maps/scores.json").is_file()
    assert main(["predict", str(run), *named, "--out", str(tmp_path / "answers.csv")]) == 0
    assert list(pd.read_csv(tmp_path / "answers.csv")["patient_id"]) == list(other["Pat"])
    assert main(["explain", str(run), *named, "--mask", "outlines", "--out", str(tmp_path / "no")]) == 2
    assert main(["predict", str(run), *named[:-1], "Pad", "--out", str(tmp_path / "no.csv")]) == 2
    for command in (["predict", str(run), named[0], "--out"], ["evaluate", str(run), *named, "--out"]):
        assert main([*command, str(tmp_path / "no"), "--target", "nodul"]) == 2
    assert capsys.readouterr().err.count("Did you mean") == 4


def test_a_training_without_published_weights_says_what_it_began_from(study, tmp_path, capsys):
    assert main(["train", str(study), "--out", str(tmp_path / "run"), *QUICK, "--weights", "auto"]) == 0
    assert "note: training started from random weights: small-residual has no" in capsys.readouterr().err


def test_a_stopped_training_ends_with_the_same_weights(run, study, tmp_path, capsys):
    from safetensors.numpy import load_file

    stopped = tmp_path / "stopped"
    _stop_after_an_epoch(study, run, stopped)
    assert main(["train", "--resume", str(stopped)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"focusmap run --resume {stopped}")
    a, b = (load_file(folder / "model/weights.safetensors") for folder in (run, stopped))
    assert all((a[name] == b[name]).all() for name in a)


@pytest.mark.slow
def test_a_stopped_run_ends_with_all_that_a_whole_one_has(run, study, tmp_path):
    stopped = tmp_path / "stopped"
    _stop_after_an_epoch(study, run, stopped)
    assert main(["run", "--resume", str(stopped)]) == 0
    for name in ("predictions/test.csv", "focus/scores.json"):
        assert (stopped / name).read_bytes() == (run / name).read_bytes()
    whole, gone_on = (json.loads((folder / "evaluation/baselines.json").read_text()) for folder in (run, stopped))
    assert whole == gone_on
    assert "plain image features" in (stopped / "report.html").read_text()
    beside = {path: path.stat().st_mtime_ns for path in (stopped / "baseline").rglob("*")}
    train_baseline(Run(stopped), RunOptions())
    assert {path: path.stat().st_mtime_ns for path in (stopped / "baseline").rglob("*")} == beside, "it is not repeated"


def test_a_folder_that_another_process_writes_is_left_alone(study, tmp_path, capsys):
    folder = tmp_path / "run"
    program = f"from pathlib import Path\nfrom focusmap.study.run import writing\nwith writing(Path({str(folder)!r})): "
    other = subprocess.Popen(
        [sys.executable, "-c", program + "print('writing', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "writing\n"
    for command in (["run", str(study), "--out"], ["train", str(study), "--out"], ["prepare", str(study), "--out"]):
        assert main([*command, str(folder), *QUICK]) == 2
        assert f"{folder}: another focusmap is writing there" in capsys.readouterr().err
    for command in ("run", "train"):
        assert main([command, "--resume", str(folder)]) == 2
        assert "another focusmap is writing there" in capsys.readouterr().err
    assert not folder.exists()
    other.communicate("\n")
    assert main(["prepare", str(study), "--out", str(folder), *QUICK]) == 0


def _stop_after_an_epoch(study, run, folder):
    """Train as a finished run was in another folder, and stop after the first epoch, as Ctrl-C does."""
    import focusmap as verbs
    from focusmap.study import read_cohort, read_recipe

    def interrupt(doing, done, total):
        if doing.startswith("training") and done == 1:
            raise KeyboardInterrupt

    recipe = read_recipe(run / "recipe.yaml")
    with pytest.raises(KeyboardInterrupt):
        verbs.train(read_cohort(study), folder, verbs.RunOptions(recipe=recipe, progress=interrupt))
    assert not (folder / "model").exists()


@pytest.fixture(scope="module")
def folds(study, tmp_path_factory):
    run = tmp_path_factory.mktemp("folded") / "folds"
    assert main(["run", str(study), "--out", str(run), "--folds", "3", "--language", "zh", *QUICK]) == 0
    return run


@pytest.mark.slow
def test_folds_predict_every_image_once_and_pages_speak_chinese(folds):
    predictions = pd.read_csv(folds / "predictions/test.csv")
    assert sorted(predictions["image_id"]) == sorted(pd.read_csv(folds / "cohort.csv")["image_id"])
    assert json.loads((folds / "evaluation/metrics.json").read_text())["split"] == "out-of-fold"
    index = pd.read_csv(folds / "focus/index.csv")
    assert all((folds / "focus" / path).is_file() for path in index["map"])
    words = (folds / "report.html").read_text(encoding="utf-8")
    for said in ("交叉验证", "本研究中没有任何数据可以检验它", "合并后的调优集"):
        assert said in words
    audit = (folds / "audit.html").read_text(encoding="utf-8")
    assert "研究队列审查" in audit
    assert "审查记录原文（英文）" not in audit
    assert main(["report", str(folds)]) == 0
    words = (folds / "report.html").read_text()
    assert "which no data in this study can test" in words
    assert "pooled tuning sets" in words


@pytest.mark.slow
def test_folds_answer_new_images_as_an_ensemble(folds, study, tmp_path, capsys):
    """Their mean answers, at an operating point and temperature of its own."""
    image = str(next((study.parent / "images").glob("*.png")))
    assert main(["predict", str(folds), image, "--overlay", str(tmp_path / "overlays")]) == 0
    assert "probability" in capsys.readouterr().out
    card = json.loads((folds / "model/model.json").read_text())
    assert card["members"] == ["members/0", "members/1", "members/2"]
    assert set(card["thresholds"]) == set(card["temperatures"])
    logits = []
    for name in ("", *(f"members/{k}" for k in range(3))):
        out = tmp_path / f"answers{name.replace('/', '')}.csv"
        assert main(["predict", str(folds / "model" / name), image, "--out", str(out)]) == 0
        logits.append(pd.read_csv(out)["nodule.logit"][0])
    assert logits[0] == pytest.approx(sum(logits[1:]) / 3, abs=1e-4)
    new = [str(folds), str(study), "--accept", "patient-across-splits", "--out", str(tmp_path / "e")]
    assert main(["evaluate", *new]) == 0


@pytest.mark.slow
def test_folds_map_new_images_and_their_own(folds, study, tmp_path):
    lesions, maps = tmp_path / "lesions.csv", tmp_path / "lesions"
    pd.read_csv(study).query("nodule == 1").to_csv(lesions, index=False)
    known = [str(lesions), "--images", str(study.parent), "--accept", "patient-across-splits", "--out", str(maps)]
    assert main(["explain", str(folds), *known]) == 0
    assert "mean_mask" in json.loads((maps / "scores.json").read_text())["methods"]
    alone = json.loads((maps / "scores.json").read_text())["methods"]["cam"]
    several = ["--method", "cam", "--method", "gradients", "--method", "cam"]
    assert main(["explain", str(folds), *several, "--out", str(tmp_path / "several")]) == 0
    index = pd.read_csv(tmp_path / "several/index.csv")
    assert len(index) == 2 * len(index.drop_duplicates(["image_id", "target"]))
    assert all((tmp_path / "several" / path).is_file() for path in [*index["map"], *index["overlay"]])
    assert set(index["map"].str.split("/").str[1]) == {"cam", "gradients"}
    methods = json.loads((tmp_path / "several/scores.json").read_text())["methods"]
    assert list(methods)[:3] == ["cam", "gradients", "mean_mask"]
    own = json.loads((folds / "focus/scores.json").read_text())["methods"]
    assert methods["cam"] == own["cam"] != alone
    same = index.groupby(["image_id", "target"]).get_group((index["image_id"][0], "nodule"))
    cam, gradients = (np.load(tmp_path / "several" / path)["map"] for path in same["map"])
    assert (cam != gradients).any()
    main(["explain", str(folds), *known, *several, "--force"])
    assert json.loads((maps / "scores.json").read_text())["methods"]["cam"] == alone


@pytest.mark.slow
def test_an_ensemble_over_seeds_and_views_is_one_model_and_can_be_resumed(study, tmp_path):
    from safetensors.numpy import load_file

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("augmentation: {mirror: true}")
    options = ["--recipe", str(recipe), "--ensemble", "2", "--tta"]
    assert main(["run", str(study), "--out", str(whole), *QUICK, *options]) == 0
    card = json.loads((whole / "model/model.json").read_text())
    assert card["training"]["seed"] == [0, 1]
    assert sum(view["mirror"] for view in card["tta"]) == len(card["tta"]) / 2
    _stop_after_an_epoch(study, whole, stopped)
    assert main(["train", "--resume", str(stopped)]) == 0
    a, b = ([load_file(r / f"model/members/{k}/weights.safetensors") for k in range(2)] for r in (whole, stopped))
    assert all((one[name] == other[name]).all() for one, other in zip(a, b, strict=True) for name in one)
    assert any((a[0][name] != a[1][name]).any() for name in a[0])
    assert "One colour per net" in (whole / "report.html").read_text()
    assert "models averaged" in (whole / "report.html").read_text()


def test_two_runs_are_compared_in_pairs(run, tmp_path, capsys):
    other = tmp_path / "second"
    shutil.copytree(run, other)
    assert main(["compare", str(run), str(other), "--out", str(tmp_path / "comparison"), "--language", "zh"]) == 0
    rows = json.loads((tmp_path / "comparison/compare.json").read_text())["differences"]
    assert {row["difference"]["value"] for row in rows if row["difference"]["value"] is not None} == {0.0}
    assert "配对差异" in (tmp_path / "comparison/compare.html").read_text(encoding="utf-8")
    assert main(["compare", str(run), str(other), "--out", str(tmp_path / "comparison")]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["compare", str(run), str(other), "--out", str(tmp_path / "comparison"), "--force"]) == 0


def test_other_images_are_evaluated_and_known_patients_refused(run, study, tmp_path):
    assert main(["evaluate", str(run), str(study), "--out", str(tmp_path / "a")]) == 3
    accept = ["--accept", "patient-across-splits"]
    assert main(["evaluate", str(run), str(study), "--out", str(tmp_path / "a"), *accept]) == 0
    assert (tmp_path / "a/metrics.json").is_file()
    assert main(["evaluate", str(run), str(study), "--out", str(tmp_path / "a"), *accept]) == 2
    assert main(["evaluate", str(run), "--out", str(tmp_path / "a")]) == 2
    assert main(["evaluate", str(run), "--out", str(tmp_path / "a"), "--force"]) == 0
    assert main(["evaluate", str(run)]) == 0  # its own evaluation comes out the same


def test_maps_of_known_patients_are_drawn_and_not_scored(run, study, tmp_path, capsys):
    table, others = pd.read_csv(study, dtype=str, keep_default_na=False), tmp_path / "others.csv"
    asked = ["explain", str(run), str(others), "--images", str(study.parent), "--out", str(tmp_path / "maps")]
    table.query("nodule == '1'").head(4).to_csv(others, index=False)
    assert main(asked) == 3
    said = capsys.readouterr().err
    assert "were in the run's own study" in said
    assert "--accept patient-across-splits" in said
    assert not (tmp_path / "maps").exists()
    assert main([*asked, "--accept", "patient-across-splits"]) == 0
    assert (tmp_path / "maps/scores.json").is_file()
    table.drop(columns=[name for name in table if name.startswith("mask")]).head(4).to_csv(others, index=False)
    assert main([*asked, "--force"]) == 0
    assert not (tmp_path / "maps/scores.json").exists()


def test_a_report_is_made_again_from_files(run):
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").stat().st_size > 10_000


def test_the_dry_run_writes_nothing(study, tmp_path, capsys):
    assert main(["run", str(study), "--out", str(tmp_path / "none"), "--dry-run", *QUICK]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("target", "patient", "time", "memory", "disk"))
    assert "of training (measured here on cpu" in said
    assert "masks" not in said.splitlines()[-1]
    assert main(["run", str(study), "--out", str(tmp_path / "none"), "--dry-run", "--segment", *QUICK]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("masks of lesions follow, beyond --budget")
    assert not (tmp_path / "none").exists()


def test_mirroring_is_told_about_the_heart(study, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("augmentation: {mirror: true}")
    recipe = ["--recipe", str(tmp_path / "recipe.yaml")]
    assert main(["run", str(study), "--out", str(tmp_path / "none"), "--dry-run", *QUICK, *recipe]) == 0
    assert "heart" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["audit", "report", "evaluate"])
def test_audit_report_and_evaluate_start_without_torch(command, run, study, tmp_path):
    arguments = {
        "audit": ["audit", str(study), "--out", str(tmp_path / "audit"), "--workers", "1"],
        "report": ["report", str(run)],
        "evaluate": ["evaluate", str(run), "--out", str(tmp_path / "evaluation")],
    }[command]
    code = f"import sys; from focusmap.cli import main\nassert main({arguments!r}) == 0\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
