"""Tables as hospitals keep them: the same cells whatever the form, and refused where a form may be read in two ways."""

import csv
import gzip
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from focusmap.basics import InputError, is_table, read_table, write_table
from focusmap.study import read_cohort, read_columns

CELLS = [["path", "patient_id", "label"], ["a.png", "0017", "benign"], ["b,c.png", "18", "Größe é"]]


def written(cells: list[list[str]], separator: str) -> str:
    rows = [[f'"{cell}"' if separator in cell else cell for cell in row] for row in cells]
    return "".join(separator.join(row) + "\r\n" for row in rows)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_table_is_the_same_in_every_form(tmp_path, separator, encoding, packed):
    path = tmp_path / ("labels.csv.gz" if packed else "labels.csv")
    content = written(CELLS, separator).encode(encoding)
    path.write_bytes(gzip.compress(content) if packed else content)
    table = read_table(path)
    assert [list(table), *table.to_numpy().tolist()] == CELLS
    if encoding == "cp1252":
        assert "Latin-1" in table.attrs["read_as"]
    if encoding.startswith("utf-16"):
        assert "UTF-16" in table.attrs["read_as"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_that_is_cut_off_is_refused_by_its_line(tmp_path, encoding):
    path = tmp_path / "labels.csv"
    path.write_bytes(written(CELLS, ",").encode(encoding)[:-1])
    with pytest.raises(InputError, match=r"labels\.csv line \d+: is not UTF-16\S* text"):
        read_table(path)


def test_gbk_is_read_and_said(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("path,诊断,患者\n图像一.png,良性,张三\n图像二.png,恶性,李四\n".encode("gbk"))
    table = read_table(path)
    assert table.to_numpy().tolist() == [["图像一.png", "良性", "张三"], ["图像二.png", "恶性", "李四"]]
    assert table.attrs["read_as"] == "the table is read as GBK text"


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("path,진단,환자\n영상하나.png,양성,김철수\n영상둘.png,음성,이영희\n", "euc_kr", "Korean text (EUC-KR)"),
        ("path,sex\na.png,男\nb.png,女\n", "gbk", "GBK text, though it may be Korean (EUC-KR): if names"),
    ],
)
def test_korean_is_told_from_chinese_or_doubt_is_said(tmp_path, text, encoding, said):
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "labels.csv")
    assert ",".join(table.columns) == text.splitlines()[0]
    assert [",".join(row) for row in table.to_numpy().tolist()] == text.splitlines()[1:]
    assert table.attrs["read_as"].startswith(f"the table is read as {said}")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path,Диагноз\nа.png,опухоль\n", "cp1251"),
        ("path,患者\nあ.png,びょうき\n", "shift_jis"),
        ("path,label\na.png,ÿþ\n", "cp1252"),
        ("path,label\na.png,患者1\n", "big5"),
        ("path,label\na.png,ąężśŁ\n", "cp1250"),
    ],
)
def test_an_encoding_that_is_not_certain_is_refused(tmp_path, text, encoding):
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"labels.csv line 1: is not UTF-8 text|line 2: is not UTF-8 text"):
        read_table(tmp_path / "labels.csv")


def workbook(path: Path, rows: list[list[object]], **formats: str) -> Path:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    for cell, form in formats.items():
        book.active[cell].number_format = form
    book.save(path)
    return path


def test_a_workbook_is_read_as_it_is_shown(tmp_path):
    rows = [["path", "patient_id", "age", "on", "seen"], ["a.png", 17, 40.0, True, datetime(2024, 1, 31)]]
    path = workbook(tmp_path / "labels.xlsx", [*rows, ["b.png", 18, 0.5, None, None], [None] * 5], B2="00000")
    table = read_table(path)
    assert table.to_numpy().tolist() == [["a.png", "00017", "40", "TRUE", "2024-01-31"], ["b.png", "18", "0.5", "", ""]]
    assert table.attrs["read_as"] == "the table is read from sheet 'Sheet'"


def test_a_workbook_trains_as_its_table_does(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    path = workbook(tmp_path / "labels.xlsx", [["path", "patient_id", "Effusion"], ["a.png", 17, 1], ["b.png", 18, 0]])
    cohort = read_cohort(path)
    assert (cohort.task.names, list(cohort.patient_ids)) == (("Effusion",), ["17", "18"])
    assert "note        the table is read from sheet 'Sheet'" in cohort.study.describe()


def test_several_sheets_and_formulas_without_values_are_refused(tmp_path):
    book = Workbook()
    book.active.append(["path", "label"])
    book.create_sheet("other").append(["path"])
    book.save(tmp_path / "two.xlsx")
    with pytest.raises(InputError, match=r"two.xlsx: has 2 sheets \(Sheet, other\)"):
        read_table(tmp_path / "two.xlsx")
    path = workbook(tmp_path / "f.xlsx", [["path", "label"], ["a.png", "=1+0"]])
    with pytest.raises(InputError, match=r"f.xlsx row 2: cell B2 is a formula without a value"):
        read_table(path)


def test_the_lock_of_an_open_workbook_is_said_to_be_one(tmp_path):
    (tmp_path / "~$labels.xlsx").write_bytes(b"\x05Admin")
    with pytest.raises(InputError, match=r"is what Excel keeps .* Name labels.xlsx"):
        read_table(tmp_path / "~$labels.xlsx")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PK\x03\x04nonsense", "is no workbook"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"\.xls\) or has a password")],
)
def test_a_damaged_or_old_workbook_is_named(tmp_path, content, message):
    (tmp_path / "labels.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "labels.xlsx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><table><tr><td>path</td></tr></table></html>", "is an HTML or XML page"),
        (b'[{"path": "a.png"}]', "is JSON"),
        (b"path,label\na.png,x\npath,label\nb.png,y\n", "row 3: repeats the names of the columns"),
        (b"patient\np1,0\np2,1\n", "more cells than the header"),
        (b"a.png,p1,0\nb.png,p2,1\n", r"has no names of its columns; row 1 begins with 'a\.png'"),
        (b'path,label\n"a.png,x\n', "a quote is opened in row 2 and never closed"),
        (b'path,label\n"a.png,x\n' + b"b.png,1\n" * 20000, "or a cell is longer than 131,072 letters"),
        (b"\x1f\x8b\x08\0cut", r"is damaged or cut off \(gzip\)"),
    ],
)
def test_what_is_no_table_is_told_in_our_words(tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("content", "names", "n_rows"),
    [
        ("Export,\n,\npath,label\na.png,x\n", "path label", 1),
        ("Export of May\n\npath,label\na.png,x\nb.png,y\n", "path label", 2),
        ("Report 5\npath;label\na.png;x\nb.png;y\n", "path label", 2),
        ("path,patient,label,size\n,,,mm\na1.png,p1,0,4\na2.png,p2,1,5\na3.png,p3,1,6\n", "path patient label size", 3),
        ("path,Findings,\n,mass,edema\na.png,0,1\nb.png,1,0\n", "path mass edema", 2),
        ("path,left,,right,\n,a,b,a,b\na.png,0,1,1,1\n", "path|left a|left b|right a|right b", 1),
        ("Image,,Finding,\npath,id,mass,edema\na.png,p1,0,1\nb.png,p2,1,0\nc.png,p3,1,1\n", "path id mass edema", 3),
        ("Image,,Finding\npath,id,mass\na.png,p1,0\nb.png,p2,1\nc.png,p3,1\n", "path id mass", 3),
        ("Film,,,\n,,,\nImage,,Mass,\npath,id,in,out\na.png,p,0,1\nb.png,q,1,0\nc.png,r,1,1\n", "path id in out", 3),
        ("Film,,\nImage,,Mass\npath,id,yes\na.png,p,0\nb.png,q,1\nc.png,r,1\n", "path id yes", 3),
        ("path,age,label\n,years,\na1.png,40,x\na2.png,50,y\na3.png,60,x\n", "path age label", 3),
        ("path,CRP,age\nFile,mg/l,(years)\na1.png,4,1\na2.png,5,7\na3.png,<6,8\n", "path CRP age", 3),
        ("id,Q1,Q2\nParticipant,How old?,Sex\n{'q':1},{'q':2},{}\n1,40,m\n2,50,f\n3,60,m\n", "id Q1 Q2", 3),
    ],
)
def test_what_stands_beside_the_names_of_columns_is_left_out_and_said(tmp_path, content, names, n_rows):
    (tmp_path / "labels.csv").write_text(content)
    table = read_columns(tmp_path / "labels.csv")
    assert list(table) == names.split("|" if "|" in names else " ")
    assert len(table) == n_rows
    assert "rows are counted" in table.attrs["read_as"]


@pytest.mark.parametrize(
    "content",
    [
        "path,age,label\na1.png,unknown,\na2.png,50,y\na3.png,60,x\na4.png,5,x\n",
        "path,label\ntest.png,healthy\na2.png,y\na3.png,x\na4.png,x\n",
        "age,label\nunknown,benign\n50,y\n60,x\n7,y\n",
        ",label\na.png,benign\nb.png,benign\nc.png,x\n",
        ",age,label\nann,40,benign\nbob,50,y\neve,60,x\n",
        ",age,note\nann,unknown,first\nbob,50,y\neve,60,x\nkim,70,x\n",
        "name,,label\nann,unknown,benign\nbob,young,y\neve,old,x\n",
        "id,CRP\n1,5o\n2,5\n3,6\n4,7\n",
        "id,CRP\na,<5\nb,5\nc,6\nd,7\n",
        "patient,age,sex\nanon,40,m\np2,50,f\np3,60,m\np4,70,f\n",
    ],
)
def test_a_row_that_may_be_a_patient_stays(tmp_path, content):
    (tmp_path / "labels.csv").write_text(content)
    assert len(read_columns(tmp_path / "labels.csv")) == content.count("\n") - 1


def test_two_rows_of_names_of_a_workbook_are_one(tmp_path):
    """Names that are merged over their group, or over both rows, with an empty row and column before them."""
    from openpyxl import Workbook

    book = Workbook()
    rows = [[], ["", "path", "Findings", ""], ["", "", "mass", "edema"], ["", "a.png", 0, 1], ["", "b.png", 1, 0]]
    for row in rows:
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    book.active.merge_cells("C2:D2")
    book.save(tmp_path / "labels.xlsx")
    table = read_columns(tmp_path / "labels.xlsx")
    assert table.to_dict("list") == {"path": ["a.png", "b.png"], "mass": ["0", "1"], "edema": ["1", "0"]}


@pytest.mark.parametrize("end", ["", ",\n,\n", "\n\n", "\x1a", "\0\0", " , \n"])
@pytest.mark.parametrize("comma", ["", ","])
def test_what_says_nothing_at_the_end_is_left_off(tmp_path, end, comma):
    (tmp_path / "labels.csv").write_text(f"path,label\na.png,x{comma}\nb.png,y{comma}\n{end}")
    if comma and end.strip("\n\x1a\0"):
        return
    assert read_table(tmp_path / "labels.csv").to_numpy().tolist() == [["a.png", "x"], ["b.png", "y"]]


def test_formats_merged_cells_and_hidden_rows_of_a_workbook(tmp_path):
    book = Workbook()
    sheet = book.active
    for row in (["path", "patient_id", "case"], ["a.png", 7, "c1"], ["b.png", 1234, None], ["c.png", 9, " "]):
        sheet.append(row)
    for row, form in ((2, '"P"000'), (3, "00-00"), (4, "0000")):
        sheet.cell(row, 2).number_format = form
    sheet.merge_cells("C2:C3")
    sheet.row_dimensions[4].hidden = True
    book.save(tmp_path / "labels.xlsx")
    table = read_table(tmp_path / "labels.xlsx")
    assert table.to_numpy().tolist() == [["a.png", "P007", "c1"], ["b.png", "12-34", "c1"], ["c.png", "0009", ""]]
    assert "1 of its rows are hidden" in table.attrs["read_as"]


def test_an_excel_hint_of_the_separator_is_followed(tmp_path):
    (tmp_path / "labels.csv").write_text("sep=;\npath;size\na.png;1,5\n")
    assert read_table(tmp_path / "labels.csv").to_numpy().tolist() == [["a.png", "1,5"]]


@pytest.mark.parametrize("header", ["path,Effusion,Effusion", "path,Effusion, Effusion", 'path,"Effusion",Effusion'])
def test_two_columns_of_one_name_are_refused(tmp_path, header):
    (tmp_path / "labels.csv").write_text(f"{header}\na.png,1,0\n")
    with pytest.raises(InputError, match="two columns are called 'Effusion'"):
        read_table(tmp_path / "labels.csv")


def test_numbers_of_rows_that_pandas_wrote_twice_are_no_two_columns(tmp_path):
    (tmp_path / "labels.csv").write_text(",Unnamed: 0,path\n0,0,a.png\n1,1,b.png\n")
    assert list(read_table(tmp_path / "labels.csv")) == ["Unnamed: 3", "Unnamed: 0", "path"]


def test_two_columns_that_differ_in_what_nobody_sees_are_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("path,Effusion,Effusion\u200b\na.png,1,0\n", encoding="utf-8")
    with pytest.raises(InputError, match="two columns are called 'Effusion'"):
        read_cohort(tmp_path / "labels.csv")


def test_a_comma_parts_columns_unless_only_another_sign_does(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("path,label\na.png,x;y\nb.png,x;y;z\n")
    assert read_table(path)["label"].tolist() == ["x;y", "x;y;z"]
    path.write_text("path\na;b.png\n")
    pd.testing.assert_frame_equal(read_table(path), pd.DataFrame({"path": ["a;b.png"]}), check_dtype=False)


def test_which_files_are_tables():
    assert all(is_table(Path(name)) for name in ("a.csv", "a.tsv", "A.XLSX", "a.xlsm", "a.tsv.gz", "a.csv.gz"))
    assert not any(is_table(Path(name)) for name in ("a.txt", "a.xls", "csv", "a.csv.png"))


RISKY = [
    "=1+1",
    "+49 30 1234",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "'=1",
    "''-x",
    '=HYPERLINK("x","y")',
]
PLAIN = ["-1.5", "+3", "-", "++", "-1,5", "-2e-3", "a=1", "17-3", "'", "''", "'a", "", "-.5"]


def test_texts_that_a_spreadsheet_would_run_are_kept_from_it_and_read_back(tmp_path):
    cells = pd.DataFrame({"=path": RISKY + PLAIN[: len(RISKY)], "number": np.linspace(-1.5, 1, 2 * len(RISKY))})
    write_table(tmp_path / "a.csv", cells)
    with (tmp_path / "a.csv").open(newline="") as file:
        written_cells = list(csv.reader(file))
    assert written_cells[0] == ["'=path", "number"]
    assert all(first == "'" + text for (first, _), text in zip(written_cells[1:], RISKY, strict=False))
    assert [row[0] for row in written_cells[len(RISKY) + 1 :]] == PLAIN[: len(RISKY)]
    assert written_cells[1][1] == "-1.5"
    assert list(read_table(tmp_path / "a.csv")["=path"]) == list(cells["=path"])
    write_table(tmp_path / "b.csv", cells, escape=False)
    assert (tmp_path / "b.csv").read_text().startswith("=path,number\n=1+1,")


@given(st.lists(st.text("='+-@\t\r\n1.5eＡ＝\"", max_size=5), min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("cells") / "a.csv"
    write_table(path, pd.DataFrame({"text": texts, "other": "x"}))
    assert list(read_table(path)["text"]) == texts


def test_a_pipe_is_no_table_since_it_is_read_once_only(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"labels\.csv: is a pipe or a device.*Write the table to a file"):
        read_table(tmp_path / "labels.csv")
