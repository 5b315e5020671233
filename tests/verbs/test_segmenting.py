"""Masks from image-level labels: the files of the contract, no mask opened unasked, and one message for bad input."""

import errno
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from focusmap.basics import silent
from focusmap.cli import main
from focusmap.evaluation import above_mean_mask
from focusmap.heatmaps import file_name
from focusmap.images import read_mask
from focusmap.segmentation import Job, cautions
from focusmap.segmentation.by_affinity import learn_segmenter
from focusmap.segmentation.lesions import Lesion
from focusmap.study import Recipe
from support.models import unseal
from support.options import quick
from support.studies import phantom_study

QUICK = quick("small-residual-acam", size=28)
RECIPE = "segmentation: {n_steps: 4, max_cases: 12}"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesions")
    labels = phantom_study(folder, patients=14, images=40, size=28, seed=3)
    table = pd.read_csv(labels)
    # One target alone: every command does everything for each.
    table["nodule"] = table["nodule"].astype("Int64")
    table.drop(columns=["cavity", "consolidation", "mask_cavity", "mask_consolidation"]).to_csv(labels, index=False)
    (folder / "recipe.yaml").write_text(RECIPE)
    return labels


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "segmented"
    recipe = ["--recipe", str(study.parent / "recipe.yaml")]
    assert main(["run", str(study), "--out", str(folder), "--segment", "--target", "nodule", *recipe, *QUICK]) == 0
    # Tests change what is known of the images.
    unseal(folder)
    return folder


def every_case_predicted(run):
    """Let a barely trained net call every case positive and pass for useful, so that masks are drawn and shown."""
    answers = json.loads((run / "model/answers.json").read_text())
    answers["targets"]["nodule"]["verdict"] = "useful"
    (run / "model/answers.json").write_text(json.dumps(answers))
    path = run / "model/model.json"
    card = json.loads(path.read_text())
    card["thresholds"]["nodule"] = 0.0
    path.write_text(json.dumps(card))


def test_run_with_segment_leaves_the_files_of_the_contract(run, study):
    index = pd.read_csv(run / "segmentation/index.csv")
    assert list(index.columns[:6]) == ["image_id", "path", "target", "probability", "mask", "area"]
    test = pd.read_csv(run / "split.csv").query("split == 'test'")
    assert sorted(index["image_id"]) == sorted(test["image_id"])
    assert index["area"].eq("unknown").all()
    for row in index.itertuples():
        with Image.open(run / "segmentation" / row.mask) as mask, Image.open(study.parent / row.path) as image:
            assert mask.size == image.size
            assert set(np.unique(np.asarray(mask))) <= {0, 255}
            assert row.n_pixels == (np.asarray(mask) == 255).sum()
            assert row.predicted or row.n_pixels == 0
    scores = json.loads((run / "segmentation/scores.json").read_text())
    wanted = {"cam", "acam", "refined", "distilled", "weak_unet", "supervised", "mean_mask"}
    assert wanted <= set(scores["methods"])
    for method in wanted:
        assert {"dice", "sensitivity", "specificity", "hd95"} <= set(scores["methods"][method])
    assert scores["masks_used_for_tuning"] == 0
    assert {"background", "foreground"} <= set(scores["seeds"][0])
    found = scores["differences"]["vote - cam"]
    assert found["sign_flip"]["n"] == len(found["by_patient"])
    assert {"regions", "vote", "picture_only"} <= set(scores["methods"])
    assert scores["methods"]["vote"]["dice"]["value"] is not None
    assert "was not asked for" in scores["methods"]["refined"]["dice"]["reason"]
    assert scores["drawn_by"] in ("vote", "distilled")
    assert set(index["method"]) == {scores["drawn_by"]}
    assert above_mean_mask(scores["differences"], scores["drawn_by"]) is False
    report = (run / "report.html").read_text()
    assert "Masks used to choose how lesions are drawn: 0." in report
    assert "Lesion masks" in report
    assert "Best, median and worst case" not in report, "too few patients to judge the label: no mask of it is shown"
    assert set(index["shown"]) == {"unjudged"}
    assert "Do not measure lesions with them" in report


def test_masks_are_the_same_without_a_mask_to_look_at_and_then_nothing_is_scored(run, study, tmp_path, monkeypatch):
    """The proof that image-level labels are all that is used: take the masks away."""
    opened = []

    def counted(path):
        opened.append(path)
        return read_mask(path)

    monkeypatch.setattr("focusmap.evaluation.localisation.reference.read_mask", counted)
    blind = tmp_path / "blind"
    shutil.copytree(run, blind)
    every_case_predicted(blind)
    # Nothing that was learnt beside masks is taken over.
    shutil.rmtree(blind / "segmenters")
    seeing = tmp_path / "seeing"
    shutil.copytree(blind, seeing)
    for name in ("cohort.csv",):
        table = pd.read_csv(blind / name, dtype=str, keep_default_na=False)
        table["mask_nodule"] = ""
        table.to_csv(blind / name, index=False)
    # The barely trained U-Net draws nothing, and empty masks would be the same whatever was done.
    refined = ["--method", "refined", "--out"]
    assert main(["segment", str(blind), *refined, str(tmp_path / "a")]) == 0
    assert opened == []
    assert not (tmp_path / "a/scores.json").exists()
    assert main(["segment", str(seeing), *refined, str(tmp_path / "b")]) == 0
    assert opened
    index = pd.read_csv(tmp_path / "b/index.csv")
    assert index["n_pixels"].gt(0).any()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a/index.csv"), index)
    for mask in index["mask"]:
        assert (tmp_path / "a" / mask).read_bytes() == (tmp_path / "b" / mask).read_bytes()


@pytest.mark.slow
def test_what_draws_is_learnt_once_and_anew_for_other_settings(run, study, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    every_case_predicted(copy)
    learnt = []

    def counted(*arguments):
        learnt.append(arguments)
        return learn_segmenter(*arguments)

    assert main(["segment", str(copy), "--method", "refined"]) == 0
    monkeypatch.setattr("focusmap.segmentation.by_affinity.learn_segmenter", counted)
    new = ["segment", str(copy), str(study), "--method", "refined", "--out"]
    assert main([*new, str(tmp_path / "refused")]) == 3
    assert "patients of" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    new[1:1] = ["--accept", "patient-across-splits"]
    assert main([*new, str(tmp_path / "as_before")]) == 0
    assert not learnt
    shutil.rmtree(copy / "segmenters")
    assert main([*new, str(tmp_path / "anew")]) == 0
    assert len(learnt) == 1
    masks = sorted((tmp_path / "anew/masks").iterdir())
    assert pd.read_csv(tmp_path / "anew/index.csv")["n_pixels"].gt(0).any()
    assert all((tmp_path / "as_before/masks" / mask.name).read_bytes() == mask.read_bytes() for mask in masks)
    (tmp_path / "recipe.yaml").write_text("segmentation: {n_steps: 3, max_cases: 12}")
    assert main([*new, str(tmp_path / "other"), "--recipe", str(tmp_path / "recipe.yaml")]) == 0
    assert len(learnt) == 2
    kept = copy / "segmenters/nodule.safetensors"
    kept.write_bytes(kept.read_bytes()[:300])
    assert main([*new, str(tmp_path / "damaged")]) == 2
    assert f"{kept}: is damaged. Delete it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "advice"),
    [(0.0, "With --method distilled there are no fewer: {}."), (1.0, "With --method distilled, 0 are.")],
)
def test_masks_that_are_mostly_empty_are_owned_to(other, advice, run, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    every_case_predicted(copy)

    def nothing(segmenter, image, heat_map):
        return {"distilled": np.full(heat_map.shape, other), "refined": np.zeros(heat_map.shape)}

    monkeypatch.setattr("focusmap.segmentation.by_affinity.regions_of", nothing)
    assert main(["segment", str(copy), "--method", "refined"]) == 0
    n = len(pd.read_csv(copy / "segmentation/index.csv"))
    said = capsys.readouterr().out
    assert f"nodule: {n} of {n} masks are empty although the model predicts a lesion. {advice.format(n)}" in said
    assert json.loads((copy / "segmentation/cautions.json").read_text())["cautions"][0] in said
    assert main(["report", str(copy)]) == 0
    assert "Most masks are empty although the model predicted a lesion" in (copy / "report.html").read_text()


def test_masks_of_a_net_that_was_fine_tuned_for_few_epochs_are_owned_to(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "ladder.json").write_text('{"budget_minutes": 10, "rungs": [], "chosen": "mean", "finished": true}')
    recipe = copy / "rungs/fine-tuned/recipe.yaml"
    recipe.parent.mkdir(parents=True)
    (copy / "recipe.yaml").write_text((copy / "recipe.yaml").read_text().replace("epochs: 1\n", "epochs: 40\n"))
    said = "fine-tuned for 4 epochs only"
    for epochs in (8, 4):
        Recipe(epochs=epochs).to_yaml(recipe)
        assert main(["segment", str(copy)]) == 0
        assert (said in capsys.readouterr().out) == (epochs == 4)
    assert main(["report", str(copy)]) == 0
    assert said in (copy / "report.html").read_text()


def test_the_report_shows_masks_that_nobody_can_score(run, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    every_case_predicted(copy)
    table = pd.read_csv(copy / "cohort.csv", dtype=str, keep_default_na=False)
    table.assign(mask_nodule="").to_csv(copy / "cohort.csv", index=False)
    sizes = iter(range(1, 29))

    def wider_and_wider(segmenter, image, heat_map):
        region = np.zeros(heat_map.shape)
        region[:, : next(sizes)] = 1.0
        return {"refined": region, "distilled": region}

    monkeypatch.setattr("focusmap.segmentation.by_affinity.regions_of", wider_and_wider)
    assert main(["segment", str(copy), "--method", "refined"]) == 0
    n = len(pd.read_csv(copy / "segmentation/index.csv"))
    assert main(["report", str(copy)]) == 0
    report = (copy / "report.html").read_text()
    section = report.split('<section id="segmentation">')[1].split("</section>")[0]
    assert "No case here has a reference mask" in section
    assert "Largest, median and smallest mask" in section
    longest = f"{np.hypot(28, (n + 1) / 2):.3g} pixels"
    assert re.findall("<td>([^<]*)", section.split("Lesions in these masks")[0]) == [
        f"{n}",
        f"{n}",
        "0",
        f"{28 * (n // 2)} pixels",
        longest,
    ]
    assert f"28 to {28 * n}" in section
    assert f"the largest {n} of {n}" in section
    assert "Dice" not in section
    assert "Most masks are empty" not in report


def test_masks_that_are_full_need_no_caution(run, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    every_case_predicted(copy)
    everywhere = {name: np.ones((28, 28)) for name in ("refined", "distilled")}
    monkeypatch.setattr("focusmap.segmentation.by_affinity.regions_of", lambda *_: everywhere)
    assert main(["segment", str(copy), "--method", "refined", "--out", str(tmp_path / "masks")]) == 0
    assert "masks are empty" not in capsys.readouterr().out
    written = json.loads((tmp_path / "masks/cautions.json").read_text())["cautions"]
    # Masks of everything are below the mean mask, which is said.
    assert [caution.split(":")[0] for caution in written] == ["not usable"]


def test_lesions_whose_files_are_called_alike_are_learnt_apart():
    job = Job(Recipe(), False, torch.device("cpu"), silent)
    lesions = [Lesion(name, "label", (name,)) for name in ("label=a b", "label=a_b")]
    assert len({file_name(lesion.name) for lesion in lesions}) == 1
    first, second = (job.identity(lesion) for lesion in lesions)
    assert first != second


def test_masks_that_choose_anything_are_counted(run, tmp_path, capsys):
    assert main(["segment", str(run), "--out", str(tmp_path / "tuned"), "--tune-on-masks", "--method", "refined"]) == 0
    scores = json.loads((tmp_path / "tuned/scores.json").read_text())
    tune = pd.read_csv(run / "split.csv").query("split == 'tune'")["image_id"]
    lesions = pd.read_csv(run / "cohort.csv").set_index("image_id").loc[tune, "nodule"].eq(1).sum()
    assert scores["masks_used_for_tuning"] == lesions > 0
    assert f"masks used to choose how lesions are drawn: {lesions}" in capsys.readouterr().out


def test_other_images_are_drawn_and_the_bad_ones_listed(run, study, tmp_path, capsys):
    table = pd.read_csv(study).head(4).drop(columns=["mask_nodule"])
    table["nodule"] = table["nodule"].astype("Int64")
    table.to_csv(tmp_path / "new.csv", index=False)
    for path in table["path"]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(study.parent / path, tmp_path / path)
    (tmp_path / table["path"][1]).write_text("no image")
    assert main(["segment", str(run), str(tmp_path / "new.csv")]) == 2
    assert "--out" in capsys.readouterr().err
    command = ["segment", str(run), str(tmp_path / "new.csv"), "--out", str(tmp_path / "masks")]
    assert main(command) == 2
    assert len(pd.read_csv(tmp_path / "masks/index.csv")) == 3
    assert table["path"][1] in (tmp_path / "masks/failures.csv").read_text()
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force", "--skip-unreadable"]) == 0


def test_a_mask_of_another_shape_ends_with_one_message_and_leaves_nothing(run, study, tmp_path, capsys):
    other = tmp_path / "run"
    shutil.copytree(run, other)
    table = pd.read_csv(other / "cohort.csv", dtype=str, keep_default_na=False)
    test = set(pd.read_csv(other / "split.csv").query("split == 'test'")["image_id"])
    row = table.index[(table["nodule"] == "1") & table["image_id"].isin(test)][0]
    wrong = study.parent / "wrong.png"
    Image.fromarray(np.full((5, 9), 255, np.uint8)).save(wrong)
    table.loc[row, "mask_nodule"] = "wrong.png"
    table.to_csv(other / "cohort.csv", index=False)
    assert main(["segment", str(other), "--out", str(tmp_path / "masks")]) == 2
    said = capsys.readouterr().err
    assert "wrong.png" in said
    assert "5 x 9" in said
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(("command", "folder"), [("explain", "focus"), ("segment", "segmentation")])
def test_an_index_that_was_cut_is_told_by_the_report(command, folder, run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "run")
    assert main([command, str(copied)]) == 0
    index = copied / folder / "index.csv"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
    assert main(["report", str(copied)]) == 2
    said = capsys.readouterr().err
    assert f"{index}: was changed or damaged" in said
    assert "repeat the command that wrote it" in said


@pytest.mark.parametrize("fault", ["disk", "killed"])
def test_a_full_disk_or_a_killed_program_leaves_nothing_half_written(fault, run, tmp_path, monkeypatch, capsys):
    def fail(path, region):
        raise KeyboardInterrupt if fault == "killed" else OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("focusmap.segmentation.mask_files.write_binary", fail)
    expected = {"disk": 2, "killed": 130}[fault]
    assert main(["segment", str(run), "--out", str(tmp_path / "masks")]) == expected
    assert list(tmp_path.iterdir()) == []
    before = (run / "segmentation/index.csv").read_bytes()
    assert main(["segment", str(run)]) == expected
    assert (run / "segmentation/index.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "nodul"], "Did you mean 'nodule'"),
        (["--method", "refind"], "Did you mean 'refined'"),
        (["--negative", "normal"], "is not one of"),
        (["--devices", "none"], "is not one of"),
        (["--mask", "outline"], "name a label file"),
    ],
)
def test_wrong_words_are_answered_before_anything_is_learnt(arguments, said, run, tmp_path, capsys):
    assert main(["segment", str(run), "--out", str(tmp_path / "masks"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_settings_of_masks_need_segment_and_lie_within_reason(study, tmp_path, capsys):
    assert main(["run", str(study), "--out", str(tmp_path / "r"), "--negative", "normal", *QUICK]) == 2
    assert "add --segment" in capsys.readouterr().err
    for settings, said in {
        "foreground: 0.4": "both foreground and background",
        "foreground: 0.4, background: 0.6": "background is 0.6; it must not be above foreground, 0.4",
        "similarity: 0.8, band: 0.3": "band is 0.3; it must be at least 0 and below 0.2",
        "n_steps: 1": "n_steps is 1; it must be at least 2",
    }.items():
        (tmp_path / "recipe.yaml").write_text(f"segmentation: {{{settings}}}")
        recipe = ["--recipe", str(tmp_path / "recipe.yaml")]
        assert main(["run", str(study), "--out", str(tmp_path / "r"), "--segment", *recipe, *QUICK]) == 2
        assert said in capsys.readouterr().err
    for model in ("autoencoder", "histogram+logistic"):
        command = ["run", str(study), "--out", str(tmp_path / "r"), "--segment", "--model", model]
        assert main(command) == 2
        assert "no heat maps of labels" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_an_image_a_folder_and_several_images_are_drawn_as_a_table_of_them_is(run, study, tmp_path, capsys):
    table = pd.read_csv(study).head(3).drop(columns=["mask_nodule"])
    (tmp_path / "films").mkdir()
    films = [tmp_path / "films" / f"{k}.png" for k in range(3)]
    for path, film in zip(table["path"], films, strict=True):
        shutil.copy(study.parent / path, film)
    table.assign(path=[f"films/{film.name}" for film in films], nodule=1).to_csv(tmp_path / "films.csv", index=False)
    asked = {
        "table": [str(tmp_path / "films.csv")],
        "folder": [str(tmp_path / "films")],
        "files": [str(film) for film in films],
        "one": [str(films[0])],
    }
    found = {}
    for name, inputs in asked.items():
        assert main(["segment", str(run), *inputs, "--out", str(tmp_path / name)]) == 0
        index = pd.read_csv(tmp_path / name / "index.csv")
        found[name] = index
        assert not (tmp_path / name / "scores.json").exists()
    assert [len(index) for index in found.values()] == [3, 3, 3, 1]
    named = [film.name for film in films]
    assert list(found["folder"]["image_id"]) == [f"films/{name}" for name in named]
    assert list(found["files"]["image_id"]) == named
    for name in ("folder", "files"):
        assert found[name]["n_pixels"].tolist() == found["table"]["n_pixels"].tolist()
        np.testing.assert_allclose(found[name]["probability"], found["table"]["probability"], rtol=1e-5)
    assert main(["segment", str(run), str(films[0]), str(tmp_path / "films.csv"), "--out", str(tmp_path / "both")]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["segment", str(run), str(films[0]), "--out", str(tmp_path / "idle"), "--mask", "outline"]) == 2
    assert "name a label file" in capsys.readouterr().err


def test_every_lesion_is_measured_and_every_mask_has_a_confidence(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    every_case_predicted(copy)
    assert main(["segment", str(copy), "--method", "vote"]) == 0
    index = pd.read_csv(copy / "segmentation/index.csv")
    lesions = pd.read_csv(copy / "segmentation/lesions.csv")
    assert index["method"].eq("vote").all()
    assert index["confidence"].between(0, 1).all()
    drawn = index[index["n_pixels"] > 0]
    assert len(drawn) > 0
    assert lesions.groupby("image_id")["lesion"].max().to_dict() == drawn.set_index("image_id")["n_lesions"].to_dict()
    for row in drawn.itertuples():
        own = lesions[lesions["image_id"] == row.image_id]
        assert own["n_pixels"].sum() <= row.n_pixels
        assert own["long_axis_px"].iloc[0] == row.long_axis_px >= row.short_axis_px > 0
        assert row.long_axis_mm == "unknown"
    scores = json.loads((copy / "segmentation/scores.json").read_text())
    assert set(scores["chosen_by_labels"]) == {"vote", "distilled"}
    whole = scores["selective"][0]
    assert whole["coverage"] == 1
    assert whole["dice"] == pytest.approx(scores["methods"]["vote"]["dice"]["value"])
    assert main(["report", str(copy)]) == 0
    rows = (copy / "report.html").read_text().split("Lesions in these masks: ")[1].split("</table>")[0]
    assert rows.count("<tr>") == 1 + min(len(lesions), 40)
    assert f"{lesions['n_pixels'].max()} pixels" in rows.split("<tr>")[2]


def test_each_lesion_whose_masks_are_of_something_else_is_named(monkeypatch):
    monkeypatch.setattr(cautions, "marked_elsewhere", lambda *_: (3, 3))
    noted = cautions.Cautions()
    for name in ("nodule", "effusion", "nodule"):
        assert not noted.are_of(Lesion(name, name, ("1",)), None)
    assert [reason.values["target"] for reason in noted.reasons("vote", [], [])] == ["nodule", "effusion"]


def test_masks_of_something_else_score_nothing(study, run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    table = pd.read_csv(copy / "cohort.csv", dtype=str, keep_default_na=False)
    marked = table.loc[(table["nodule"] == "1") & (table["mask_nodule"] != ""), "mask_nodule"].iloc[0]
    table.loc[table["nodule"] == "0", "mask_nodule"] = marked
    table.to_csv(copy / "cohort.csv", index=False)
    assert main(["segment", str(copy), "--out", str(tmp_path / "masks")]) == 0
    assert "masks mark something else" in capsys.readouterr().out
    assert not (tmp_path / "masks/scores.json").exists()
    # Unless the user says that every image has a lesion: then it is drawn and scored in all of them.
    assert main(["segment", str(copy), "--negative", "none", "--out", str(tmp_path / "all")]) == 0
    assert "every image has a lesion" in capsys.readouterr().out
    index = pd.read_csv(tmp_path / "all/index.csv")
    assert index["predicted"].all()
    assert set(pd.read_csv(tmp_path / "all/scores.csv")["image_id"]) == set(index["image_id"])
    # A run that has learnt so remembers it, until the user names a class again.
    image = study.parent / pd.read_csv(study)["path"][0]
    assert main(["segment", str(copy), str(image), "--out", str(tmp_path / "one")]) == 0
    assert "every image has a lesion" in capsys.readouterr().out
    assert main(["segment", str(copy), str(image), "--negative", "0", "--out", str(tmp_path / "two")]) == 0
    assert "images labelled 1 have a lesion, those labelled 0 have none" in capsys.readouterr().out


def test_a_run_that_may_not_be_written_to_is_told_before_anything_is_learnt(run, study, tmp_path, capsys, monkeypatch):
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/segmenters")
    monkeypatch.setattr("focusmap.basics.places.os.access", lambda place, _: place != tmp_path / "run")
    image = next((study.parent / "images").iterdir())
    assert main(["segment", str(tmp_path / "run"), str(image), "--out", str(tmp_path / "masks")]) == 2
    assert "segmenters: cannot be written (Permission denied)" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()
