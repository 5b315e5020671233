"""Six studies get the verdict that a careful statistician would give, by models that are fitted in seconds."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from focusmap.basics import Json, read_json
from focusmap.cli import main
from focusmap.evaluation import EvaluationOptions, Evidence, compare_predictions, of_images, read_predictions
from focusmap.evaluation.verdict import verdicts_of
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.study import Run, load_cohort

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("FOCUSMAP_DATA", "no-data-here"))
SIMPLE = ["--model", "histogram+lbp+pyramid+logistic", "--workers", "1"]
USEFUL, BESIDE, NOT_SHOWN, UNJUDGED = (
    "useful",
    "useful-not-better-than-simpler",
    "not-shown-useful",
    "cannot-be-judged",
)


def real(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"FOCUSMAP_DATA has no {name}")


def verdicts(folder: Path, *typed: str) -> tuple[str, dict[str, str]]:
    """Run a study and return its verdict, and that of each target."""
    assert main(["run", *typed, "--out", str(folder)]) == 0
    metrics = read_json(folder / "evaluation/metrics.json")
    targets: Mapping[str, Mapping[str, Json]] = metrics["targets"]  # type: ignore[assignment]
    return str(metrics["verdict"]), {name: str(entry["verdict"]) for name, entry in targets.items()}


@pytest.mark.parametrize(("shuffle_labels", "expected"), [(False, USEFUL), (True, NOT_SHOWN)])
def test_planted_lesions_are_useful_and_shuffled_labels_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, shuffle_labels: bool, expected: str
) -> None:
    phantom = make_phantom(PhantomOptions(n_patients=60, n_images=180, size=32, shuffle_labels=shuffle_labels))
    labels = write_phantom(phantom, tmp_path / "study")
    of_all, of_each = verdicts(tmp_path / "run", str(labels), *SIMPLE)
    assert of_all == expected
    assert set(of_each.values()) <= {expected, UNJUDGED, NOT_SHOWN}
    said = capsys.readouterr().out.splitlines()
    first = next(n for n, line in enumerate(said) if line.startswith("verdict: "))
    assert len(said) - first <= 8, "the verdict, why, at most five lines, and the path"
    assert said[-1].startswith("report: ")


def test_two_volumes_of_one_patient_are_not_judged_however_well_they_are_told_apart(tmp_path: Path) -> None:
    rows = [f"{k},p{min(k, 1)},{k % 2},{0.1 + 0.8 * (k % 2)}" for k in range(4)]
    (tmp_path / "table.csv").write_text("image_id,patient_id,true_a,prob_a\n" + "\n".join(rows) + "\n")
    assert main(["evaluate", "--predictions", str(tmp_path / "table.csv"), "--out", str(tmp_path / "out")]) == 0
    metrics = read_json(tmp_path / "out/metrics.json")
    assert metrics["targets"]["a"]["auroc"]["value"] == 1.0  # type: ignore[index,call-overload]
    assert metrics["verdict"] == UNJUDGED


@real("breast_us_busi")
def test_texture_alone_tells_breast_lesions_better_than_guessing(tmp_path: Path) -> None:
    labels = DATA / "breast_us_busi/labels.csv"
    grouped = ["--target", "label", "--patient", "near_duplicate_group"]
    assert verdicts(tmp_path / "run", str(labels), *grouped, *SIMPLE)[0] == USEFUL


@real("cxr_nih621")
def test_no_single_finding_of_466_chest_films_is_shown_by_texture(tmp_path: Path) -> None:
    """Their mean lies above guessing; of no finding can that be said, and four have too few patients."""
    of_all, of_each = verdicts(tmp_path / "run", str(DATA / "cxr_nih621/labels.csv"), *SIMPLE)
    assert of_all == NOT_SHOWN
    assert {name for name, level in of_each.items() if level == UNJUDGED} == {
        "Pneumonia", "Edema", "Emphysema", "Hernia",
    }  # fmt: skip


@real("aptos2021_tabular")
def test_of_the_eyes_only_the_treatment_is_told_better_than_by_carrying_values_forward(tmp_path: Path) -> None:
    names = ("gender", "age", "diagnosis", "anti_VEGF", "preVA", "preCST")
    targets = [f"--target={name}" for name in ("VA:continuous", "CST:continuous", "continue_injection")]
    before = ["--before=VA=preVA", "--before=CST=preCST", "--case=eye_id", "--missing=continue_injection=6"]
    typed = [*targets, *before, *(f"--covariate={name}" for name in names), "--model=logistic", "--workers=1"]
    of_all, of_each = verdicts(tmp_path / "run", str(DATA / "aptos2021_tabular/labels.csv"), *typed)
    assert of_all == USEFUL
    assert of_each == {"VA": BESIDE, "CST": BESIDE, "continue_injection": USEFUL}


@real("brain_lgg_mri")
def test_slices_with_tumour_are_told_no_better_by_texture_than_by_where_they_lie(tmp_path: Path) -> None:
    table = pd.read_csv(DATA / "brain_lgg_mri/labels.csv", dtype=str, keep_default_na=False)
    table = table[(table["bright_fraction"].astype(float) > 0.05) & (table["slice_index"].astype(int) % 3 == 0)]
    place = table["slice_index"].astype(int) / table["n_slices"].astype(int)
    table.assign(off_centre=(place - 0.5).abs().round(3)).to_csv(tmp_path / "slices.csv", index=False)
    shared = [str(tmp_path / "slices.csv"), "--images", str(DATA / "brain_lgg_mri"), "--target", "has_tumor"]
    texture, position = tmp_path / "texture", tmp_path / "position"
    assert verdicts(texture, *shared, "--size", "64", *SIMPLE)[0] == USEFUL
    assert main(["train", *shared, "--covariate", "off_centre", "--model", "logistic", "--workers", "1",
                 "--out", str(position)]) == 0  # fmt: skip
    cohort = load_cohort(texture)
    own, other = (read_predictions(Run(run).predictions("test"), cohort.task) for run in (texture, position))
    ids = list(own.ids["image_id"])
    settings = EvaluationOptions()
    pair = (own, of_images(other, ids))
    difference = compare_predictions(*pair, cohort.of(ids).truth, (settings, settings))
    evidence = Evidence(
        read_json(texture / "evaluation/metrics.json"), [{"name": "position", "difference": difference}]
    )
    assert verdicts_of(evidence)["has_tumor"].level == BESIDE


@real("chexnet_predictions")
def test_fourteen_findings_of_25000_films_are_useful_and_nothing_simpler_was_compared(tmp_path: Path) -> None:
    table = DATA / "chexnet_predictions/predictions.csv.gz"
    assert main(["evaluate", "--predictions", str(table), "--out", str(tmp_path / "out")]) == 0
    metrics = read_json(tmp_path / "out/metrics.json")
    assert metrics["verdict"] == BESIDE
    assert metrics["verdict_reason"] == "14 of 14 labels are above guessing; no simpler model was compared"
