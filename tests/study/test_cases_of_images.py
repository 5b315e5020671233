"""Images become cases: what must agree agrees or is refused with its rows, and no case is parted."""

from dataclasses import replace

import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.fitting.preparing import split_of_images
from focusmap.study.cases import by_case, by_image, images_of, view_numbers, views_of, with_images
from focusmap.study.cohort import load_cohort, read_cohort, write_cohort
from focusmap.study.options import Declaration
from focusmap.study.split import SplitOptions, fold_split, make_split
from focusmap.study.study import write_study

SAID = Declaration(targets=("sick", "CST:continuous"), case="eye", view="view", covariates=("age",))
ROWS = [
    ("a.png", "p1", "p1L", "pre", "1", "310", "60"),
    ("b.png", "p1", "p1R", "pre", "0", "250", "60"),
    ("c.png", "p1", "p1L", "post", "1", "", ""),
    ("d.png", "p2", "p2L", "post", "", "270", "71"),
]


def label_file(folder, change=lambda table: table):
    table = pd.DataFrame(ROWS, columns=["path", "patient_id", "eye", "view", "sick", "CST", "age"])
    change(table).to_csv(folder / "labels.csv", index=False)
    for name in "abcd":
        (folder / f"{name}.png").touch()
    return folder / "labels.csv"


def test_a_case_says_what_any_of_its_images_says(tmp_path):
    cases = by_case(read_cohort(label_file(tmp_path), SAID))
    assert cases.image_ids == ["p1L", "p1R", "p2L"]
    assert list(cases.table["sick"]) == ["1", "0", ""]
    assert list(cases.table["CST"]) == ["310", "250", "270"]
    assert list(cases.table["age"]) == ["60", "60", "71"]
    assert list(images_of(cases)["image_id"]) == ["a.png", "c.png", "b.png", "d.png"]
    assert views_of(cases) == ("post", "pre")
    assert view_numbers(cases, ("post", "pre")).tolist() == [1, 0, 1, 0]


def test_the_images_of_cases_have_their_own_masks_and_say_what_their_case_says(tmp_path):
    masks = ["", "b.png", "a.png", "d.png"]
    said = replace(SAID, mask="mask")
    cohort = read_cohort(label_file(tmp_path, lambda table: table.assign(mask=masks)), said)
    write_cohort(by_case(cohort), tmp_path / "cohort.csv")
    write_study(cohort.study, tmp_path / "study.yaml")
    for cases in (by_case(cohort), load_cohort(tmp_path)):
        images = by_image(cases.of(["p2L", "p1L"]))
        assert images.image_ids == ["d.png", "a.png", "c.png"]
        assert list(images.table["CST"]) == ["270", "310", "310"]
        assert list(images.patient_ids) == ["p2", "p1", "p1"]
        found = [images.mask_file(name) for name in images.image_ids]
        assert [file and file.name for file in found] == ["d.png", None, "a.png"]
    assert by_image(cohort) is cohort


def test_without_groups_each_image_is_a_case(tmp_path):
    cohort = read_cohort(label_file(tmp_path), SAID)
    cases = by_case(cohort, grouped=False)
    assert cases.image_ids == cohort.image_ids == list(images_of(cases)["case_id"])
    assert views_of(cases) == ("",)


def test_cases_are_written_and_read_back(tmp_path):
    cases = by_case(read_cohort(label_file(tmp_path), SAID))
    write_study(cases.study, tmp_path / "study.yaml")
    write_cohort(cases, tmp_path / "cohort.csv")
    again = load_cohort(tmp_path)
    pd.testing.assert_frame_equal(again.table, cases.table)
    assert list(images_of(again)["image_id"]) == list(images_of(cases)["image_id"])


def test_a_case_without_its_images_goes_and_one_with_some_stays(tmp_path):
    cases = by_case(read_cohort(label_file(tmp_path), SAID))
    left = with_images(cases, ["c.png", "d.png"])
    assert left.image_ids == ["p1L", "p2L"]
    assert list(images_of(left)["image_id"]) == ["c.png", "d.png"]


@pytest.mark.parametrize(
    ("column", "cell", "fact"),
    [
        ("sick", "0", "rows 2 and 4: the images of case 'p1L' differ in sick"),
        ("CST", "200", "differ in CST (310 against 200)"),
        ("age", "61", "differ in age (60 against 61)"),
        ("patient_id", "p9", "differ in patient (patient_id) (p1 against p9)"),
        ("eye", "", "row 4: eye is empty"),
        ("view", "", "row 4: view is empty"),
    ],
)
def test_images_that_contradict_each_other_are_refused_with_their_rows(tmp_path, column, cell, fact):
    def change(table):
        table.loc[2, column] = cell
        return table

    with pytest.raises(InputError) as error:
        by_case(read_cohort(label_file(tmp_path, change), SAID))
    assert fact in str(error.value)
    assert str(tmp_path / "labels.csv") in str(error.value)


def test_a_declared_split_parts_no_case(tmp_path):
    labels = label_file(tmp_path, lambda table: table.assign(split=["train", "train", "test", "tune"]))
    with pytest.raises(InputError, match=r"differ in split \(split\) \(train against test\)"):
        by_case(read_cohort(labels, SAID))


def test_where_nobody_names_patients_a_case_is_one(tmp_path):
    labels = label_file(tmp_path, lambda table: table.drop(columns="patient_id"))
    cohort = read_cohort(labels, Declaration(targets=("sick",), case="eye", patient="none"))
    assert list(cohort.patient_ids) == ["p1L", "p1R", "p1L", "p2L"]
    assert len(set(make_split(cohort).of(["a.png", "c.png"]))) == 1


def test_a_case_with_no_image_is_named(tmp_path):
    labels = label_file(tmp_path, lambda table: table.assign(path=["a.png", "b.png", "", "d.png"]))
    with pytest.raises(InputError, match=r"row 4: the path is empty \(case 'p1L' has no image there"):
        read_cohort(labels, SAID)


def test_a_view_that_nobody_declared_is_refused(tmp_path):
    cases = by_case(read_cohort(label_file(tmp_path), SAID))
    with pytest.raises(InputError, match=r"row 4: view 'post' is not one of pre, pos, .* Did you mean 'pos'"):
        view_numbers(cases, ("pre", "pos"))


def test_images_train_and_tune_in_each_fold_as_their_cases_do(tmp_path):
    eyes = [f"e{i // 2}" for i in range(48)]
    paths, sick = [f"{i}.png" for i in range(48)], [i // 2 % 2 for i in range(48)]
    for path in paths:
        (tmp_path / path).touch()
    table = pd.DataFrame({"path": paths, "patient_id": eyes, "eye": eyes, "view": ["a", "b"] * 24, "sick": sick})
    table.to_csv(tmp_path / "labels.csv", index=False)
    cases = by_case(read_cohort(tmp_path / "labels.csv", replace(SAID, targets=("sick",), covariates=())))
    split = make_split(cases, SplitOptions(folds=3))
    images = images_of(cases)
    for k in range(3):
        of_cases, of_images = fold_split(split, k), fold_split(split_of_images(split, cases), k)
        assert of_images.of(list(images["image_id"])) == of_cases.of(list(images["case_id"]))
        assert len(of_images.ids("train")) > 16, "more than a third: half of the next fold trains too"
