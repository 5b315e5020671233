"""Files are whole or not there; broken ones are named."""

import errno
import gzip

import pandas as pd
import pytest
from safetensors import SafetensorError

from focusmap.basics import (
    IMAGE_SUFFIX,
    IMAGE_SUFFIXES,
    DiskError,
    InputError,
    MissingFileError,
    atomic,
    is_table,
    read_json,
    read_table,
    write_json,
    write_table,
)
from focusmap.images.read import FORMATS


def test_what_is_called_like_an_image_can_be_read():
    assert [known.name for known in FORMATS] == list(IMAGE_SUFFIXES)
    suffixes = [suffix for of_format in IMAGE_SUFFIXES.values() for suffix in of_format]
    assert all(IMAGE_SUFFIX.fullmatch(suffix) and IMAGE_SUFFIX.search(f"a{suffix.upper()}") for suffix in suffixes)
    assert not any(IMAGE_SUFFIX.search(name) for name in ("png", "report.txt", "a.png.csv", "3.5"))


@pytest.mark.parametrize(
    ("separator", "name"),
    [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")],
)
def test_a_table_with_another_separator_is_read_and_said(tmp_path, separator, name):
    path = tmp_path / "a.csv"
    for first, last in (("a.png", "1"), ("a.png", "1,5"), ("b,c.png", "2")):
        path.write_text(f"path{separator}size\n{first}{separator}{last}\n{first}{separator}{last}\n")
        table = read_table(path)
        assert table.to_numpy().tolist() == [[first, last]] * 2
        assert table.attrs["read_as"] == f"the table is read as columns parted by {name}"
    path.write_text('"a;b"\n1\n')
    assert list(read_table(path)) == ["a;b"], "one column, whose name is in quotes"


def _fail_half_way(path):
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_failure_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"kept": True})
    with pytest.raises(RuntimeError):
        _fail_half_way(path)
    assert read_json(path) == {"kept": True}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.json"
    with pytest.raises(DiskError, match=r"a\.json.*No space left"), atomic(path):
        raise error
    assert not list(tmp_path.iterdir())


def test_cells_stay_text(tmp_path):
    table = pd.DataFrame({"patient_id": ["007", ""], "label": ["NA", "1"]})
    write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table, check_dtype=False)


def test_a_column_without_name_and_cells_is_left_out_and_one_with_cells_stays(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("path,,label,\na,7,1,\nb,, 0 , \n")
    table = read_table(path)
    assert list(table) == ["path", "Unnamed: 1", "label"]
    assert list(table["Unnamed: 1"]) == ["7", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"path,label\n", "no rows. Save it again with its rows"),
        (b"path,label\na,\xff\n", "line 2: is not UTF-8"),
        (b'a,b\n1,"2\n3,4\n', "not a CSV"),
        (b"a,b\n1,2,\n3,4,x\n", "more cells than the header"),
        (b"a,b\n1,2\n3,4,5\n", "row 3: has 3 cells where 2 were expected"),
    ],
)
def test_a_broken_table_is_named(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_a_missing_table_is_missing(tmp_path):
    with pytest.raises(MissingFileError):
        read_table(tmp_path / "labels.csv")


def test_a_json_file_cut_in_half_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2')
    with pytest.raises(InputError, match=r"not valid JSON .*\. Restore it"):
        read_json(tmp_path / "a.json")


def test_hashes_that_were_emptied_are_refused_with_what_to_do(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1}, sealed=True)
    (tmp_path / "hashes.json").write_text("")
    for act in (lambda: read_json(tmp_path / "a.json"), lambda: write_json(tmp_path / "a.json", {})):
        with pytest.raises(InputError, match=r"hashes\.json line 1: is not valid JSON .*\. Delete it"):
            act()
    (tmp_path / "hashes.json").unlink()
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz", "LABELS.CSV", "LABELS.CSV.GZ"])
def test_what_is_a_table_by_its_name_is_read_as_one(tmp_path, name):
    content = b"path,label\na.png,1\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    assert is_table(tmp_path / name)
    assert read_table(tmp_path / name).to_dict("records") == [{"path": "a.png", "label": "1"}]


def test_errors_are_found_where_programs_have_always_found_them():
    import focusmap.basics
    import focusmap.errors

    kinds = {name: kind for name, kind in vars(focusmap.errors).items() if isinstance(kind, type)}
    assert set(kinds) == {name for name in dir(focusmap.basics) if name.endswith("Error")}
    assert all(getattr(focusmap.basics, name) is kind for name, kind in kinds.items())
