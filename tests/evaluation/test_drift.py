"""Drift: the published numbers, chance by patient, and a shift that was planted; through `evaluate RUN OTHER.csv`."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import ks_2samp

from focusmap.basics import read_json
from focusmap.cli import main
from focusmap.evaluation.drift import Feature, distance_by_lot, drift, shifted, stability_index, summary
from support.studies import phantom_study
from support.synthetic_run import words_of


def feature(values: np.ndarray, patients: np.ndarray | None = None, name: str = "a") -> Feature:
    whose = np.arange(len(values)) if patients is None else patients
    return Feature(name, "image", np.asarray(values), whose.astype(str))


def slow_index(expected: np.ndarray, found: np.ndarray) -> float:
    ends = [-np.inf, *np.quantile(expected, np.arange(1, 10) / 10), np.inf]
    total = 0.0
    for low, high in pairwise(ends):
        a, b = (((one > low) & (one <= high)).sum() for one in (expected, found))
        p, q = (a + 0.5) / (len(expected) + 5), (b + 0.5) / (len(found) + 5)
        total += (q - p) * np.log(q / p)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_those_of_scipy_and_of_the_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    expected, found = draw.normal(size=130), draw.normal(0.4, 1.3, size=70)
    both, other = np.concatenate([expected, found]), np.arange(200) >= 130
    measured, p = distance_by_lot(both, np.arange(200).astype(str), other, seed)
    theirs = ks_2samp(expected, found)
    assert measured == pytest.approx(theirs.statistic)
    # A hundredth of a small p is what 1999 deals can tell.
    assert p == pytest.approx(theirs.pvalue, abs=0.02)
    assert stability_index(expected, found) == pytest.approx(slow_index(expected, found))


def test_equal_values_are_one_step_of_the_distribution() -> None:
    a, b = np.array([0.0, 0, 0, 1]), np.array([0.0, 1, 1, 1])
    measured, _ = distance_by_lot(np.concatenate([a, b]), np.arange(8).astype(str), np.arange(8) >= 4, 0)
    assert measured == ks_2samp(a, b).statistic == 0.5


def test_many_images_of_few_patients_are_not_taken_for_many_patients() -> None:
    """Of two files from one population, 25 patients of 12 alike images each, at most one in ten is called different."""
    claimed, naive = 0, 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        own = draw.normal(size=50)
        values = (own[:, None] + 0.2 * draw.normal(size=(50, 12))).ravel()
        patients = np.repeat(np.arange(50), 12)
        sides = values[:300], values[300:]
        row = drift([feature(sides[0], patients[:300])], [feature(sides[1], patients[300:])], seed)[0]
        claimed += bool(row["is_beyond_chance"])
        naive += ks_2samp(*sides).pvalue < 0.05
    assert claimed <= 7
    assert naive >= 30, "by image, most would be"


def test_texts_are_counted_and_few_patients_are_not_judged() -> None:
    a, b = np.array(["f", "m"] * 100), np.array(["f"] * 150 + ["m"] * 50)
    row = drift([feature(a)], [feature(b)])[0]
    assert row["is_beyond_chance"]
    assert row["ks"] == pytest.approx(0.25)
    assert row["expected"] is None
    few = drift([feature(a)], [feature(b[:8])])[0]
    assert few["psi"] is None
    assert not few["is_beyond_chance"]


def test_unknown_values_are_left_out_and_only_what_both_have_is_compared() -> None:
    a = feature(np.append(np.arange(40.0), np.nan))
    rows = drift([a, feature(np.arange(40.0), name="b")], [feature(np.arange(40.0))])
    assert [(row["feature"], row["n_expected"]) for row in rows] == [("a", 40)]
    assert shifted(rows) == []


def test_a_summary_tells_dark_from_bright_and_sharp_from_smooth() -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))[None]
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64)).astype(np.uint8)
    smooth, sharp = summary(ramp, (64, 128)), summary(noise, (64, 64))
    assert sharp["sharpness"] > 3 * smooth["sharpness"]
    assert smooth["columns to rows"] == 2
    assert summary(np.full((1, 8, 8), 250, np.uint8), (8, 8))["bright share"] == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("drift")
    labels = phantom_study(folder / "study", patients=60, images=120, size=48)
    simple = ["--model", "histogram+logistic", "--workers", "1", "--size", "48"]
    assert main(["train", str(labels), "--out", str(folder / "run"), *simple]) == 0
    assert main(["evaluate", str(folder / "run")]) == 0
    return folder / "run", labels


def other(labels: Path, folder: Path, *, is_wider: bool) -> Path:
    """Write the images of other patients of the same kind; wider ones are padded to twice their columns."""
    made = phantom_study(folder, patients=60, images=120, size=48, seed=7)
    table = pd.read_csv(made, dtype=str, keep_default_na=False)
    table["patient_id"] = "other" + table["patient_id"]
    table.to_csv(made, index=False)
    for path in table["path"] if is_wider else []:
        with Image.open(folder / path) as image:
            pixels = np.asarray(image)
        Image.fromarray(np.concatenate([pixels, np.zeros_like(pixels)], axis=1)).save(folder / path)
    return made


@pytest.mark.parametrize("is_wider", [False, True])
def test_evaluate_says_in_what_another_file_differs_and_what_simpler_models_reach(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], *, is_wider: bool
) -> None:
    # Beside the run: where its images lie is said from its folder.
    folder = shutil.copytree(run[0], run[0].with_name(f"run-{is_wider}"))
    labels = other(run[1], tmp_path / "wide", is_wider=is_wider)
    assert main(["evaluate", str(folder), str(labels)]) == 0
    told = capsys.readouterr().err
    place = folder / "evaluation/labels"
    rows = {row["feature"]: row for row in read_json(place / "drift.json")["features"] if row["kind"] == "image"}  # type: ignore[union-attr,index,call-overload]
    assert rows["columns"]["is_beyond_chance"] == is_wider
    assert (rows["columns"]["size"] == "large") == is_wider
    assert ("unlike train beyond chance" in told) >= is_wider
    assert len(pd.read_csv(place / "drift.csv")) == len(read_json(place / "drift.json")["features"])  # type: ignore[arg-type]
    names = [entry["name"] for entry in read_json(place / "baselines.json")["baselines"]]  # type: ignore[union-attr,index,call-overload]
    assert names[0] == "mean"
    metrics = read_json(place / "metrics.json")
    assert metrics["verdict_reason_code"] != "verdict-none-compared"
    assert main(["report", str(folder)]) == 0
    page = words_of((folder / "report.html").read_text(encoding="utf-8"))
    assert "External data: labels" in page
    assert ("columns of the file" in page.split("beyond chance in:")[-1]) >= is_wider
