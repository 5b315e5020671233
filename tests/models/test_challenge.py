"""Challenges: leaks pay when images are split, and not when patients are; shuffled labels pay nowhere."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.models.challenge import Challenge, _shuffles, challenged, forecast
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.study import Declaration, read_cohort


@pytest.fixture
def cohort(tmp_path):
    """60 patients of three images each; what their images have in common is theirs alone."""
    labels = write_phantom(make_phantom(PhantomOptions(n_patients=60, n_images=180, size=28)), tmp_path)
    table = pd.read_csv(labels)
    sick = np.random.default_rng(0).random(60) < 0.5
    patients = {name: k for k, name in enumerate(dict.fromkeys(table["patient_id"]))}
    table["found"] = [int(sick[patients[name]]) for name in table["patient_id"]]
    table["site"] = ["north" if patients[name] % 2 else "south" for name in table["patient_id"]]
    table.to_csv(labels, index=False)
    return read_cohort(labels, Declaration(targets=("found",), patient="patient_id", groups=("site",)))


def features_of(cohort, *, signal=0.0, seed=0):
    """Return features by which a patient is known, a site is known, and of which one follows the label by `signal`."""
    draw = np.random.default_rng(seed)
    _, patient = np.unique(cohort.patient_ids.astype(str), return_inverse=True)
    own = draw.normal(size=(patient.max() + 1, 40))[patient] + 0.1 * draw.normal(size=(len(cohort), 40))
    site = (cohort.table["site"] == "north").to_numpy()[:, None] * 2.0
    label = signal * cohort.truth[:, :1] + draw.normal(size=(len(cohort), 1))
    return np.concatenate([own, site, label], axis=1)


def value(row):
    return row["value"]


def test_patients_that_are_known_again_pay_only_when_images_are_split(cohort):
    splits = challenged(Challenge(features_of(cohort), cohort))["splits"]
    assert splits["image"]["low"] > 0.6
    assert splits["patient"]["low"] < 0.5 < splits["patient"]["high"]


def test_of_shuffled_labels_nothing_is_learnt_nor_less_than_nothing(cohort):
    _, patients = np.unique(cohort.patient_ids.astype(str), return_inverse=True)
    found = []
    for seed in range(3):
        draw = np.random.default_rng(seed)
        folds = draw.permutation(patients.max() + 1)[patients] % 5
        asked = Challenge(features_of(cohort, signal=3, seed=seed), cohort, seed=seed)
        found.append(value(_shuffles(asked, patients, folds, draw)))
    assert abs(np.mean(found) - 0.5) < 0.06


def test_duplicates_across_patients_pay_until_they_are_joined(cohort):
    ids = cohort.image_ids
    _, patient = np.unique(cohort.patient_ids.astype(str), return_inverse=True)
    first = np.unique(patient, return_index=True)[1]
    # Every second patient is the one before under another name.
    alike = [(ids[a], ids[b]) for a, b in zip(first[::2], first[1::2], strict=True)]
    features = features_of(cohort)[:, :40]
    truth = cohort.table["found"].to_numpy(dtype=str).copy()
    for k in range(0, len(first) - 1, 2):
        features[patient == k + 1] = features[patient == k][:1]
        truth[patient == k + 1] = truth[first[k]]
    twins = replace(cohort, table=cohort.table.assign(found=truth))
    splits = challenged(Challenge(features, twins, alike))["splits"]
    assert value(splits["patient"]) > 0.75
    assert value(splits["patient-and-duplicates"]) < 0.65


def test_what_is_no_disease_is_told_by_the_same_features(cohort):
    columns = {"site": cohort.table["site"].tolist(), "name": cohort.image_ids}
    found = challenged(Challenge(features_of(cohort, signal=3), cohort, columns=columns))
    assert value(found["columns"]["site"]) > 0.9
    assert "name" not in found["columns"], "a column with a value per row is no group"
    assert value(found["splits"]["held-out site"]) > 0.6
    numbers = [row["n_patients"] for row in found["curve"]]
    assert numbers == sorted(numbers)
    assert value(found["curve"][-1]) == pytest.approx(value(found["splits"]["patient"]))
    low, high = found["splits"]["patient"]["low"], found["splits"]["patient"]["high"]
    assert found["n_patients_needed"] == int(np.ceil(60 * ((high - low) / 0.06) ** 2))


@pytest.mark.slow
def test_a_run_is_challenged_by_command(cohort, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--target", "found", "--patient", "patient_id", "--group", "site", "--model", "histogram+logistic"]
    assert main(["run", str(cohort.study.label_file), "--out", str(run), *words, "--workers", "1"]) == 0
    assert main(["challenge", str(run)]) == 0
    found = json.loads((run / "evaluation/challenge.json").read_text())
    assert {"image", "patient", "held-out site", "shuffled labels"} <= found["splits"].keys()
    assert "the same features tell site" in capsys.readouterr().out
    doubtful = pd.read_csv(run / "evaluation/label_errors.csv")
    assert len(doubtful) == found["n_doubtful"] > 0
    assert len(list((run / "evaluation/label_errors").iterdir())) == min(20, len(doubtful))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Labels to look at again" in page
    assert "the AUROC of such probes will lie between" in page


def test_a_curve_is_drawn_on_by_the_root_of_the_patients():
    """Of a curve ``.9 - 1 / sqrt(n)`` the value at twice the patients is exact, and within limits that hold it."""
    sizes = (20, 40, 60, 80, 100)
    curve = [{"n_patients": n, "value": 0.9 - n**-0.5, "low": 0.85 - n**-0.5, "high": 0.95 - n**-0.5} for n in sizes]
    found = forecast(curve)
    assert found["n_patients"] == 200
    assert found["value"] == pytest.approx(0.9 - 200**-0.5)
    half = np.hypot(0.05 * np.sqrt(0.5), 100**-0.5 - 200**-0.5)
    assert found["high"] - found["value"] == pytest.approx(half)
    assert forecast(curve[:2]) == {}
    falling = [{**row, "value": 1 - row["value"], "low": 0.0, "high": 0.4} for row in curve]
    assert forecast(falling)["value"] == falling[-1]["value"], "more patients are not held to be worse"


def test_labels_that_the_features_contradict_are_named_with_their_patients(cohort):
    draw = np.random.default_rng(3)
    wrong = draw.choice(len(cohort), 9, replace=False)
    features = 2 * cohort.truth[:, :1] + draw.normal(size=(len(cohort), 30))
    table = cohort.table.copy()
    table.loc[table.index[wrong], "found"] = [str(1 - int(cell)) for cell in table["found"].iloc[wrong]]
    found = challenged(Challenge(features, replace(cohort, table=table)))["doubtful"]
    named = {table["image_id"].iloc[k] for k in wrong}
    hits = [row["image_id"] in named for row in found[:9]]
    assert sum(hits) >= 5
    assert np.mean(hits) > 0.7
    assert {"target", "given", "suggested", "probability", "margin", "patient_id"} <= set(found[0])
