"""Finding a table's header as spreadsheets have it: below a title, in two rows, above a row of units.

Rows that are certainly a title or units are left out; ``table.attrs["read_as"]`` says which.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.basics.errors import InputError, listed
from focusmap.basics.file_names import IMAGE_SUFFIX

if TYPE_CHECKING:
    import pandas as pd

READ_AS = "read_as"
MOST_HEADS, PEEKED = 10, 50
"""Rows that are searched for a header where the first has none, and rows by which a column's content is judged."""
FEWEST = 3
BARE = re.compile(r"[\d.,]*")
NAMELESS = re.compile(r"Unnamed: \d+|")
NUMBER = re.compile(r"[-+]?[\d.,' ]*\d[\d.,' ]*(?:[eE][-+]?\d+)?\s*%?")
SAYS_NOTHING = re.compile(r"n/?\.?a\.?|nan|null|none|unknown|missing|[-?.]+|[<>≤≥].*", re.IGNORECASE)
COUNTED = "rows are counted as if these stood in row 1"


def settled_head(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """Return a table with the names of its columns where the first row is a title, or names groups of columns.

    Raises
    ------
    InputError
        If the names stand in a later row again, or nowhere.
    """
    names = ["" if NAMELESS.fullmatch(str(name).strip()) else str(name).strip() for name in table]
    if "" in names:
        table = _below_title(table, names)
        names = list(map(str, table))
    if file := next((name for name in names if IMAGE_SUFFIX.search(name)), ""):
        cells = table.iloc[:PEEKED, names.index(file)].str.strip()
        if len(cells) and cells.str.contains(IMAGE_SUFFIX).all():
            raise InputError(f"{path}: has no names of its columns; row 1 begins with {file!r}. Write them above it.")
    alike = table[(table.iloc[:, 0] == names[0]).to_numpy(dtype=bool)]
    again = [
        row
        for row, cells in zip(alike.index, alike.itertuples(index=False, name=None), strict=True)
        if list(cells) == names
    ]
    if again and len(names) > 1:
        raise InputError(f"{path} row {again[0] + 2}: repeats the names of the columns. Take the row out.")
    return table


def _below_title(table: "pd.DataFrame", names: list[str]) -> "pd.DataFrame":
    """Return the table with names from a later row: whole where most columns have none, else one below its group."""
    rows = [[str(cell).strip() for cell in row] for row in table.head(MOST_HEADS).itertuples(index=False, name=None)]
    place = next((place for place, cells in enumerate(rows) if sum(map(bool, cells)) > 1 or all(cells)), None)
    if place is None:
        return table
    cells, below = rows[place], table.iloc[place + 1 :]
    if names.count("") >= len(names) / 2 and all(cells) and _are_names(cells, below):
        return _named(table, place, cells, f"what stands above the names of the columns ({listed(cells, 3, ', ')})")
    groups = names
    if sum(map(bool, names)) == 1 and place + 1 < len(rows):
        # The row below a title names groups.
        groups, place = cells, place + 1
        cells, below = rows[place], table.iloc[place + 1 :]
    unnamed = [own for own, name, held in zip(cells, groups, (below != "").any(), strict=True) if not name and held]
    is_above = not all(cells) or _is_above_values(cells, below)
    if unnamed and all(unnamed) and is_above and _are_names(cells, below):
        return _named(
            table, place, _under_groups(groups, cells), "two rows that name the columns are read as one, which"
        )
    return table


def _is_above_values(cells: list[str], below: "pd.DataFrame") -> bool:
    """Return whether a text stands above numbers alone, or above names of images alone: no row of values does."""
    columns = [column[column != ""].str.strip() for _, column in below.head(PEEKED).items()]
    return any(
        len(column) >= FEWEST and bool(column.str.fullmatch(NUMBER).all() or column.str.contains(IMAGE_SUFFIX).all())
        for column, cell in zip(columns, cells, strict=True)
        if not re.search(r"\d", cell) and not SAYS_NOTHING.fullmatch(cell)
    )


def _are_names(cells: list[str], below: "pd.DataFrame") -> bool:
    """Return whether texts may be names: neither numbers nor files, each in its column this once."""
    filled = [(place, cell) for place, cell in enumerate(cells) if cell]
    return not any(
        BARE.fullmatch(cell) or IMAGE_SUFFIX.search(cell) or (below.iloc[:, place].str.strip() == cell).any()
        for place, cell in filled
    )


def _under_groups(groups: list[str], cells: list[str]) -> list[str]:
    """Return names below those of groups: alone where they are different, else behind their group.

    >>> _under_groups(["path", "findings", ""], ["", "a", "b"]), _under_groups(["left", "", "right"], ["a", "b", "a"])
    (['path', 'a', 'b'], ['left a', 'left b', 'right a'])
    """
    alone = [cell or group for group, cell in zip(groups, cells, strict=True)]
    if len(set(alone)) == len(alone):
        return alone
    joined, last = [], ""
    for group, cell in zip(groups, cells, strict=True):
        last = group or last
        joined.append(f"{last} {cell}".strip() if cell else group)
    return joined


def _named(table: "pd.DataFrame", place: int, names: list[str], what: str) -> "pd.DataFrame":
    said = f"{what} is left out" if what.startswith("what") else f"{what} are {listed(names, 5, ', ')}"
    return with_note(table.iloc[place + 1 :].reset_index(drop=True).set_axis(names, axis=1), f"{said}; {COUNTED}")


def with_note(table: "pd.DataFrame", said: str) -> "pd.DataFrame":
    """Return the table with a note on how it was read added to ``attrs["read_as"]``."""
    before = table.attrs.get(READ_AS)
    table.attrs[READ_AS] = f"{before}; {said}" if before else said
    return table


def without_units(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table without the rows below its names that hold units, or say again what the columns are.

    Such a row has no cell that is like those below it: no number among numbers, no id among ids, no class again.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"id": ["", "1", "2", "3"], "size": ["mm", "4", "5", "6"], "label": ["", "a", "a", "b"]})
    >>> without_units(table)["size"].tolist()
    ['4', '5', '6']
    """
    for _ in range(2):
        if not _is_beside(table):
            return table
        cells = [cell for cell in map(str, table.iloc[0]) if cell.strip()]
        said = f"row 2 ({listed(cells, 3, ', ')}) says what the columns are and is left out"
        table = with_note(table.iloc[1:].reset_index(drop=True), f"{said}; rows are counted without it")
    return table


def _is_beside(table: "pd.DataFrame") -> bool:
    """Return whether the first row is like no other: text in a column of numbers or ids, and nothing of their kind."""
    n_unlike = 0
    for place in range(table.shape[1]) if len(table) > FEWEST else ():
        own = str(table.iloc[0, place]).strip()
        cells = [cell for cell in table.iloc[1:PEEKED, place].str.strip() if cell]
        is_counted = len(cells) >= FEWEST and all(re.search(r"\d", cell) for cell in cells)
        if not own:
            continue
        if SAYS_NOTHING.fullmatch(own) or (not is_counted and (table.iloc[1:, place].str.strip() == own).any()):
            return False
        if is_counted:
            of_numbers = all(map(NUMBER.fullmatch, cells))
            if NUMBER.fullmatch(own) or IMAGE_SUFFIX.search(own) or (not of_numbers and re.search(r"\d", own)):
                return False
            n_unlike += 1
    return n_unlike > 0
