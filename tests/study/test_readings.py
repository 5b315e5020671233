"""Tables of readings in each of their forms say the same, and what is wrong in them is named with its row."""

import numpy as np
import pytest

from focusmap.basics import InputError, MissingFileError
from focusmap.study.options import ReadingsDeclaration
from focusmap.study.readings import read_readings

LONG = """path,patient_id,sex,reader,Effusion,Mass,minutes
a.png,p1,F,ann,1,0,3
a.png,p1,F,bob,1,1,4
a.png,p1,F,cat,0,1,3
b.png,p1,F,ann,0,0,3
b.png,p1,F,bob,1,,3
c.png,p2,M,ann,0,0,2
c.png,p2,M,cat,0,-1,9
"""
WIDE = """path,patient_id,sex,Effusion.ann,Effusion.bob,Effusion.cat,Mass.ann,Mass.bob,Mass.cat
a.png,p1,F,1,1,0,0,1,1
b.png,p1,F,0,1,,0,,
c.png,p2,M,0,,0,0,,-1
"""
EFFUSION = [[1, 1, 0], [0, 1, -1], [0, -1, 0]]
MASS = [[0, 1, 1], [0, -1, -1], [0, -1, -1]]


@pytest.fixture
def read(tmp_path):
    def reading(text, **said):
        (tmp_path / "readers.csv").write_text(text)
        return read_readings(tmp_path / "readers.csv", ReadingsDeclaration(**said))

    return reading


@pytest.mark.parametrize("text", [LONG, WIDE])
def test_both_forms_say_the_same(read, text):
    found = read(text)
    assert found.readers == ("ann", "bob", "cat")
    assert found.names == ("a.png", "b.png", "c.png")
    assert found.patients == ["p1", "p1", "p2"]
    np.testing.assert_array_equal(found.votes["Effusion"], EFFUSION)
    np.testing.assert_array_equal(found.votes["Mass"], MASS)
    assert list(found.images) == ["path", "patient_id", "sex"]


def test_what_differs_within_an_image_is_left_out_and_said(read):
    assert "column minutes differs" in " ".join(read(LONG).notes)


def test_the_order_of_rows_changes_no_vote(read):
    head, *rows = LONG.splitlines()
    turned = read("\n".join([head, *reversed(rows)]))
    assert turned.names == ("c.png", "b.png", "a.png")
    np.testing.assert_array_equal(turned.votes["Effusion"], EFFUSION[::-1])


def test_a_column_a_reader_needs_their_names(read):
    text = "path,ann,bob\na.png,benign,malignant\nb.png,benign,\n"
    found = read(text, readers=("ann", "bob"), targets=("grade:classes=benign,malignant",))
    assert found.task.target("grade").positive == "malignant"
    np.testing.assert_array_equal(found.votes["grade"], [[0, 1], [0, -1]])


def test_rows_without_images_are_images_too(read):
    assert read("age,x.ann,x.bob\n61,0,1\n62,1,1\n").names == ("row2", "row3")


def test_a_definitive_column_is_read_and_not_kept(read):
    found = read(LONG.replace("minutes", "biopsy").replace(",3\n", ",\n").replace(",4\n", ",1\n").replace(",2\n", ",\n")
                 .replace(",9\n", ",0\n"), definitive=("Mass=biopsy",))  # fmt: skip
    np.testing.assert_array_equal(found.definitive["Mass"], [1, -1, 0])
    assert "biopsy" not in found.images


def test_the_same_answer_twice_is_one_vote(read):
    np.testing.assert_array_equal(read(LONG + "a.png,p1,F,ann,1,,3\n").votes["Effusion"], EFFUSION)


@pytest.mark.parametrize(
    ("text", "said", "message"),
    [
        (LONG + "a.png,p1,F,ann,0,0,3\n", {}, "rows 2 and 9: reader ann calls Effusion of one image 1 and 0"),
        (LONG + "a.png,p9,F,dan,0,0,3\n", {}, "rows 2 and 9: patient_id of one image is p1 and p9"),
        (LONG + "d.png,p3,F,,0,0,3\n", {}, "row 9: reader is empty"),
        (LONG + ",p3,F,ann,0,0,3\n", {}, "row 9: path is empty"),
        (LONG + "d.png,,F,ann,0,0,3\n", {}, "row 9: patient_id is empty"),
        (LONG.replace("bob", "ann").replace("cat", "ann").replace("p1,F,ann,1,1", "p1,F,ann,1,0"),
         {"targets": ("Mass",)}, "rows 2 and 4: reader ann calls Mass"),
        ("path,reader,x\na.png,ann,1\nb.png,ann,0\n", {}, "one reader (ann)"),
        ("path,x.ann,x.bob\na.png,1,\nb.png,0,\n", {}, "one reader (ann)"),
        ("path,x,age\na.png,1,60\n", {}, "no column that names the reader"),
        ("reader,x\nann,1\nbob,0\n", {}, "which image was read"),
        ("path,x.ann,x.bob\na.png,1,0\na.png,0,0\n", {}, "rows 2 and 3: path 'a.png' stands twice"),
        ("path,x,x.ann,x.bob\na.png,1,1,0\n", {}, "has a column 'x' beside 'x.ann'"),
        ("path,x.ann,x.bob\na.png,0.5,0\nb.png,1,0\n", {}, "row 2: x '0.5' is not one of 0, 1"),
        ("path,x.ann,x.bob\na.png,2.5,0\nb.png,1,0\n", {"targets": ("x:continuous",)}, "classes only"),
        ("path,x.ann,x.bob\na.png,A|B,B\nb.png,A,\n", {}, "holds lists"),
        ("path,g.ann,g.bob\na.png,benin,benign\nb.png,malignant,benign\n",
         {"targets": ("g:classes=benign,malignant",)}, "row 2: g 'benin' is not one of benign, malignant. Did you"),
        (LONG, {"readers": ("readr",)}, "Did you mean 'reader'"),
        (LONG, {"definitive": ("biopsy",)}, "no column 'biopsy'"),
        (LONG, {"definitive": ("sex",)}, "of which label"),
        (LONG, {"definitive": ("Mass=sex",)}, "row 2: sex 'F' is not one of 0, 1"),
        ("path,g.ann,g.bob,biopsy\na.png,benign,malignant,1\n", {"definitive": ("biopsy",)}, "row 2: biopsy '1'"),
        (LONG, {"targets": ("Effusio",)}, "Did you mean 'Effusion'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(read, tmp_path, text, said, message):
    with pytest.raises(InputError) as caught:
        read(text, **said)
    assert message in str(caught.value)
    assert str(tmp_path / "readers.csv") in str(caught.value)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"readers\.csv"):
        read_readings(tmp_path / "readers.csv")


def test_readers_may_spell_classes_and_gaps_in_their_own_way(tmp_path):
    table = tmp_path / "readers.csv"
    rows = ["a.png,r1,benign", "a.png,r2,Benign", "b.png,r1,MALIGNANT", "b.png,r2,NA", "c.png,r1,malignant"]
    table.write_text("\n".join(["path,reader,label", *rows]))
    readings = read_readings(table)
    assert [name.lower() for name in readings.task.target("label").classes] == ["benign", "malignant"]
    assert readings.votes["label"].tolist() == [[0, 0], [1, -1], [1, -1]]
    table.write_text("path,reader,sick\na.png,r1,yes\na.png,r2,1\nb.png,r1,No\nb.png,r2,0\nc.png,r1,unknown\n")
    assert read_readings(table).votes["sick"].tolist() == [[1, 1], [0, 0], [-1, -1]]


def test_one_path_in_two_forms_is_one_image(read):
    """Blanks, quotes and ``./`` make no second image; capitals may, and are asked about."""
    rows = ["a.png,ann,1", "./a.png,bob,1", "'b.png',ann,0", "b.png,bob,1"]
    assert read("\n".join(["path,reader,mass", *rows])).names == ("a.png", "b.png")
    with pytest.raises(InputError, match=r"path 'a\.png' and 'A\.PNG' differ only in how they are written"):
        read("\n".join(["path,reader,mass", *rows, "A.PNG,cat,1"]))


def test_a_reader_who_is_nobody_is_refused(read):
    with pytest.raises(InputError, match="row 3: reader 'n/a' names nobody"):
        read("path,reader,mass\na.png,ann,1\na.png,n/a,1\n")


def test_ticks_of_readers_are_asked_about_and_read_as_said(read):
    text = "path,mass.ann,mass.bob\na.png,x,\nb.png,,\nc.png,x,x\n"
    with pytest.raises(InputError, match=r"'mass' holds 'x' or nothing.*'mass:blank=no'"):
        read(text)
    assert read(text, means=("mass:blank=no",)).votes["mass"].tolist() == [[1, 0], [0, 0], [1, 1]]
