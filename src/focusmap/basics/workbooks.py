"""Tables in Excel workbooks: the one sheet that holds cells, as the spreadsheet shows them."""

import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from focusmap.basics.errors import InputError, listed
from focusmap.basics.header_rows import COUNTED, settled_head, with_note

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

FORMAT = re.compile(r'(?:"([^"]*)"|([A-Za-z]))?((?:0+[-./ ]?)+)')
"""Formats of a workbook that put letters before a number, and signs between its digits."""


def read_workbook(content: bytes, path: Path, most_bytes: int) -> pd.DataFrame:
    """Return the one sheet of an Excel workbook that holds cells, each as text; a formula is what it last came out as.

    Parameters
    ----------
    content
        Of the file.
    path
        Of the file, for messages.
    most_bytes
        What it may inflate to.

    Raises
    ------
    InputError
        If it is damaged or inflates to more, none or several of its sheets hold cells, or a formula has no value.
    """
    book, formulas = _workbooks(content, path, most_bytes)
    name, rows = _filled_sheet(book, path)
    _refuse_unknown_formulas(formulas[name], rows, path)
    while not any(rows[-1]):
        rows.pop()
    width = max(i for row in rows for i, cell in enumerate(row) if cell) + 1
    first = next(place for place, row in enumerate(rows) if any(row))
    table = pd.DataFrame([row[:width] for row in rows[first + 1 :]], columns=rows[first][:width], dtype=str)
    hidden = [row for row in range(first + 2, len(rows) + 1) if book[name].row_dimensions[row].hidden]
    note = f"; {len(hidden)} of its rows are hidden and read like the others" if hidden else ""
    note += f"; what is above row {first + 1} is empty, and {COUNTED}" if first else ""
    return settled_head(with_note(table, f"the table is read from sheet {name!r}{note}"), path)


def _workbooks(content: bytes, path: Path, most_bytes: int) -> "tuple[Workbook, Workbook]":
    """Return a workbook with the values that its formulas last had, and with the formulas themselves."""
    from openpyxl import load_workbook

    try:
        size = sum(item.file_size for item in zipfile.ZipFile(io.BytesIO(content)).infolist())
        if size > most_bytes:
            raise InputError(f"{path}: inflates to more than {most_bytes // 2**20} MiB.")
        book = load_workbook(io.BytesIO(content), data_only=True)
        return book, load_workbook(io.BytesIO(content)) if b"<f" in _sheets(content) else book
    except InputError:
        raise
    # openpyxl fails on damaged workbooks in each of its own ways.
    except Exception:
        raise InputError(
            f"{path}: is no workbook that can be read: it is damaged, or of another program. Save it as .xlsx or CSV."
        ) from None


def _filled_sheet(book: "Workbook", path: Path) -> tuple[str, list[list[str]]]:
    """Return name and cells of the one visible sheet that holds any; `InputError` if there are several, or none."""
    visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    filled = {sheet.title: _rows_of(sheet) for sheet in visible if any(any(row) for row in sheet.iter_rows())}
    filled = {name: rows for name, rows in filled.items() if any(any(row) for row in rows)}
    if len(filled) != 1:
        what = f"{len(filled)} sheets ({listed(list(filled), 5, ', ')})" if filled else "no sheet"
        raise InputError(f"{path}: has {what} with cells; one was expected. Save the one with the labels by itself.")
    return next(iter(filled.items()))


def _rows_of(sheet: "Worksheet") -> list[list[str]]:
    """Return the cells of a sheet as text; what is merged downwards stands in each of its rows."""
    rows = [[_cell_text(cell) for cell in row] for row in sheet.iter_rows(min_row=1, min_col=1)]
    for merged in sheet.merged_cells.ranges:
        if merged.min_col == merged.max_col and merged.min_row > 1:
            for row in range(merged.min_row, merged.max_row):
                rows[row][merged.min_col - 1] = rows[merged.min_row - 1][merged.min_col - 1]
    return rows


def _sheets(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        return b"".join(book.read(name) for name in book.namelist() if name.startswith("xl/worksheets/"))


def _refuse_unknown_formulas(sheet: object, rows: list[list[str]], path: Path) -> None:
    for row in sheet.iter_rows():  # type: ignore[attr-defined]
        for cell in row:
            if cell.data_type == "f" and not rows[cell.row - 1][cell.column - 1]:
                raise InputError(
                    f"{path} row {cell.row}: cell {cell.coordinate} is a formula without a value. Open the workbook "
                    "in a spreadsheet and save it again, or write the value there."
                )


def _cell_text(cell: "Cell") -> str:
    """Return a cell as the spreadsheet shows it: 17 for 17.0, zeros in front where its format asks for them."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    form = FORMAT.fullmatch(cell.number_format or "") if isinstance(value, int) and value >= 0 else None
    if form:
        digits = list(str(value).zfill(form[3].count("0")))
        # From the right, where the last digits are.
        signs = [digits.pop() if sign == "0" else sign for sign in reversed(form[3])]
        return (form[1] or form[2] or "") + "".join([*digits, *reversed(signs)])
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).removesuffix("T00:00:00").replace("T", " ")
    return str(value).strip()
