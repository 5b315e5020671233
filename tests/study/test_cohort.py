"""The label file as a checked table: what is inferred, what is refused and with which words."""

import re
from pathlib import Path

import numpy as np
import pytest

from focusmap.basics import InputError, MissingFileError
from focusmap.study.cohort import load_cohort, read_cohort, refuse_constant, write_cohort
from focusmap.study.options import Declaration
from focusmap.study.study import read_study, write_study


def study_folder(folder: Path, text: str) -> Path:
    """Write a label file and an empty image for each path in it."""
    labels = folder / "labels.csv"
    labels.write_text(text)
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (folder / name).touch()
    return labels


def test_flags_become_targets_and_patients_are_found(tmp_path):
    labels = study_folder(
        tmp_path, "path,patient_id,Effusion,Mass,age\na.png,p1,1,0,60\nb.png,p1,0,,61\nc.png,p2,1,1,30\n"
    )
    cohort = read_cohort(labels)
    assert cohort.task.names == ("Effusion", "Mass")
    np.testing.assert_array_equal(cohort.truth, [[1, 0], [0, np.nan], [1, 1]])
    assert list(cohort.patient_ids) == ["p1", "p1", "p2"]
    assert cohort.study.patients == "column"


def test_a_label_column_comes_before_flags(tmp_path):
    labels = study_folder(tmp_path, "path,label,malignant\na.png,benign,0\nb.png,malignant,1\nc.png,normal,0\n")
    cohort = read_cohort(labels)
    assert cohort.task.target("label").classes == ("benign", "malignant", "normal")
    assert any("malignant repeats label" in note for note in cohort.study.notes)


def test_two_classes_state_the_positive_one(tmp_path):
    labels = study_folder(tmp_path, "path,label\na.png,benign\nb.png,malignant\nc.png,benign\n")
    target = read_cohort(labels).task.target("label")
    assert (target.kind, target.positive) == ("binary", "malignant")
    turned = read_cohort(labels, Declaration(targets=("label:positive=benign",)))
    assert turned.task.target("label").positive == "benign"
    assert "positive is 'benign'" in turned.study.describe()


def test_lists_become_flags(tmp_path):
    labels = study_folder(tmp_path, "path,label\na.png,Effusion|Edema\nb.png,No Finding\nc.png,Edema\nd.png,\n")
    cohort = read_cohort(labels)
    assert cohort.task.names == ("Edema", "Effusion")
    np.testing.assert_array_equal(cohort.truth, [[1, 1], [0, 0], [1, 0], [np.nan, np.nan]])


@pytest.mark.parametrize(("meaning", "code"), [("unknown", np.nan), ("positive", 1.0), ("negative", 0.0)])
def test_uncertain_means_what_is_said(tmp_path, meaning, code):
    labels = study_folder(tmp_path, "path,Edema\na.png,-1\nb.png,1\nc.png,0\n")
    np.testing.assert_array_equal(read_cohort(labels, Declaration(uncertain=meaning)).truth[:, 0], [code, 1, 0])


def test_fractions_are_soft_labels(tmp_path):
    labels = study_folder(tmp_path, "path,label\na.png,0.25\nb.png,1\nc.png,0.5\n")
    cohort = read_cohort(labels)
    assert cohort.task.target("label").kind == "binary"
    np.testing.assert_array_equal(cohort.truth[:, 0], [0.25, 1, 0.5])


def test_the_words_for_parts_are_understood(tmp_path):
    labels = study_folder(tmp_path, "path,Mass,split\na.png,1,Train\nb.png,0,valid\nc.png,1,TEST\nd.png,0,\n")
    assert list(read_cohort(labels).table["split_declared"]) == ["train", "tune", "test", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,3\nb.png,7\nc.png,9\n", "label:multiclass"),
        ("path,age\na.png,3\nb.png,7\n", "Candidates: age"),
        ("path,Mass\n/etc/passwd,1\nb.png,0\n", "row 2.*absolute"),
        ("path,Mass\na.png,1\n../b.png,0\n", "row 3.*leaves the images folder"),
        ("path,Mass\na.png,1\n,0\n", "row 3: the path is empty"),
        ("path,Mass\na.png,1\na.png,1\n", "rows 2 and 3: duplicate path 'a.png'"),
        ("path,Mass\na.png,1\n./a.png,0\n", "rows 2 and 3: the labels of a.png contradict"),
        ("path,image_id,Mass\na.png,1,1\nb.png,1,0\n", "rows 2 and 3"),
        ("path,Mass,split\na.png,1,train\nb.png,0,tets\n", "row 3: split 'tets'"),
        ("path,patient_id,Mass\na.png,p,1\nb.png,,0\n", "row 3: patient_id is empty in 1 of 2"),
        ("path,Mass\na.png,1\nb.png,0\nc.png,maybe\n", "Candidates"),
        ("path,label\na.png,1\nb.png,0\nc.png,maybe\n", "label 'maybe' may mean 'uncertain' or be a class"),
        ("path,label\na.png,sick\nb.png,sick\n", "nothing to tell apart"),
    ],
)
def test_wrong_input_is_named_with_its_row(tmp_path, text, message):
    labels = study_folder(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_cohort(labels)
    assert str(labels) in str(caught.value)


def test_nothing_can_be_learnt_where_every_target_has_one_value(tmp_path):
    constant = read_cohort(study_folder(tmp_path, "path,Mass,Edema\na.png,1,0\nb.png,1,0\n"))
    with pytest.raises(InputError, match=r"'Mass': every .* '1'; target 'Edema': every .* '0'; there is nothing"):
        refuse_constant(constant)
    refuse_constant(read_cohort(study_folder(tmp_path, "path,Mass,Edema\na.png,1,0\nb.png,1,1\n")))
    uncertain = study_folder(tmp_path, "path,Mass\na.png,-1\nb.png,0\n")
    refuse_constant(read_cohort(uncertain, Declaration(uncertain="positive")))


def test_a_cell_that_is_no_label_is_named_with_its_row(tmp_path):
    labels = study_folder(tmp_path, "path,Mass\na.png,1\nb.png,0\nc.png,maybe\n")
    with pytest.raises(InputError, match=r"labels\.csv row 4: Mass 'maybe'"):
        read_cohort(labels, Declaration(targets=("Mass:binary",)))


def test_all_missing_images_are_named_at_once(tmp_path):
    labels = study_folder(tmp_path, "path,Mass\na.png,1\nx.png,0\ny.png,0\n")
    with pytest.raises(MissingFileError, match=r"2 of 3.*row 3: x\.png; row 4: y\.png\. Put the files there"):
        read_cohort(labels)


def test_a_misspelt_target_gets_the_nearest(tmp_path):
    labels = study_folder(tmp_path, "path,Effusion\na.png,1\nb.png,0\n")
    with pytest.raises(InputError, match="Did you mean 'Effusion'"):
        read_cohort(labels, Declaration(targets=("Efusion",)))


def test_a_study_is_not_guessed_twice(tmp_path):
    labels = study_folder(tmp_path, "path,patient_id,label\na.png,1,benign\nb.png,2,malignant\nc.png,3,benign\n")
    cohort = read_cohort(labels)
    run = tmp_path / "run"
    write_study(cohort.study, run / "study.yaml")
    write_cohort(cohort, run / "cohort.csv")
    assert read_study(run / "study.yaml") == cohort.study
    labels.write_text("path,patient_id,label\na.png,1,benign\nb.png,2,benign\n")
    again = load_cohort(run)
    assert again.study == cohort.study
    assert again.table.astype(str).equals(cohort.table.astype(str))
    np.testing.assert_array_equal(again.truth, cohort.truth)


def test_a_table_alone_is_a_study(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,IRF\np1,1\np2,0\n")
    cohort = read_cohort(labels)
    assert not cohort.has_images
    assert cohort.image_ids == ["row2", "row3"]


def test_a_target_whose_name_begins_as_a_masks_is_no_mask(tmp_path):
    labels = study_folder(tmp_path, "path,mask_area\na.png,12.5\nb.png,3\n")
    cohort = read_cohort(labels, Declaration(targets=("mask_area:continuous",)))
    assert cohort.mask_columns == []
    assert not cohort.has_masks


def test_a_mask_column_of_no_target_is_named(tmp_path):
    labels = study_folder(tmp_path, "path,Mass,Edema,mask_Mas,mask_Edema\na.png,1,0,b.png,\nd.png,0,1,,\n")
    assert any("mask_Mas is the mask of no target" in note for note in read_cohort(labels).study.notes)
    slip = study_folder(tmp_path, "path,Mass,mask_path\na.png,1,b.png\nd.png,0,\n")
    assert any("mask_path is the mask of no target" in note for note in read_cohort(slip).study.notes)
    labels = study_folder(tmp_path, "path,Mass,Edema,mask_Edema\na.png,1,0,b.png\nd.png,0,1,\n")
    alone = read_cohort(labels, Declaration(targets=("Mass",)))
    assert not any("mask_Edema" in note for note in alone.study.notes), "of a column that is left out on purpose"


def test_masks_are_found_per_target(tmp_path):
    labels = study_folder(tmp_path, "path,Mass,Edema,mask,mask_Mass\na.png,1,0,b.png,c.png\nd.png,0,1,,\n")
    cohort = read_cohort(labels)
    assert cohort.mask_file("a.png", "Mass") == tmp_path / "c.png"
    assert cohort.mask_file("a.png", "Edema") == tmp_path / "b.png"
    assert cohort.mask_file("d.png", "Mass") is None


@pytest.mark.parametrize(
    ("text", "said", "codes"),
    [
        ("path,label\na.png,1\nb.png,2\nc.png,1\n", Declaration(), [0, 1, 0]),
        ("path,Mass\na.png,0\nb.png,1\nc.png,1\n", Declaration(targets=("Mass:positive=0",)), [1, 0, 0]),
        ("path,label\na.png,sick\nb.png,normal\nc.png,\n", Declaration(), [1, 0, np.nan]),
        ("path,label\na.png,2\nb.png,1\nc.png,-1\n", Declaration(uncertain="positive"), [1, 0, 1]),
    ],
)
def test_the_truth_is_the_same_from_label_file_and_from_disk(tmp_path, text, said, codes):
    cohort = read_cohort(study_folder(tmp_path, text), said)
    np.testing.assert_array_equal(cohort.truth[:, 0], codes)
    write_study(cohort.study, tmp_path / "run/study.yaml")
    write_cohort(cohort, tmp_path / "run/cohort.csv")
    np.testing.assert_array_equal(load_cohort(tmp_path / "run").truth[:, 0], codes)


def test_declared_classes_keep_their_order_and_refuse_others(tmp_path):
    labels = study_folder(tmp_path, "path,grade\na.png,low\nb.png,high\nc.png,middle\n")
    cohort = read_cohort(labels, Declaration(targets=("grade:ordinal:classes=low,middle,high",)))
    assert cohort.truth[:, 0].tolist() == [0, 2, 1]
    with pytest.raises(InputError, match="row 4: grade 'middle' is not one of low, high"):
        read_cohort(labels, Declaration(targets=("grade:classes=low,high",)))
    with pytest.raises(InputError, match="two classes or more"):
        read_cohort(labels, Declaration(targets=("grade:binary:classes=low,middle,high",)))


@pytest.mark.parametrize("cell", ["F0", "1e0", "cv-2", "fold 1 of 5", "1/5", "k3"])
def test_folds_are_numbers_however_they_are_called(tmp_path, cell):
    labels = study_folder(tmp_path, f"path,Mass,fold\na.png,1,{cell}\nb.png,0,1\nc.png,1,2\nd.png,0,2\n")
    cohort = read_cohort(labels, Declaration(split="fold"))
    assert cohort.table["split_declared"].tolist() == [re.search(r"\d", cell)[0], "1", "2", "2"]


@pytest.mark.parametrize("cell", ["-1", "0.5", "1e-1", "A"])
def test_what_is_no_fold_is_named(tmp_path, cell):
    labels = study_folder(tmp_path, f"path,Mass,fold\na.png,1,{cell}\nb.png,0,1\nc.png,1,2\nd.png,0,2\n")
    with pytest.raises(InputError, match=f"row 2: fold '{cell}' is not one of"):
        read_cohort(labels, Declaration(split="fold"))
