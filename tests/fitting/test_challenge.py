"""Challenges: leaks pay when images are split, and not when patients are; shuffled labels pay nowhere."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.evaluation import Reference, lesion_boxes, reference_of
from focusmap.evaluation.localisation.reference import Boxes
from focusmap.fitting.challenge import Challenge, auroc_shuffled, forecast, run_challenge
from focusmap.fitting.covers import Cover, Covered, covered, over_lesions
from focusmap.images import Placement, read_mask
from focusmap.images.crop import Box
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
    splits = run_challenge(Challenge(features_of(cohort), cohort))["splits"]
    assert splits["image"]["low"] > 0.6
    assert splits["patient"]["low"] < 0.5 < splits["patient"]["high"]


def test_of_shuffled_labels_nothing_is_learnt_nor_less_than_nothing(cohort):
    _, patients = np.unique(cohort.patient_ids.astype(str), return_inverse=True)
    found = []
    for seed in range(3):
        draw = np.random.default_rng(seed)
        folds = draw.permutation(patients.max() + 1)[patients] % 5
        asked = Challenge(features_of(cohort, signal=3, seed=seed), cohort, seed=seed)
        found.append(value(auroc_shuffled(asked, patients, folds, draw)))
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
    splits = run_challenge(Challenge(features, twins, alike))["splits"]
    assert value(splits["patient"]) > 0.75
    assert value(splits["patient-and-duplicates"]) < 0.65


def test_what_is_no_disease_is_told_by_the_same_features(cohort):
    columns = {"site": cohort.table["site"].tolist(), "name": cohort.image_ids}
    found = run_challenge(Challenge(features_of(cohort, signal=3), cohort, columns=columns))
    assert value(found["columns"]["site"]) > 0.9
    assert "name" not in found["columns"], "a column with a value per row is no group"
    assert value(found["splits"]["held-out site"]) > 0.6
    numbers = [row["n_patients"] for row in found["curve"]]
    assert numbers == sorted(numbers)
    assert value(found["curve"][-1]) == pytest.approx(value(found["splits"]["patient"]))
    low, high = found["splits"]["patient"]["low"], found["splits"]["patient"]["high"]
    assert found["n_patients_needed"] == int(np.ceil(60 * ((high - low) / 0.06) ** 2))


def test_what_is_left_of_a_label_when_its_lesion_is_covered(cohort):
    """Features that follow the label only where the lesion is seen lose it under the cover; others keep it."""
    draw, n = np.random.default_rng(5), len(cohort)
    seen, noise = features_of(cohort, signal=3), draw.normal(size=(n, 42))
    everywhere = Cover(np.tile([0.2, 0.2, 0.7, 0.8], (n, 1)), np.arange(n) % 7 > 0)
    parts = {"lesion": Covered(noise, everywhere), "centre": Covered(seen, everywhere)}
    found = run_challenge(Challenge(seen, cohort, covered=parts))["covered"]
    assert found["lesion"]["low"] < 0.5 < 0.8 < value(found["lesion"]["uncovered"])
    assert value(found["centre"]) == pytest.approx(value(found["centre"]["uncovered"]))
    assert found["lesion"]["n_images"] == everywhere.rows.sum()
    assert found["lesion"]["share"] == pytest.approx(0.3)


def test_a_cover_has_one_size_hides_lesions_and_does_not_tell_who_has_one():
    draw = np.random.default_rng(0)
    corner = draw.random((200, 2)) * 0.6
    marked = np.hstack([corner, corner + 0.1 + 0.25 * draw.random((200, 2))])
    marked[120:] = np.nan
    positive = np.arange(200) < 160
    positive[120:150] = False
    cover = over_lesions(marked, positive, draw)
    top_left, bottom_right = cover.boxes[:, :2], cover.boxes[:, 2:]
    assert np.ptp(bottom_right - top_left, axis=0) == pytest.approx(0, abs=1e-9)
    assert (top_left >= 0).all()
    assert (bottom_right <= 1 + 1e-9).all()
    hidden = (top_left[:120] <= marked[:120, :2] + 1e-9) & (bottom_right[:120] >= marked[:120, 2:] - 1e-9)
    assert hidden.mean() > 0.94
    assert np.flatnonzero(~cover.rows).tolist() == list(range(150, 160)), "their lesions may be anywhere"
    assert abs(cover.boxes[:120].mean(axis=0) - cover.boxes[120:].mean(axis=0)).max() < 0.05


def test_lesions_are_found_in_masks_and_boxes_and_so_is_which_labels_they_are_of(cohort):
    labels = cohort.study.label_file
    marked = read_cohort(labels, Declaration(targets=("nodule", "cavity", "found"), patient="patient_id"))
    first = next(i for i in marked.image_ids if marked.mask_file(i, "nodule") and not marked.mask_file(i, "cavity"))
    mask = read_mask(marked.mask_file(first, "nodule"))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    boxes, is_marked = lesion_boxes(reference_of(marked))
    own = boxes[marked.positions[first]] * 28
    assert own.tolist() == pytest.approx([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    assert is_marked.tolist() == [True, True, False]
    other = next(i for i, box in zip(marked.image_ids, boxes, strict=True) if np.isnan(box).any())
    boxes, _ = lesion_boxes(Reference(marked, Boxes({(other, "found"): np.array([[7.0, 14.0, 7.0, 7.0]])})))
    assert boxes[marked.positions[other]].tolist() == [0.5, 0.25, 0.75, 0.5]


def test_a_box_is_filled_with_the_median_of_the_image_without_its_padding():
    pixels = np.random.default_rng(1).random((2, 1, 40, 40), dtype=np.float32)
    placements = [Placement((20, 40), Box(0, 0, 20, 40), 40), Placement((40, 40), Box(0, 0, 40, 40), 40)]
    boxes = np.array([[0.5, 0.25, 1, 0.75], [0, 0, 0.1, 1]])
    found = covered(pixels, placements, boxes)
    assert (found[0, 0, 20:30, 10:30] == np.median(pixels[0, 0, 10:30])).all()
    assert (found[1, 0, :4] == np.median(pixels[1, 0])).all()
    changed = found != pixels
    assert changed[0].sum() <= 200
    assert not changed[0, 0, :20].any()
    assert not changed[1, 0, 4:].any()


@pytest.mark.slow
def test_a_run_is_challenged_by_command(cohort, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    words = [
        "--target",
        "found",
        "--target",
        "nodule",
        "--patient",
        "patient_id",
        "--group",
        "site",
        "--model",
        "histogram+logistic",
    ]
    assert main(["run", str(cohort.study.label_file), "--out", str(run), *words, "--workers", "1"]) == 0
    with monkeypatch.context() as patched:
        patched.setattr("focusmap.basics.places.os.access", lambda *_: False)
        assert main(["challenge", str(run)]) == 2
    assert main(["challenge", str(run)]) == 0
    found = json.loads((run / "evaluation/challenge.json").read_text())
    assert {"image", "patient", "held-out site", "shuffled labels"} <= found["splits"].keys()
    said = capsys.readouterr().out
    assert "the same features tell site" in said
    assert "the same features tell file size" in said
    assert {"lesion", "centre", "all but the border"} == found["covered"].keys()
    assert "lesion covered (" in said
    doubtful = pd.read_csv(run / "evaluation/label_errors.csv")
    assert len(doubtful) == found["n_doubtful"] > 0
    assert len(list((run / "evaluation/label_errors").iterdir())) == min(20, len(doubtful))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Labels to look at again" in page
    assert "the AUROC of such probes will lie between" in page
    assert "all but a border of a tenth at each side" in page
    (kept,) = (run / "store").glob("challenge-*.npy")
    np.save(kept, np.random.default_rng(0).normal(size=np.load(kept).shape))
    assert main(["challenge", str(run)]) == 0
    again = json.loads((run / "evaluation/challenge.json").read_text())["splits"]["patient"]
    assert value(again) != value(found["splits"]["patient"]), "features are measured once, and read again"


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
    found = run_challenge(Challenge(features, replace(cohort, table=table)))["doubtful"]
    named = {table["image_id"].iloc[k] for k in wrong}
    hits = [row["image_id"] in named for row in found[:9]]
    assert sum(hits) >= 5
    assert np.mean(hits) > 0.7
    assert {"target", "given", "suggested", "probability", "margin", "patient_id"} <= set(found[0])
