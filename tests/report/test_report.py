"""The report: every section from files alone, one file, nothing executed, nothing promised that was not measured."""

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from shlex import quote
from unittest.mock import patch

import pandas as pd
import pytest
import yaml

from focusmap.basics import (
    MissingFileError,
    Reason,
    read_json,
    read_table,
    reason_entries,
    write_json,
    write_table,
    write_text,
)
from focusmap.cli import main
from focusmap.evaluation import MapThreshold
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.report.files import judged_predictions, read_run
from focusmap.report.focus_section import confidence_of_mistakes, threshold_note
from focusmap.report.run_page import render_report
from focusmap.report.words import words_in
from focusmap.study import Recipe, Target, Task
from support.models import unseal
from support.synthetic_run import binary_task, words_of, write_run

SECTIONS = (
    "summary", "cohort", "audit", "split", "training", "results", "mistakes", "maps", "localisation", "model",
    "provenance",
)  # fmt: skip
HOSTILE = '<script>alert("x")</script> & $y$'
CLASSES = Task((Target("label", "multiclass", ("normal", "benign", "malignant")),))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("original") / "run", binary_task("nodule", "effusion"), n=120, n_maps=10)


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    copied = shutil.copytree(original, tmp_path / "run")
    unseal(copied)
    return copied


def page_of(run: Path) -> str:
    """Return the page without its curves, whose drawing takes longer than all the rest."""
    with patch("focusmap.report.page.svg_text", lambda _: "<svg/>"):
        return render_report(run).read_text(encoding="utf-8")


def test_all_sections_are_there_and_none_is_missing(run: Path) -> None:
    page = page_of(run)
    for section in SECTIONS:
        assert f'<section id="{section}">' in page
    assert 'class="absent"' not in page


@pytest.mark.parametrize(("high", "is_said"), [(-0.05, True), (0.05, False)])
def test_a_simpler_answer_that_is_better_is_a_caution(run: Path, high: float, is_said: bool) -> None:
    metrics = read_json(run / "evaluation/metrics.json")
    difference = {"targets": {"nodule": {"auroc": {"value": -0.1, "low": -0.2, "high": high}}}}
    simple = {"name": "logistic", "metrics": metrics, "difference": difference}
    write_json(run / "evaluation/baselines.json", {"baselines": [simple]})
    said = "A simple baseline outperforms this model, with a 95 % interval that excludes 0, for nodule (logistic)"
    assert (said in words_of(page_of(run))) == is_said


def test_a_rung_that_was_not_chosen_is_no_baseline(run: Path) -> None:
    """A candidate that does better on test is shown beside the choice, and not as a simple baseline."""
    metrics = read_json(run / "evaluation/metrics.json")
    difference = {"targets": {"nodule": {"auroc": {"value": -0.1, "low": -0.2, "high": -0.05}}}}
    rung = {"name": "probe", "is_rung": True, "metrics": metrics, "difference": difference}
    write_json(run / "evaluation/baselines.json", {"baselines": [rung]})
    found = {"name": "probe", "inner": {"score": 0.9, "log_loss": 0.3, "n": 20}, "seconds": 3.0, "chosen": False}
    ladder = {"budget_minutes": 10, "rungs": [found, {**found, "name": "fine-tuned"}], "chosen": "mean"}
    ladder |= reason_entries(Reason("rung-mean", name="probe"))
    write_json(run / "ladder.json", ladder)  # type: ignore[arg-type]
    (run / "rungs/fine-tuned").mkdir(parents=True)
    Recipe(model="small-residual", epochs=7, learning_rate=0.0123).to_yaml(run / "rungs/fine-tuned/recipe.yaml")
    page = words_of(page_of(run))
    # The settings that are shown are those of what was trained, not the unresolved ones of the whole ladder.
    assert "those of the fine-tuned net" in page
    assert "0.0123" in page
    assert "lower log loss on the tuning set than probe" in page
    assert "A simple baseline outperforms" not in page
    assert "Comparison with simple baselines" not in page
    assert page.count("linear probe") >= 2


@pytest.mark.parametrize(("low", "is_said"), [(-0.01, True), (0.01, False)])
def test_maps_that_are_not_above_the_mean_mask_are_a_caution(run: Path, low: float, is_said: bool) -> None:
    scores = read_json(run / "focus/scores.json")
    gain = {"auprc": {"value": 0.05, "low": low, "high": 0.2}}
    scores["methods"]["cam"]["minus_mean_mask"] = gain  # type: ignore[index,call-overload]
    write_json(run / "focus/scores.json", scores)
    assert ("not shown to localise the marked lesions better" in words_of(page_of(run))) == is_said


def test_an_auroc_without_an_interval_is_a_caution(run: Path) -> None:
    metrics = read_json(run / "evaluation/metrics.json")
    metrics["targets"]["nodule"]["auroc"] = {"value": 1.0, "reason": "one patient"}  # type: ignore[index,call-overload]
    write_json(run / "evaluation/metrics.json", metrics)
    assert "The AUROC has no interval for nodule" in words_of(page_of(run))


def test_a_class_that_is_never_the_answer_is_a_caution(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", CLASSES, n=60, n_maps=2)
    said = "Never predicted for label: benign."
    assert said not in words_of(page_of(run))
    metrics = read_json(run / "evaluation/metrics.json")
    for counts, is_said in (([[9, 0, 2], [4, 0, 1], [1, 0, 8]], True), ([[9, 0, 2], [0, 0, 0], [1, 0, 8]], False)):
        metrics["targets"]["label"]["confusion"] = counts  # type: ignore[index,call-overload]
        write_json(run / "evaluation/metrics.json", metrics)
        assert (said in words_of(page_of(run))) == is_said, "a class that the test lacks is no news"
    assert "从未作为答案出现：benign" not in page_of(run)
    metrics["targets"]["label"]["confusion"] = [[9, 0, 2], [4, 0, 1], [1, 0, 8]]  # type: ignore[index,call-overload]
    write_json(run / "evaluation/metrics.json", metrics)
    assert "从未作为答案出现：benign" in render_report(run, "zh").read_text(encoding="utf-8")


def test_the_split_is_said_as_it_was(run: Path) -> None:
    def said() -> str:
        return words_of(page_of(run).split('<section id="split">')[1].split("</section>")[0])

    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    write_text(run / "recipe.yaml", yaml.safe_dump({**recipe, "patience": 0}))
    assert "the tuning set selects operating points and temperatures, and the test set is used once" in said()
    write_text(run / "recipe.yaml", yaml.safe_dump({**recipe, "patience": 5}))
    assert "the tuning set selects epochs, operating points and temperatures, and the test set is used once" in said()
    for k in range(3):
        shutil.copytree(run / "model", run / f"folds/{k}/model")
    assert "used once" not in said()
    assert "Each row is therefore tested once, by a model trained without it" in said()


def test_nothing_on_a_page_of_a_table_is_called_an_image(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", binary_task("nodule"), n=60, n_maps=0)
    shutil.rmtree(run / "focus", ignore_errors=True)
    study = yaml.safe_load((run / "study.yaml").read_text())
    write_text(run / "study.yaml", yaml.safe_dump({**study, "path_column": None}))
    audit, card = read_json(run / "audit.json"), read_json(run / "model/model.json")
    write_json(run / "audit.json", {**audit, "findings": []})
    write_json(run / "model/model.json", {**card, "architecture": {"model": "logistic"}, "preparation": {}})
    words = words_of(page_of(run)).lower()
    assert "60 cases" in words
    assert re.findall(r".{30}image.{20}", words.replace("image_id", "")) == []


@pytest.mark.parametrize("folds", [False, True])
def test_patients_that_nobody_knows_are_not_counted(run: Path, *, folds: bool) -> None:
    """The summary and the cohort's flow and table; with `folds`, of a run that is cross-validated."""

    def said() -> str:
        page = page_of(run)
        shown = [page.split(f'<section id="{name}">')[1].split("</section>")[0] for name in ("summary", "cohort")]
        # The caution that nobody knows them is to stay.
        return re.sub(r'(?s)<aside class="limitation blocking">.*?</aside>', "", " ".join(shown)).lower()

    if folds:
        split = read_table(run / "split.csv")
        write_table(run / "split.csv", split.assign(split=[str(i % 3) for i in range(len(split))]))
    assert "patient" in words_of(said())
    study = yaml.safe_load((run / "study.yaml").read_text())
    write_text(run / "study.yaml", yaml.safe_dump({**study, "patient_column": None, "patients": "none"}))
    words = words_of(said())
    assert "120 images" in words
    assert "patient" not in words


def test_a_value_has_no_temperature(tmp_path: Path) -> None:
    task = Task((Target("nodule"), Target("thickness", "continuous")))
    run = write_run(tmp_path / "run", task, n=60, n_maps=0)
    card = read_json(run / "model/model.json")
    write_json(run / "model/model.json", {**card, "temperatures": {"nodule": 1.3, "thickness": 1.0}})
    page = page_of(run)
    assert re.search(r"nodule</th>.{0,200}1.300", page, re.DOTALL)
    table = page[page.index("1.300") :]
    assert "1.000" not in table[: table.index("</table>")]


def test_the_page_stands_alone(run: Path) -> None:
    page = render_report(run).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*(?!["']?(?:data:|#))""", page)
    assert not re.search(r"url\(\s*[\"']?(?!#)", page)
    assert "<script" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_same_files_give_the_same_page(run: Path) -> None:
    assert page_of(run) == page_of(run)


def test_headline_and_disclaimer(run: Path) -> None:
    words = words_of(page_of(run))
    assert "mean AUROC over 2 targets is 0.871 (95 % interval 0.811 to 0.931)" in words
    assert words.count("For research use; not a medical device; intended use: (to be filled in).") >= 2


def test_the_headline_names_what_is_to_be_done_next(run: Path) -> None:
    shutil.rmtree(run / "evaluation")
    assert f"The model has not been evaluated yet; evaluate it with: focusmap evaluate {run}" in words_of(page_of(run))
    shutil.rmtree(run / "model")
    words = words_of(page_of(run))
    assert f"No model has been trained yet; train one with: focusmap train --resume {run}" in words
    assert "has not been evaluated" not in words


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (MapThreshold(0.5, "masks", 3, 1), "best IoU with 1 mask)"),
        (MapThreshold(0.5, "masks", 3, 2), "best IoU with 2 masks)"),
        (MapThreshold(0.5, "evidence", 1), "evidence of 1 image, no mask)"),
        (MapThreshold(0.5, "evidence", 9), "evidence of 9 images, no mask)"),
        (MapThreshold(0.5, "default"), "no true positive on the tuning set"),
    ],
)
def test_a_threshold_says_what_it_was_chosen_on(run: Path, threshold: MapThreshold, said: str) -> None:
    files, words = read_run(run), words_in("en")
    assert files.card is not None
    assert files.index is not None
    of_focus = replace(
        files,
        card=replace(files.card, map_thresholds={"nodule": threshold}),
        index=files.index.assign(method="focus"),
        fold_cards={},
    )
    assert said in threshold_note(of_focus, words)


def test_accepted_blocking_finding_stands_in_red_at_the_top(run: Path) -> None:
    page = page_of(run)
    caution = page.index('<aside class="limitation blocking">')
    assert caution < page.index('id="results"')
    assert "It is unknown which rows belong to one patient" in page[caution : caution + 500]


def test_undefined_metric_is_a_dash_with_its_reason(run: Path) -> None:
    page = page_of(run)
    assert "—<sup>1</sup>" in page
    assert "nothing was predicted negative" in page


def test_heat_maps_are_not_called_what_they_are_not(run: Path) -> None:
    assert "segmentation" not in words_of(page_of(run)).lower()
    maps = page_of(run).split('<section id="maps">')[1].split("<section")[0]
    assert "evidence of where the net looked" in maps


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ({"value": 0.2, "low": 0.1, "high": 0.3}, "The heat maps locate lesions better than the mean mask"),
        ({"value": 0.2, "low": -0.1, "high": 0.3}, "were not shown to locate lesions better than the mean mask"),
        (
            {"value": 0.2, "low": None, "high": None, "reason": "too few patients"},
            "were not shown to locate lesions better than the mean mask",
        ),
        ({"value": -0.1, "low": -0.3, "high": 0.1}, "do not locate lesions better than the mean mask"),
        (None, "no mean-mask baseline"),
    ],
)
def test_verdict_on_the_mean_mask_is_honest(run: Path, gain: dict[str, object] | None, words: str) -> None:
    score = {"auprc": {"value": 0.5, "low": 0.4, "high": 0.6}}
    cam = score if gain is None else {**score, "minus_mean_mask": {"auprc": gain}}
    (run / "focus" / "scores.json").write_text(json.dumps({"methods": {"cam": cam, "mean_mask": score}}))
    assert words in words_of(page_of(run))


def test_the_two_means_of_the_iou_are_told_apart(run: Path) -> None:
    assert "mean IoU also uses Otsu's threshold but excludes constant maps" in page_of(run).replace("&#39;", "'")


def test_a_table_of_many_columns_breaks_its_intervals(run: Path) -> None:
    tables = re.findall(r"(?s)<table class=\"([^\"]*)\">(.*?)</thead>", page_of(run))
    many = [kind for kind, head in tables if head.count("<th scope") > 8]
    assert many
    assert all("wide" in kind for kind in many)
    assert "wide" not in {kind.strip() for kind, head in tables if head.count("<th scope") <= 8}


def test_boxes_that_name_no_label_are_said(run: Path) -> None:
    scores = read_json(run / "focus/scores.json")
    assert "no label has this name" not in page_of(run)
    write_json(run / "focus/scores.json", {**scores, "boxes_unmatched": ["Infiltrate"]})
    said = "Boxes of Infiltrate were excluded: no label has this name."
    assert said in words_of(page_of(run))
    nearest = {"Infiltrate": "Infiltration"}
    write_json(run / "focus/scores.json", {**scores, "boxes_unmatched": ["Infiltrate"], "boxes_nearest": nearest})
    assert f"{said} Did you mean Infiltration?" in words_of(page_of(run))


def test_localisation_has_every_score_beside_its_baselines_and_an_image(run: Path) -> None:
    section = page_of(run).split('<section id="localisation">')[1].split("</section>")[0]
    words = words_of(section)
    for part in (
        "Pixel AUPRC",
        "with missed images",
        "Chance",
        "Difference from the mean mask",
        "+0.200 yes",
        "small (0.1 %",
    ):
        assert part in words
    # Two tables of all labels, one by size, two labels: each has the five rows; the differences have one.
    assert section.count("random map") == 5
    assert section.count("minus mean mask") == 1
    assert 'alt="Maps compared with marked lesions"' in section
    assert "oracle" in words


def as_cases(run: Path) -> pd.DataFrame:
    """Make each image a case of two views, each with a map: its evidence is 0.125 before and 2.5 after."""
    card = read_json(run / "model/model.json")
    write_json(run / "model/model.json", {**card, "architecture": {"model": "resnet18+table", "net": {}}})
    index = read_table(run / "focus/index.csv").assign(slices="", n_slices="", strongest="")
    index = index.assign(case_id=index["image_id"])
    views = [index.assign(view=view, evidence=amount) for view, amount in (("pre", 0.125), ("post", 2.5))]
    both = pd.concat([one.assign(image_id=one["image_id"] + "_" + one["view"]) for one in views])
    write_table(run / "focus/index.csv", both)
    return both


def test_maps_of_cases_say_what_is_the_cases_and_what_the_images_own(run: Path) -> None:
    index = as_cases(run)
    page = page_of(run)
    assert '<section id="localisation">' in page
    shown = unescape(words_of(page.split('<section id="maps">')[1].split("</section>")[0]))
    assert "with the other images of the case and its table row held constant" in shown
    assert "--trust" not in shown
    headings = [
        [f"case {row.case_id} · view {view} · {row.target}" for view in ("post", "pre")] for row in index.itertuples()
    ]
    of_shown = [pair for pair in headings if pair[0] in shown]
    assert of_shown
    for post, pre in of_shown:
        of_post, of_pre = (re.escape(name) + r" reference of the case: \w+; predicted probability of the whole case "
                           r"(\d\.\d{3}); evidence of this image " for name in (post, pre))  # fmt: skip
        found = re.search(of_post + r"2\.500; map: cam " + of_pre + r"0\.125; map: cam", shown)
        assert found is not None
        assert found[1] == found[2]


def test_a_marked_lesion_of_a_case_is_named_with_its_case(run: Path) -> None:
    first = as_cases(run).iloc[:1]
    scores = first[["image_id", "target", "method"]].assign(predicted=True, pointing_hit=1.0, auprc=0.25, chance=0.04)
    write_table(run / "focus/scores.csv", scores)
    shown = unescape(words_of(page_of(run).split('<section id="localisation">')[1].split("</section>")[0]))
    row = first.iloc[0]
    assert f"case {row['case_id']} · {row['image_id']} · {row['target']} hit; predicted for the whole case" in shown


def test_maps_of_single_images_speak_of_no_case(run: Path) -> None:
    shown = words_of(page_of(run).split('<section id="maps">')[1].split("</section>")[0])
    assert "case" not in shown
    assert "--trust" in shown


def test_few_lesions_are_shown_one_by_one_and_what_was_not_found_is_a_miss(run: Path) -> None:
    index = read_table(run / "focus" / "index.csv")[:2]
    singles = pd.DataFrame({"image_id": index["image_id"], "target": index["target"], "chance": 0.04, "auprc": 0.25})
    cam = singles.assign(method="cam", predicted=[True, False], pointing_hit=1.0)
    mean_mask = singles.assign(method="mean_mask", predicted=[True, False], pointing_hit=0.0, auprc=0.125)
    write_table(run / "focus" / "scores.csv", pd.concat([cam, mean_mask]))
    section = page_of(run).split('<section id="localisation">')[1].split("</section>")[0]
    words = words_of(section)
    assert f"{index['image_id'][0]} {index['target'][0]} 4 % yes hit 0.250 0.125" in words
    assert f"{index['image_id'][1]} {index['target'][1]} 4 % no miss — 0.125" in words
    assert section.count("data:image/jpeg") == 2
    write_table(run / "focus" / "scores.csv", pd.concat([cam.iloc[:1]] * 31))
    assert "lesions.csv lists all" not in page_of(run)


def test_of_several_highest_points_the_share_in_the_lesion_is_shown(run: Path) -> None:
    index = read_table(run / "focus" / "index.csv")[:4]
    shares = {"predicted": [True, True, True, False], "pointing_hit": [0.488, 0.0, 1.0, 0.488]}
    scores = index[["image_id", "target", "method"]].assign(auprc=0.25, chance=0.04, **shares)
    write_table(run / "focus" / "scores.csv", scores)
    section = words_of(page_of(run).split('<section id="localisation">')[1].split("</section>")[0])
    said = ["yes partly (0.488) 0.250", "yes miss 0.250", "yes hit 0.250", "no miss —"]
    for row, shown in zip(scores.to_dict("records"), said, strict=True):
        assert f"{row['image_id']} {row['target']} 4 % {shown}" in section


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("audit.json", "focusmap audit"), ("cohort.csv", "focusmap prepare"), ("split.csv", "focusmap prepare"),
        ("recipe.yaml", "focusmap train"), ("history.csv", "focusmap train"), ("manifest.json", "focusmap train"),
        ("model", "focusmap train"), ("predictions", "focusmap train"), ("evaluation", "focusmap evaluate"),
        ("evaluation/curves.json", "focusmap evaluate"), ("focus", "focusmap explain"),
        ("focus/scores.json", "focusmap explain"), ("focus/overlays", ""), ("split.json", ""),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_with_the_command_that_makes_it(run: Path, missing: str, command: str) -> None:
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    absent = re.findall(r'<p class="absent">(.*?)</p>', page_of(run))
    assert bool(absent) == bool(command)
    assert not command or any(command in sentence for sentence in absent)


def test_a_study_alone_is_enough(run: Path) -> None:
    for path in run.iterdir():
        if path.name != "study.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    assert re.findall(r'<section id="(\w+)">', page) == ["summary", "missing"], "empty sections are absent"
    assert page.count('class="absent"') == 11


def test_a_folder_without_a_study_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"study\.yaml"):
        render_report(tmp_path)


@pytest.mark.parametrize(
    "task",
    [
        binary_task("malignant"),
        binary_task(*(f"finding number {i}" for i in range(14))),
        CLASSES,
        Task((Target(HOSTILE), Target("CST", "continuous"))),
    ],
    ids=["one", "fourteen", "classes", "mixed"],
)
def test_every_kind_of_task(task: Task, tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", task, n=120, n_maps=4))
    assert 'class="absent"' not in page
    assert "<script" not in page


def test_names_are_text_and_never_markup(run: Path) -> None:
    audit = dict(read_json(run / "audit.json"))
    audit["findings"] = [{"name": HOSTILE, "severity": HOSTILE, "message": HOSTILE, "count": 1, "examples": [HOSTILE]}]
    write_json(run / "audit.json", audit)
    page = page_of(run)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_overlays_outside_of_the_run_are_not_embedded(run: Path, tmp_path: Path) -> None:
    shutil.move(run / "focus" / "overlays", tmp_path / "overlays")
    index = run / "focus" / "index.csv"
    index.write_text(index.read_text().replace("overlays/", "../../overlays/"))
    assert "data:image/jpeg" not in page_of(run)


def test_folds_are_one_report(run: Path) -> None:
    for fold in ("0", "1"):
        (run / "folds" / fold).mkdir(parents=True)
        shutil.copy(run / "history.csv", run / "folds" / fold / "history.csv")
        shutil.copytree(run / "model", run / "folds" / fold / "model")
    shutil.rmtree(run / "model")
    split = (run / "split.csv").read_text()
    for name, fold in {"train": "0", "tune": "1", "test": "2"}.items():
        split = split.replace(f",{name}", f",{fold}")
    write_text(run / "split.csv", split)
    metrics = {**read_json(run / "evaluation" / "metrics.json"), "split": "out-of-fold"}
    write_json(run / "evaluation" / "metrics.json", metrics)
    page = page_of(run)
    assert 'class="absent"' not in page
    assert "3 folds by patient" in page
    assert "cross-validated" in words_of(page)


def test_each_image_is_judged_at_its_own_folds_operating_point(run: Path) -> None:
    predictions = read_table(run / "predictions" / "test.csv")
    for fold, threshold in (("0", 0.2), ("1", 0.7)):
        part = run / "folds" / fold
        shutil.copytree(run / "model", part / "model")
        card = read_json(part / "model" / "model.json")
        write_json(part / "model" / "model.json", {**card, "thresholds": {"nodule": threshold, "effusion": threshold}})
        write_table(part / "predictions" / "test.csv", predictions[int(fold) :: 2])
    judged = judged_predictions(read_run(run), words_in("en"))
    assert judged is not None
    own = judged["image_id"].map({name: (0.2, 0.7)[i % 2] for i, name in enumerate(predictions["image_id"])})
    assert (judged["called"] == (judged["probability"] >= own)).all()
    assert judged["probability"].between(0.2, 0.7).any()
    metrics = read_json(run / "evaluation/metrics.json")
    for entry in metrics["targets"].values():
        entry["fold_thresholds"] = [0.2, 0.7]
    write_json(run / "evaluation/metrics.json", metrics)
    words = words_of(page_of(run))
    assert words.count("0.200 to 0.700") == 6  # two labels, in the results, the counts and the model's own table
    results = words_of(page_of(run).split('<section id="results">')[1].split("</table>")[1])
    assert results.count("0.200 to 0.700") == 2
    assert "0.400" not in results, "the median of the folds' points, at which nobody judged"


def test_mistakes_are_ordered_by_how_far_past_the_operating_point_they_lie() -> None:
    wrong = pd.DataFrame({"probability": [0.55, 0.0, 0.19, 0.9], "operating_point": [0.1, 0.1, 0.2, 0.0]})
    assert list(confidence_of_mistakes(wrong).round(4)) == [0.5, 1.0, 0.05, 0.9]


def test_classes_have_no_operating_point_and_no_balance_of_the_loss(run: Path, tmp_path: Path) -> None:
    words = words_of(page_of(run))
    assert "predictions are wrong at the operating point" in words
    assert "contribute about equally to the loss" in words
    classes = write_run(tmp_path / "classes", CLASSES, n=60, n_maps=0)
    history = read_table(classes / "history.csv").assign(positive_loss=0.0, negative_loss=0.0)
    write_table(classes / "history.csv", history)
    words = words_of(page_of(classes))
    assert "predictions are wrong; those with the highest probability come first" in words
    assert "contribute about equally to the loss" not in words


def test_what_is_heeded_is_not_advised(run: Path) -> None:
    item = {"name": "too-few-positives", "severity": "warning", "message": "Few.", "count": 2, "examples": []}
    audit = read_json(run / "audit.json")
    for is_heeded in (False, True):
        write_json(run / "audit.json", {**audit, "findings": [{**item, "is_heeded": is_heeded}]})
        words = words_of(page_of(run))
        assert words.count("--folds 5") == (0 if is_heeded else 2), "in the summary and under the finding"
        assert words.count("2 labels with too few examples for training or testing") == 2


def test_a_table_has_no_sample_sheets_and_its_models_forms_are_said_once(run: Path) -> None:
    (run / "audit.html").write_text("")
    assert "with sample sheets" in words_of(page_of(run))
    study, card = yaml.safe_load((run / "study.yaml").read_text()), read_json(run / "model/model.json")
    write_text(run / "study.yaml", yaml.safe_dump({**study, "path_column": None}))
    architecture = {"model": "gradient-boosting", "forms": ["trees", "linear", "trees"]}
    write_json(run / "model/model.json", {**card, "architecture": architecture})
    words = words_of(page_of(run))
    assert "The complete audit is in audit.html" in words
    assert "form trees and linear" in words


def test_the_first_screen_says_in_under_sixty_words_whether_the_model_may_be_relied_on(run: Path) -> None:
    study = yaml.safe_load((run / "study.yaml").read_text())
    (run / "study.yaml").write_text(yaml.safe_dump({**study, "patients": "column"}))
    write_json(run / "audit.json", {**read_json(run / "audit.json"), "accepted": [], "findings": []})
    write_json(run / "manifest.json", {**read_json(run / "manifest.json"), "accepted": []})
    summary = page_of(run).split('<section id="summary">')[1].split("</section>")[0]
    words = words_of(summary)
    assert len(words.split()) < 60
    assert words.startswith("Useful, not shown to be better than a simpler model")
    assert "0.871 95 % interval 0.811 to 0.931" in words
    metrics = read_json(run / "evaluation/metrics.json")
    of_each = {name: {**entry, "n_patients_rarest": 2} for name, entry in metrics["targets"].items()}  # type: ignore[union-attr]
    write_json(run / "evaluation/metrics.json", {**metrics, "targets": of_each})
    summary = words_of(page_of(run).split('<section id="summary">')[1].split("</section>")[0])
    assert summary.startswith("Cannot be judged")
    assert "0.871" not in summary, "no headline number of two patients"


def test_every_label_stands_beside_guessing_and_simpler_models(run: Path) -> None:
    metrics = read_json(run / "evaluation/metrics.json")
    entry = {"name": "logistic", "metrics": metrics, "difference": {"targets": {}}, "is_rung": False}
    write_json(run / "evaluation/baselines.json", {"baselines": [entry, {**entry, "name": "probe", "is_rung": True}]})
    page = page_of(run)
    plot = page.split('<table class="forest">')[1].split("</table>")[0]
    assert plot.count('class="guessing"') == plot.count('class="rival"') == 2, "rungs are no simple models"
    assert words_of(plot).count("0.82 to 0.94") == 2
    baselines = page.split("Comparison with simple baselines")[1].split("</table>")[0]
    assert baselines.count("<tr>") == 3, "a head, and one row per label"


def test_there_are_at_most_three_limitations_and_none_is_lost(run: Path) -> None:
    page = page_of(run)
    assert page.count("<aside") == 3
    for sentence in ("It is unknown which rows", "Nearly identical images with different labels", "All data come from"):
        assert sentence in page


def test_maps_of_a_label_no_better_than_guessing_are_grey_and_say_so(run: Path) -> None:
    assert 'class="grey"' not in page_of(run)
    metrics = read_json(run / "evaluation/metrics.json")
    metrics["targets"]["nodule"]["auroc"] = {"value": 0.5, "low": 0.4, "high": 0.6}  # type: ignore[index,call-overload]
    write_json(run / "evaluation/metrics.json", metrics)
    page = page_of(run)
    assert page.count('class="grey"') == 1
    assert "nodule (grey: not better than guessing on the test set)" in page
    assert all("nodule" not in shown for shown in re.findall(r'<figure class="example">.*?</figure>', page, re.DOTALL))


def test_a_value_is_told_by_its_error_in_its_unit_and_not_by_an_auroc(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Task((Target("CST", "continuous", unit="µm"),)), n=120, n_maps=0)
    shutil.rmtree(run / "focus", ignore_errors=True)
    page = page_of(run)
    assert "MAE 0.3 µm 95 % interval 0.24 to 0.36" in words_of(page)
    assert 'alt="Agreement: CST (µm)"' in page
    assert "AUROC" not in words_of(page)
    assert "There are no curves" not in page


def test_calibration_is_left_out_below_ten_positives(run: Path) -> None:
    assert 'alt="Calibration"' in page_of(run)
    curves = read_json(run / "evaluation/curves.json")
    for entry in curves.values():
        entry["calibration"]["n"] = [1] * len(entry["calibration"]["n"])  # type: ignore[index,call-overload]
    write_json(run / "evaluation/curves.json", curves)
    assert 'alt="Calibration"' not in page_of(run)


def test_only_what_differs_from_the_defaults_is_unfolded_of_the_recipe(run: Path) -> None:
    training = page_of(run).split('<section id="training">')[1].split('<section id="model">')[0]
    changed, rest = training.split("All settings")
    assert "What differs from the defaults" in changed
    assert "small-residual" in changed
    assert "label smoothing" not in changed
    assert "label smoothing" in rest


def test_gaps_of_subgroups_stand_open_and_the_rest_is_folded(tmp_path: Path) -> None:
    labels = write_phantom(make_phantom(PhantomOptions(n_patients=24, n_images=48, size=32)), tmp_path / "study")
    table = pd.read_csv(labels)
    table["site"] = ["north" if int(str(p)[1:]) % 2 else "south" for p in table["patient_id"]]
    table.to_csv(labels, index=False)
    run = tmp_path / "run"
    typed = ["--group", "site", "--model", "histogram+logistic", "--workers", "1"]
    assert main(["run", str(labels), "--out", str(run), *typed]) == 0
    rows = read_json(run / "evaluation/subgroups.json")["rows"]
    assert {row["group"] for row in rows} == {"north", "south"}
    rows[0] |= {"is_beyond_chance": True, "p": 0.01}
    write_json(run / "evaluation/subgroups.json", {"rows": rows})
    page = render_report(run).read_text()
    assert page.index(">Subgroups<") < page.index(f"{rows[0]['target']} by site")
    assert "tables without a gap" in page
    smallest = f"site={rows[0]['group']}, of {rows[0]['n_patients']} patients"
    assert f"The smallest group that could be judged is {smallest}" in page


def test_a_mistake_among_classes_is_seen_by_what_was_answered(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", CLASSES, n=200, n_maps=40)
    shown = re.findall(r'<figure class="example">.*?<b>(.*?)</b>', page_of(run), re.DOTALL)
    assert [heading.split(":")[0] for heading in shown] == ["True positive", "False positive"]
    assert all("label=normal" not in heading for heading in shown), "a hit is one of something found"


def test_maps_of_some_images_by_lot_are_counted(run: Path) -> None:
    index, tested = read_table(run / "focus/index.csv"), read_table(run / "predictions/test.csv")
    n_mapped, n_tested = index["image_id"].nunique(), tested["image_id"].nunique()
    assert n_mapped < n_tested
    assert f"Heat maps were drawn for {n_mapped} of {n_tested} test images" in words_of(page_of(run))
    write_table(run / "predictions/test.csv", tested[tested["image_id"].isin(index["image_id"])])
    assert "selected at random" not in words_of(page_of(run))


def test_a_model_that_is_useful_for_some_labels_says_for_which_and_what_the_simpler_model_is(run: Path) -> None:
    metrics = read_json(run / "evaluation/metrics.json")
    for name, level in (("nodule", "useful-not-better-than-simpler"), ("effusion", "not-shown-useful")):
        metrics["targets"][name]["verdict"] = level  # type: ignore[index,call-overload]
    rival = "histogram+lbp+pyramid+logistic"
    limits = {"metric": "AUROC", "value": "0.86", "low": "0.80", "high": "0.91", "guessing": "0.5"}
    reason = Reason("verdict-not-above", **limits, rival=rival)
    metrics |= {"verdict": "useful-not-better-than-simpler", **reason_entries(reason, "verdict_reason")}
    write_json(run / "evaluation/metrics.json", metrics)
    banner = words_of(page_of(run).split('<section id="summary">')[1].split("</section>")[0])
    assert "Only for nodule; not for the other 1." in banner
    assert "above a logistic regression on plain image features" in banner
    assert rival not in banner


def test_a_run_of_any_name_is_shown_apart_from_the_date_and_quoted_in_commands(run: Path) -> None:
    named = run.rename(run.with_name("ر it's"))
    shutil.rmtree(named / "evaluation")
    page = unescape(page_of(named))
    # Without, a browser would reverse the date that follows a word written from right to left.
    assert "<bdi>ر it's</bdi>" in page
    assert f"focusmap evaluate {quote(named.name)}" in page
