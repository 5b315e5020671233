"""Proves that a label file says of each image what its place says, and that nothing is dropped in silence."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.study.index import index_images, join_labels

names = st.text("abcXYZ019-. ", min_size=1, max_size=8).filter(lambda text: text.strip(". ") == text and text)


def rows(images, pattern=None):
    return index_images(images, pattern).table.to_dict("records")


def test_the_first_folder_is_the_label_or_the_split():
    assert rows(["ill/a.png", "well/deep/b.jpg"]) == [
        {"path": "ill/a.png", "label": "ill"}, {"path": "well/deep/b.jpg", "label": "well"},
    ]  # fmt: skip
    found = rows(["Train/ill/a.png", "val/well/b.png", "test/ill/c.png"])
    assert [(row["split"], row["label"]) for row in found] == [("Train", "ill"), ("test", "ill"), ("val", "well")]


@given(
    names, names.filter(lambda text: "_" not in text), st.integers(0, 10**6), st.sampled_from([".png", ".dcm", ".JPG"])
)
def test_fields_are_read_as_they_were_written(label, patient, number, suffix):
    path = f"{label}/{patient}_{number}{suffix}"
    expected = [{"path": path, "label": label, "patient": patient, "n": str(number)}]
    assert rows([path], "{label}/{patient}_{n}" + suffix) == expected
    assert rows([path], "{label}/{patient}_{n}") == expected


def test_a_number_takes_only_digits_so_that_the_name_before_it_may_hold_the_separator():
    assert rows(["ill/p_1_02.png"], "{label}/{patient}_{n}.png")[0] | {"path": ""} == {
        "path": "", "label": "ill", "patient": "p_1", "n": "02",
    }  # fmt: skip
    assert rows(["x/y/ill-7.png"], "{_}/{_}/{label}-{n}.png") == [{"path": "x/y/ill-7.png", "label": "ill", "n": "7"}]


def test_masks_beside_images_are_their_masks():
    found = index_images(["b/b (1).png", "b/b (1)_mask.png", "b/b (1)_mask_1.png", "b/b (2).png", "b/x_mask.png"])
    assert found.table.to_dict("records") == [
        {"path": "b/b (1).png", "label": "b", "mask": "b/b (1)_mask.png"},
        {"path": "b/b (2).png", "label": "b", "mask": ""},
        {"path": "b/x_mask.png", "label": "b", "mask": ""},
    ]
    assert found.left_out == {"b/b (1)_mask_1.png": "a further mask of b/b (1).png"}


def test_what_does_not_fit_is_left_out_and_named():
    found = index_images(["ill/a_1.png", "loose.png", "ill/a-2.png"], "{label}/{patient}_{n}.png")
    assert list(found.table["path"]) == ["ill/a_1.png"]
    reason = "not as '{label}/{patient}_{n}.png' says"
    assert found.left_out == {"ill/a-2.png": reason, "loose.png": reason}


@given(st.permutations(["ill/a_1.png", "well/b_2.png", "loose.png", "ill/a_1_mask.png"]))
def test_the_order_of_files_does_not_matter(images):
    found, sorted_found = index_images(images), index_images(sorted(images))
    pd.testing.assert_frame_equal(found.table, sorted_found.table)
    assert found.left_out == sorted_found.left_out == {"loose.png": "not in a folder that is named for its label"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("all.png", "names in braces"),
        ("{label}/{patient.png", "names in braces"),
        ("{label}/{}.png", "{} is not a name"),
        ("{label}/{a b}.png", "{a b} is not a name"),
        ("{label}/{path}.png", "{path} is not a name"),
        ("{label}/{label}.png", "{label} stands twice"),
        ("{label}/x{n}.png", "none of 1 images lies as '{label}/x{n}.png' says; the first is 'ill/a.png'"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern, message):
    with pytest.raises(InputError) as caught:
        index_images(["ill/a.png"], pattern)
    assert message in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    for name in ("ill/p1_1.png", "ill/p1_2.png", "well/p2_1.png", "well/.hidden.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.arange(64, dtype=np.uint8).reshape(8, 8))[1].tobytes())
    (tmp_path / "images/well/p3_1").write_bytes((tmp_path / "images/well/p2_1.png").read_bytes())
    (tmp_path / "images/notes.txt").write_text("no image")
    return tmp_path / "images"


@pytest.mark.parametrize("place", ["labels.csv", "images/labels.csv", "elsewhere/labels.csv"])
def test_the_label_file_finds_its_images(folder, tmp_path, capsys, place):
    from focusmap import Declaration, read_cohort

    out = tmp_path / place
    assert main(["index", str(folder), "--out", str(out), "--pattern", "{label}/{patient}_{n}"]) == 0
    said = capsys.readouterr().out
    assert "label: ill 2, well 2" in said
    assert ("--images" in said) == place.startswith("elsewhere")
    images = folder if place.startswith("elsewhere") else None
    cohort = read_cohort(out, Declaration(images=images))
    assert len(cohort) == 4
    assert cohort.study.patient_column == "patient"
    assert set(cohort.task.targets[0].classes) == {"ill", "well"}


def test_bad_input_is_one_message(folder, tmp_path, capsys):
    def refused(*arguments):
        assert main(["index", *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    out = tmp_path / "labels.csv"
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refused(tmp_path / "none", "--out", out)
    assert "holds no images" in refused(tmp_path / "empty", "--out", out)
    assert "--pattern" in refused(folder, "--out", out, "--pattern", "{x")
    assert not out.exists()
    out.write_text("mine")
    assert "--force" in refused(folder, "--out", out)
    assert out.read_text() == "mine"


def test_a_real_set_is_read_by_its_names():
    if "FOCUSMAP_DATA" not in os.environ:
        pytest.skip("FOCUSMAP_DATA does not name the folder of real data")
    folder = Path(os.environ["FOCUSMAP_DATA"]) / "breast_us_busi"
    found = index_images([path.name for path in (folder / "images").iterdir()], "{label}_{n}.png").table
    declared = pd.read_csv(folder / "labels.csv", dtype=str)
    assert dict(zip("images/" + found["path"], found["label"], strict=True)) == dict(
        zip(declared["path"], declared["label"], strict=True)
    )


def test_a_list_of_labels_needs_no_folders_and_calls_its_column_as_it_likes():
    found = index_images(["b/1.dcm", "0.dcm"], anywhere=True).table
    assert found.to_dict("list") == {"path": ["0.dcm", "b/1.dcm"], "label": ["", "b"]}
    headers = pd.DataFrame({"path": ["0.dcm", "1.dcm"], "patient_id": ["0017", "p3"], "accession": ["A-1", "A2"]})
    by_patient, imageless = join_labels(headers, pd.DataFrame({"Patient ID": ["17", "9"], "label": ["x", "y"]}))
    assert by_patient[["path", "patient_id", "label"]].values.tolist() == [["0.dcm", "0017", "x"]]
    assert imageless == (3,)
    by_accession, _ = join_labels(headers, pd.DataFrame({"AccessionNumber": ["a1", "A2"], "label": ["x", "y"]}))
    assert by_accession["label"].tolist() == ["x", "y"]
