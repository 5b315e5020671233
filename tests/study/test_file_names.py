"""Names of files and folds as systems leave them: near misses are named, what cannot be read back is refused."""

import os
import re
import shutil
import unicodedata
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.basics import InputError, MissingFileError, write_table
from focusmap.cli import main
from focusmap.evaluation import read_boxes
from focusmap.study.cohort import Cohort, read_cohort
from focusmap.study.options import Declaration


def cohort_of(folder: Path, path: str, extra: str = "") -> Cohort:
    text = f"path,patient_id,label{extra and ',fold'}\n{path},p1,1{extra}\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return read_cohort(folder / "labels.csv", Declaration(split="fold" if extra else None))


@pytest.mark.parametrize(
    ("there", "written", "message"),
    [
        ("0000.png", "0000", "row 2: 0000 is not there, but 0000.png is"),
        ("0000.png", "0000.PNG", "row 2: 0000.PNG differs in case from 0000.png, which is there"),
        ("0000.png", "0000.jpg", "row 2: 0000.jpg is not there, but 0000.png is"),
        ("a.dcm", "A", "row 2: A is not there, but a.dcm is"),
        (
            unicodedata.normalize("NFD", "Größe.png"),
            "Größe.png",
            "row 2: Größe.png looks like .* its accents are stored otherwise",
        ),
        ("Größe.png", unicodedata.normalize("NFD", "Größe.png"), "its accents are stored otherwise"),
        ("series/1.dcm", "series", "row 2: series is a folder"),
        ("0000.png", "img/0000.png", "row 2: img/0000.png is not there, but 0000.png is: --images"),
        ("scan_01.png", "scan 01.png", "row 2: scan 01.png is not there, but scan_01.png is"),
        ("0000.png", "none/0000x.png", "row 2: none/0000x.png: there is no folder"),
        ("0000.png", "quite-another.png", r"row 2: quite-another.png\. Say where"),
    ],
)
def test_a_file_that_is_nearly_there_is_named(tmp_path, there, written, message):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    with pytest.raises(MissingFileError, match=message):
        cohort_of(tmp_path, written)


def test_one_missing_file_is_not_looked_for_in_another_folder(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "labels.csv").write_text("path,patient_id,label\na.png,p1,1\nb.png,p2,0\n")
    with pytest.raises(MissingFileError, match=r"1 of 2 files .* row 3: b\.png\. Put the files there") as refused:
        read_cohort(tmp_path / "labels.csv")
    assert "--images" not in str(refused.value)


@pytest.mark.parametrize("cell", ["C:\\Users\\Ann\\a.png", "/home/ann/a.png", "\\\\server\\share\\a.png"])
def test_a_place_on_one_computer_is_refused_with_what_to_leave(tmp_path, cell):
    with pytest.raises(InputError, match=r"row 2: path .* Leave only what comes after the folder of the images"):
        cohort_of(tmp_path, cell)


@pytest.mark.parametrize(
    ("cell", "part"),
    [("0.0", "0"), ("3", "3"), ("1.0", "1"), ("fold 2", "2"), ("Fold_2", "2"), ("第3折", "3"), ("", ""), ("nan", ""),
     ("TRAIN ", "train"), ("测试集", "test"), ("Validation", "tune")],
)  # fmt: skip
def test_folds_and_parts_as_people_write_them(tmp_path, cell, part):
    (tmp_path / "a.png").touch()
    assert cohort_of(tmp_path, "a.png", f",{cell}").table["split_declared"].tolist() == [part]


@pytest.mark.parametrize("cell", ["0.5", "-1", "trainn", "1.5"])
def test_what_is_no_fold_is_refused(tmp_path, cell):
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=f"row 2: fold '{cell}' is not one of train"):
        cohort_of(tmp_path, "a.png", f",{cell}")


def test_of_folds_and_another_cell_the_other_cell_is_wrong(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    (tmp_path / "labels.csv").write_text("path,patient_id,label,fold\na.png,p1,1,1\nb.png,p2,0,1.5\n")
    with pytest.raises(InputError, match=r"row 3: fold '1\.5' is not one of train"):
        read_cohort(tmp_path / "labels.csv", Declaration(split="fold"))


@pytest.mark.parametrize(("cell", "part"), [("Training set", "train"), ("validation_data", "tune"), ("测试组", "test")])
def test_a_part_may_be_called_a_set(tmp_path, cell, part):
    (tmp_path / "a.png").touch()
    assert list(cohort_of(tmp_path, "a.png", f",{cell}").table["split_declared"]) == [part]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("x" * 300 + ".png", "1 of 1 files in column 'path' are not in"),
        ("a%2Epng", "a%2Epng is not there, but a.png is"),
        ("' a.png '", ""),
        ("“a.png”", ""),
    ],
)
def test_a_path_in_quotes_or_of_any_length_is_one(tmp_path, cell, message):
    (tmp_path / "a.png").touch()
    with pytest.raises(MissingFileError, match=message) if message else nullcontext():
        assert list(cohort_of(tmp_path, cell).table["path"]) == ["a.png"]


def test_names_that_are_not_utf8_are_refused_with_the_remedy(tmp_path, capsys):
    tree = tmp_path / "tree"
    folder = os.fsencode(tree) + b"/b\xe9nin"
    Path(os.fsdecode(folder)).mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), "u1")).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", folder + b"/1.png")
    assert main(["index", str(tree), "--out", str(tmp_path / "labels.csv")]) == 2
    said = capsys.readouterr().err
    assert r"b\xe9nin/1.png" in said
    assert "convmv" in said
    assert not (tmp_path / "labels.csv").exists()


def test_a_table_with_such_a_name_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"names of 1 files are not UTF-8: x\\xfc.dcm"):
        write_table(tmp_path / "t.csv", pd.DataFrame({"path": ["a.png", "x\udcfc.dcm"], "n": [1, 2]}, dtype=object))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("a.png,label,100,100,20,20", "none finds its image and its label; 1 lie outside their image and do not apply"),
        ("a.png,label,-30,4,20,20", "1 lie outside their image"),
        ("a.png,label,10,10,200,200", "1 in 1 images; used to score heat maps; 1 reach beyond their image"),
        ("a,label,1,1,5,5", r"1 are of images that the table lacks \(a; did you mean a.png\?\)"),
        ("folder/A.PNG,label,1,1,5,5", r"lacks \(folder/A.PNG; did you mean a.png\?\)"),
        ("a.png,label,1,1,5,5", "^1 in 1 images; used to score heat maps$"),
        ("a.png,label,1,1,5,5\na.png,label,1,1,5,5", "^1 in 1 images"),
        (
            "b.png,label,,,,\na.png,label,1,1,5,5\nb.png,No finding,NaN,NaN,NaN,NaN",
            "^1 in 1 images; used to score heat maps$",
        ),
        ('a.png,label,"1,5",1 px,5,5', "^1 in 1 images"),
    ],
)
def test_boxes_that_do_not_apply_are_counted(tmp_path, box, words):
    Image.fromarray(np.zeros((40, 40), "u1")).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((40, 40), "u1")).save(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text("path,patient_id,label\na.png,p1,1\nb.png,p2,0\n")
    (tmp_path / "boxes.csv").write_text(f"image_id,finding,x,y,w,h\n{box}\n")
    boxes = read_boxes(tmp_path / "boxes.csv", read_cohort(tmp_path / "labels.csv"))
    assert re.search(words, boxes.in_words()), boxes.in_words()
