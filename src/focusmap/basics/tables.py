"""The forms in which hospitals keep tables: packed, in other encodings, with other separators.

Where a form is certain it is read, and said in ``table.attrs["read_as"]``; where it is not, it is refused.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from focusmap.basics.errors import InputError, MissingFileError
from focusmap.basics.file_names import IMAGE_SUFFIX
from focusmap.basics.header_rows import BARE, COUNTED, MOST_HEADS, settled_head, with_note
from focusmap.basics.workbooks import read_workbook

MAX_TABLE_BYTES = 2**30
"""A million rows of a hundred letters are a tenth of it; what inflates to more is damaged or an attack."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
WESTERN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüŒœŠšŽž°µ±²³·ºª«»¿¡–—‘’“”…€§´×\xa0"
)  # fmt: skip
FEWEST_HANGUL = 12
"""So many different letters are all in the first half by chance in one Chinese text of 500."""
MAYBE_HANGUL = ", though it may be Korean (EUC-KR): if names come out wrong, save the file as 'CSV UTF-8'"
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet runs, and one that was kept from that; full-width signs count in Asia."""
NO_FORMULA = re.compile(r"[-+]*(?:[.,]?\d[\d.,]*(?:[eE][-+]?\d+)?%?)?")
KEPT = re.compile(rb"'(?:[=+\-@\t\r\n]|\xef\xbc[\x9d\x8b\x8d\xa0])")
EXCEL_LOCK = "~$"
PEEK = 2**16
LINES = 50
TITLE = re.compile(r"[\s#:]")
"""What a title has, and hardly the name of a column that stands alone."""
TOO_MANY = "Take away lines above the names of the columns, and put cells that hold a comma in quotes."
NO_TABLE = {
    b"<": "an HTML or XML page, as some systems write under the name of Excel. Open it in a spreadsheet and save it as "
    ".xlsx or CSV",
    b"{": "JSON. Write it as CSV", b"[": "JSON. Write it as CSV", b"%PDF": "a PDF. Write its table as CSV",
}  # fmt: skip


def read_cells(path: Path) -> pd.DataFrame:
    """Return a table with every cell as text, an empty one as an empty string, and its header as it is written.

    Columns may have the same name or none. How it was read, where that is not plain CSV in UTF-8, stands in
    ``attrs["read_as"]``.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is empty, is damaged, has a broken row, or may be read in two ways.
    """
    if path.name.startswith(EXCEL_LOCK):
        workbook = path.name.removeprefix(EXCEL_LOCK)
        raise InputError(f"{path}: is what Excel keeps beside an open workbook, not a table. Name {workbook}.")
    content = _unpacked(path)
    if content[:4] == b"PK\x03\x04":
        return read_workbook(content, path, MAX_TABLE_BYTES)
    _refuse_no_table(content, path)
    text, encoding = _decode(content, path)
    n_read = len(text)
    # DOS ended its files by a sign of its own.
    text = text.rstrip("\x1a\0")
    if text.startswith("sep=") and text[4:5] in SEPARATORS:
        separator, text = text[4], text.partition("\n")[2]
    else:
        separator = _separator(text[:PEEK])
    # Text in memory takes four times what its bytes do.
    if encoding or len(text) < n_read or content.startswith(MARKS[0][0]):
        content = text.encode("utf-8")
    del text
    forms = [encoding] if encoding else []
    if separator != "," and path.suffix.lower() != ".tsv":
        forms.append(f"columns parted by {SEPARATORS[separator]}")
    table = _from_bytes(content, separator, path)
    if KEPT.search(content):
        table = unescaped(table)
    table = with_note(table, f"the table is read as {', '.join(forms)}") if forms else table
    return settled_head(table, path)


def _refuse_no_table(content: bytes, path: Path) -> None:
    """Raise `InputError` where a file is certainly of another kind, such as an old workbook or a web page."""
    if content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise InputError(f"{path}: is a workbook of an old Excel (.xls) or has a password. Save it as .xlsx or CSV.")
    for sign, what in NO_TABLE.items():
        if content.removeprefix(MARKS[0][0]).lstrip().startswith(sign):
            raise InputError(f"{path}: is {what}.")


def _unpacked(path: Path) -> bytes:
    """Return the bytes of a file, or of what a gzip file packs, which may not inflate without measure."""
    if path.is_fifo() or path.is_char_device():
        raise InputError(f"{path}: is a pipe or a device, which is read once only. Write the table to a file.")
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        if not is_packed and path.suffix.lower() == ".gz":
            raise InputError(f"{path}: is damaged (is no gzip file). Fetch or write the file again.")
        with gzip.open(path) if is_packed else path.open("rb") as file:
            content: bytes = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise InputError(
            f"{path}: is a folder; a table was expected. focusmap index makes one of a folder of images."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{path}: is damaged or cut off (gzip). Fetch or write the file again.") from None
    if len(content) > MAX_TABLE_BYTES:
        raise InputError(f"{path}: inflates to more than {MAX_TABLE_BYTES // 2**20} MiB.")
    return content


def _decode(content: bytes, path: Path) -> tuple[str, str]:
    """Return the text, and what encoding it was taken for; the latter is empty for UTF-8.

    Without a mark at its beginning, text that is not UTF-8 is GBK or EUC-KR where its bytes come in pairs of common
    Chinese letters or of Hangul, and Latin-1 where they are accented letters of Western Europe, alone or in two within
    a word.
    """
    for mark, name in MARKS:
        if content.startswith(mark):
            return _decode_as(name, content, path), "" if name == "utf-8-sig" else name.upper()
    peek = content[:PEEK]
    if b"\x00" in peek:
        # Latin letters and digits have a zero in every other byte.
        for name, zeros in (("utf-16-le", peek[1::2]), ("utf-16-be", peek[::2])):
            if zeros.count(0) > 0.4 * len(zeros):
                return _decode_as(name, content, path), name.upper()
    try:
        return content.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        guess = _legacy(content)
        if guess is None:
            raise _no_text(content, error.start, path, "UTF-8 text") from None
        return content.decode(guess[0]), guess[1]


def _decode_as(encoding: str, content: bytes, path: Path) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _no_text(content, error.start, path, f"{encoding.upper().removesuffix('-SIG')} text") from None


def _no_text(content: bytes, start: int, path: Path, what: str) -> InputError:
    line = content[:start].count(b"\n") + 1
    return InputError(f"{path} line {line}: is not {what}. Save the file as 'CSV UTF-8' and try again.")


def _legacy(content: bytes) -> tuple[str, str] | None:
    """Return the encoding that text from before UTF-8 is most likely in, and what it is called; None of no likely one.

    Hangul takes the first half of the places of common Chinese letters, of which two in five are in the other half.
    """
    runs = re.findall(rb"[\x80-\xff]+", content)
    pairs = [run[i : i + 2] for run in runs for i in range(0, len(run), 2)]
    common = [len(pair) == 2 and (0xB0 <= pair[0] <= 0xD7 or 0xA1 <= pair[0] <= 0xA3) for pair in pairs]
    if sum(common) >= 0.8 * len(pairs) and all(len(run) % 2 == 0 for run in runs):
        letters = {pair for pair in pairs if pair[0] >= 0xB0}
        may_be_hangul = bool(letters) and max(letters) < b"\xc9"
        is_hangul = may_be_hangul and len(letters) >= FEWEST_HANGUL
        codec, called = ("cp949", "Korean text (EUC-KR)") if is_hangul else ("gb18030", "GBK text")
        try:
            content.decode(codec)
        except UnicodeDecodeError:
            return None
        return codec, called + (MAYBE_HANGUL if may_be_hangul and not is_hangul else "")
    # An accented letter stands alone or, as in Größe, in two within a word.
    two = rb"[\xc0-\xff\xa0\x8a\x8c\x8e\x9a\x9c\x9e\x9f]{2}"
    in_words = rb"[A-Za-z]%b(?![\x80-\xff])|(?<![\x80-\xff])%b[A-Za-z]" % (two, two)
    is_seldom = all(len(run) == 1 for run in re.findall(rb"[\x80-\xff]+", re.sub(in_words, b"", content)))
    try:
        western = set(b"".join(runs).decode("cp1252"))
    except UnicodeDecodeError:
        return None
    return ("cp1252", "Latin-1 text") if western <= WESTERN and is_seldom else None


def _separator(peek: str) -> str:
    """Return what parts the columns: a comma, unless only another sign does so in every row."""
    lines = [line for line in peek.splitlines()[:LINES] if line.strip()]
    if len(peek) == PEEK:
        lines = lines[:-1] or lines
    while len(lines) > 1 and TITLE.search(lines[0].strip()) and not any(sign in lines[0] for sign in SEPARATORS):
        lines = lines[1:]
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
        if widths and widths[0] > 1 and (separator == "," or set(widths) == {widths[0]}):
            return separator
    return ","


def _from_bytes(content: bytes, separator: str, path: Path) -> pd.DataFrame:
    """Return the table in UTF-8 bytes."""
    n_above, header, table = _parsed(content, separator, path)
    if not isinstance(table.index, pd.RangeIndex) and table.index.nlevels == 1 and (table.iloc[:, -1] == "").all():
        # A comma ends each row but the first.
        table = table.reset_index().iloc[:, :-1].set_axis(table.columns, axis=1)
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes what is too much for names of the rows, and every column for the one before it.
        raise InputError(f"{path}: the rows have more cells than the header has names. {TOO_MANY}")
    if len(header) == len(table.columns):
        # pandas calls a second column of one name NAME.1.
        table.columns = pd.Index(header, dtype=table.columns.dtype)
    table = table.iloc[: _last_filled(table)]
    above = f"{n_above} lines above the names of the columns are left out; {COUNTED}"
    return with_note(table, above) if n_above else table


def _parsed(content: bytes, separator: str, path: Path) -> tuple[int, list[str], pd.DataFrame]:
    """Return how many lines stand above the header, the header as it is written, and the table as pandas reads it."""
    try:
        with io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
            n_above, header = _first_names(list(islice(rows, LINES)))
        table = pd.read_csv(
            io.BytesIO(content), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True,
            skiprows=n_above,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: is empty; a header and a row were expected. Save or write it again.") from None
    except (pd.errors.ParserError, csv.Error) as error:
        raise InputError(f"{path}{_fault(str(error))}") from None
    return n_above, header, table


def _fault(message: str) -> str:
    """Return where a table is broken and how, by what pandas says of it."""
    miscounted = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if miscounted is None:
        opened = re.search(r"EOF inside string starting at row (\d+)", message)
        fault = f"a quote is opened in row {int(opened[1]) + 1} and never closed" if opened else "its rows are broken"
        if "field larger" in message:
            fault = "a quote is opened and never closed, or a cell is longer than 131,072 letters"
        return f": is not a CSV table: {fault}. Save it again as CSV."
    expected, row, n_cells = miscounted.groups()
    return f" row {row}: has {n_cells} cells where {expected} were expected. {TOO_MANY}"


def _last_filled(table: pd.DataFrame) -> int:
    """Return how many rows there are up to the last with a filled cell; all rows where there is none."""
    for stop in range(len(table), 0, -LINES):
        rows = list(table.iloc[max(stop - LINES, 0) : stop].itertuples(index=False, name=None))
        for n_after, row in enumerate(reversed(rows)):
            if any(map(str.strip, row)):
                return stop - n_after
    return len(table)


def _first_names(rows: list[list[str]]) -> tuple[int, list[str]]:
    """Return how many lines of a title stand above the names of the columns, and these names.

    >>> _first_names([["Export of May"], [], ["path", "label"], ["a.png", "0"]]), _first_names([["a"], ["1"]])
    ((2, ['path', 'label']), (0, ['a']))
    """
    first = next((place for place, row in enumerate(rows) if sum(map(bool, row)) > 1), 0)
    widths = {len(row) for row in rows[first:] if row}
    above, names = rows[:first], rows[first] if rows else []
    is_title = 0 < first <= MOST_HEADS and len(widths) == 1 and all(len(row) <= 1 for row in above)
    says_so = any(not row or TITLE.search(row[0]) for row in above)
    are_names = not any(IMAGE_SUFFIX.search(name) or BARE.fullmatch(name) for name in names)
    return (first, names) if is_title and says_so and are_names else (0, next(filter(None, rows), []))


def as_numbers(cells: pd.Series) -> np.ndarray:
    """Return cells of text as ``(N,) float``, NaN where one is no number.

    Each is the float that was written, bit by bit; pandas before 3.1 alone misses the last one in a third of them.

    >>> as_numbers(pd.Series(["0.1", "", "b"])).tolist()
    [0.1, nan, nan]
    """
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    known = ~np.isnan(values)
    values[known] = [float(cell) for cell in cells[known]]
    return values


def as_cell(text: str) -> str:
    """Return a text as a cell that spreadsheets show and do not run: with an apostrophe before ``= + - @`` or a tab.

    Numbers, and signs alone, stay. `unescaped` takes one apostrophe away again, so one that was there gets another.

    >>> [as_cell(text) for text in ("=1+1", "-1.5", "+", "'@a", "a=b")]
    ["'=1+1", '-1.5', '+', "''@a", 'a=b']
    """
    return f"'{text}" if FORMULA.match(text) and not NO_FORMULA.fullmatch(text) else text


def write_csv(table: pd.DataFrame, place: Path | TextIO, *, header: bool = True, escape: bool = True) -> None:
    """Write a table without its index; `escape` makes its texts and the names of its columns as `as_cell` does."""
    table = _with_cells(table, FORMULA, as_cell) if escape else table
    # A lone return is put in quotes only where it ends lines, too.
    has_returns = any("\r" in text for _, cells in _texts(table) for text in cells if isinstance(text, str))
    line_end = "\r\n" if has_returns else "\n"
    table.to_csv(place, index=False, header=header, compression="infer", lineterminator=line_end)


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its texts as they were before `as_cell`."""
    escaped = re.compile("'" + FORMULA.pattern)
    return _with_cells(table, escaped, lambda text: text[1:] if escaped.match(text) else text)


def _with_cells(table: pd.DataFrame, begins: re.Pattern[str], change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with the texts changed that begin so."""
    changed = table.copy(deep=False)
    for place, cells in _texts(table):
        matching = [i for i, text in enumerate(cells) if isinstance(text, str) and begins.match(text)]
        if matching:
            values = cells.to_numpy(dtype=object, copy=True)
            values[matching] = [change(text) for text in values[matching]]
            changed[str(table.columns[place])] = pd.Series(values, index=table.index, dtype=cells.dtype)
    changed.columns = pd.Index([change(str(name)) for name in table], dtype=table.columns.dtype)
    return changed


def _texts(table: pd.DataFrame) -> Iterator[tuple[int, pd.Series]]:
    """Yield the columns that hold text, and where they stand."""
    for place, dtype in enumerate(table.dtypes):
        if pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
            yield place, table.iloc[:, place]
