"""What the audit finds in public sets; skipped where FOCUSMAP_DATA does not name their folder."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from focusmap.audit.duplicates import audit_against
from focusmap.audit.findings import AuditOptions
from focusmap.audit.images import Images, look_at_all
from focusmap.audit.near import near_pairs
from focusmap.study import Cohort, Declaration, make_split, read_cohort, read_roster, roster_of
from support.audited import audit_cohort, found, must_find, write_cohort

DATA = Path(os.environ.get("FOCUSMAP_DATA", "no-data-here"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason="FOCUSMAP_DATA names no folder")]

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip


def read(name: str, **said: object) -> Cohort:
    return read_cohort(DATA / name / "labels.csv", Declaration(**said))  # type: ignore[arg-type]


def test_breast_ultrasound_holds_149_near_duplicates_of_which_six_are_cropped_or_turned() -> None:
    audit = audit_cohort(read("breast_us_busi", targets=("label",), patient="none"))
    assert must_find(audit, "near-duplicates").count == 149
    duplicates = audit.overview["duplicates"]
    assert isinstance(duplicates, dict)
    assert Counter(pair["how"] for pair in duplicates["near"]) == {"alike": 143, "cropped": 5, "turned": 1}  # type: ignore[union-attr, index]
    assert must_find(audit, "near-duplicates-across-classes").count == 5
    assert audit.blocking() == []
    grouped = audit_cohort(read("breast_us_busi", targets=("label",), patient="near_duplicate_group"))
    assert must_find(grouped, "near-duplicates-across-classes").examples == (
        "images/benign_406.png ~ images/malignant_094.png (0.987)",
    )
    assert "4 of them, each of one patient or case, have different labels" in (
        must_find(grouped, "near-duplicates").message
    )


CHANGES = {
    "exact copy": lambda image: image,
    "smaller": lambda image: image.resize((image.width * 9 // 10, image.height * 9 // 10)),
    "brighter": lambda image: image.point(lambda level: min(255, int(1.2 * level + 10))),
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "cropped on one side": lambda image: image.crop((image.width // 20, 0, image.width, image.height)),
    "cropped below": lambda image: image.crop((0, 0, image.width, image.height * 19 // 20)),
    "cropped around": lambda image: ImageOps.crop(image, min(image.size) // 20),
    "turned": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "lettered": lambda image: lettered(image),
}


def lettered(image: Image.Image) -> Image.Image:
    written, size = image.copy(), max(10, image.height // 12)
    draw = ImageDraw.Draw(written)
    draw.text((image.width // 20, image.height // 20), "PATIENT LEFT 12:34", 255, ImageFont.load_default(size))
    draw.text((image.width * 6 // 10, image.height * 17 // 20), "B-MODE", 255, ImageFont.load_default(size))
    return written


@pytest.fixture(scope="module")
def ultrasound() -> Images:
    return look_at_all(read("breast_us_busi", targets=("label",), patient="none").files, AuditOptions())


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_made_of_fifty_ultrasound_images_is_found_fifty_times(
    ultrasound: Images, change: str, tmp_path: Path
) -> None:
    cohort = read("breast_us_busi", targets=("label",), patient="none")
    chosen = np.random.default_rng(0).choice(len(cohort), 50, replace=False)
    for place in chosen:
        with Image.open(cohort.files[place]) as image:
            CHANGES[change](image.convert("L")).save(tmp_path / f"{place}.png")
    made = look_at_all([tmp_path / f"{place}.png" for place in chosen], AuditOptions())
    thumbnails = np.concatenate([ultrasound.thumbnails, made.thumbnails])
    found_pairs = {(pair.a, pair.b) for pair in near_pairs(thumbnails, np.ones(len(thumbnails), bool))}
    n = len(cohort)
    assert sum((int(place), n + k) in found_pairs for k, place in enumerate(chosen)) == 50


@pytest.mark.parametrize(("name", "most"), [("cxr_nih621", 0), ("breast_us_busbra", 0), ("brain_lgg_mri", 14)])
def test_images_of_two_patients_are_hardly_ever_near(name: str, most: int) -> None:
    table = pd.read_csv(DATA / name / "labels.csv", dtype=str)
    images = look_at_all([DATA / name / path for path in table["path"]], AuditOptions())
    pairs = near_pairs(images.thumbnails, images.readable)
    assert sum(table["patient_id"][pair.a] != table["patient_id"][pair.b] for pair in pairs) <= most


def test_chest_films_of_different_patients_do_not_collide() -> None:
    audit = audit_cohort(read("cxr_nih621", targets=FINDINGS, covariates=("age", "sex"), view="view"))
    assert found(audit, "near-duplicates") is None
    assert audit.blocking() == []


def test_the_leaking_patients_of_a_published_split_are_counted() -> None:
    audit = audit_cohort(read("cxr_nih1000_64px", targets=FINDINGS, split="repo_split"))
    message = must_find(audit, "patient-across-splits").message
    told = "15 patients in train and tune; 8 patients in train and test; 9 patients in tune and test."
    assert message.startswith(told)


def test_slices_without_patients_are_noticed() -> None:
    audit = audit_cohort(read("brain_tumor_figshare", targets=("label",)))
    assert [item.name for item in audit.blocking()] == ["no-patient-column"]
    assert must_find(audit, "hidden-groups").count > 1500


def test_groups_that_split_patients_are_noticed() -> None:
    audit = audit_cohort(read("brain_tumor_figshare", targets=("label",), patient="proxy_group"))
    assert audit.blocking() == []
    assert "optimistic" in must_find(audit, "hidden-groups").message


def test_blocks_of_slices_are_split_with_every_class_everywhere() -> None:
    cohort = read("brain_tumor_figshare", targets=("label",), block="slice_index")
    split = make_split(cohort)
    counts = pd.crosstab(split.table["split"], cohort.table["label"])
    assert (counts.loc[["train", "tune", "test"]] > 50).all(axis=None)
    assert len(split.ids("")) < 0.1 * len(cohort)
    assert found(audit_cohort(cohort, split), "near-duplicates-across-splits") is None


def test_tumours_of_one_archive_and_healthy_brains_of_another_are_refused(tmp_path: Path) -> None:
    tables = []
    for name, label in (("brain_tumor_figshare", "tumour"), ("brain_no_tumor_br35h", "no_tumour")):
        table = pd.read_csv(DATA / name / "labels.csv", usecols=["path"])
        tables.append(table.assign(path=f"{name}/" + table["path"], label=label))
    pd.concat(tables).to_csv(tmp_path / "labels.csv", index=False)
    cohort = read_cohort(tmp_path / "labels.csv", Declaration(images=DATA, patient="none", targets=("label",)))
    message = must_find(audit_cohort(cohort), "source-shortcut").message
    assert "folder predicts label" in message
    assert "image size predicts label" in message


def test_the_image_in_train_and_in_test_is_named(tmp_path: Path) -> None:
    arrays = np.load(DATA / "medmnist" / "breastmnist.npz")
    rows, images = [], []
    for part in ("train", "val", "test"):
        for k, label in enumerate(arrays[f"{part}_labels"].ravel()):
            rows.append({"path": f"{part}_{k:03d}.png", "split": part, "label": int(label)})
        images += list(arrays[f"{part}_images"])
    cohort = write_cohort(tmp_path, pd.DataFrame(rows), images, targets=("label",), patient="none")
    audit = audit_cohort(cohort, make_split(cohort))
    item = must_find(audit, "duplicate-across-splits")
    assert item.count == 1
    assert "1 image in train and test" in item.message
    assert [item.name for item in audit.blocking()] == ["duplicate-across-splits"]


def test_the_official_retina_split_separates_the_eyes_of_176_patients() -> None:
    folder = DATA / "aptos2021_tabular"
    cohort = read("aptos2021_tabular", targets=("continue_injection:multiclass",))
    (patients,) = audit_against(
        roster_of(cohort), read_roster(folder / "stage1_official_test_unlabelled.csv", cohort.study)
    )
    assert (patients.name, patients.count) == ("patient-across-splits", 176)


def test_the_retina_table_has_one_code_that_nobody_declared_and_gaps() -> None:
    audit = audit_cohort(read("aptos2021_tabular", targets=("continue_injection:multiclass",), case="eye_id"))
    assert must_find(audit, "implausible-value").examples == ("row 1011: continue_injection 6.0",)
    assert must_find(audit, "missing-values").count == 12
    assert "preCST: 72 of 1,862 rows" in must_find(audit, "missing-values").message
    assert must_find(audit, "unknown-labels").examples == ("continue_injection: 4 cases",)


@pytest.mark.parametrize(
    ("name", "probe"),
    [("cxr_kermany_children", "size and format"), ("brain_lgg_mri", "position among the slices")],
)
def test_what_tells_the_label_of_a_public_set_is_named(name: str, probe: str) -> None:
    message = must_find(audit_cohort(read(name, targets=("label",))), "shortcut-probes").message
    assert f"{probe}: label" in message
