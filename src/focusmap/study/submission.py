"""A table in the columns that somebody else asks for, such as a challenge's submission file."""

import re
from pathlib import Path

import pandas as pd

from focusmap.errors import InputError, MissingFileError, suggest
from focusmap.study.cohort import read_columns


def read_template(path: Path) -> list[str]:
    """Return the columns that a template asks for: its header; rows below it are not looked at.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is empty, or names a column twice.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    text = path.read_text(encoding="utf-8-sig").strip()
    # A header alone is a template too.
    columns = (
        [str(name) for name in read_columns(path)]
        if "\n" in text
        else [name.strip().strip('"') for name in text.split(",")]
    )
    if not all(columns) or len(set(columns)) < len(columns):
        raise InputError(f"{path}: a header with the names of different columns was expected.")
    return columns


def fill_template(columns: list[str], predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `columns`: those of the predictions, and beside them those of the table that was asked.

    Names are compared without case, spaces and punctuation, so that ``continue injection`` is ``continue_injection``.

    Parameters
    ----------
    columns
        As `read_template` gives them.
    predictions
        As `Predictions.to_table` gives them, N rows.
    asked
        The table that was asked about, the same rows.

    Raises
    ------
    InputError
        If a column is in neither.

    >>> asked, told = pd.DataFrame({"ID": ["a"]}), pd.DataFrame({"image_id": ["a"], "CST": [251.0]})
    >>> fill_template(["id", "cst"], told, asked).to_dict("records")
    [{'id': 'a', 'cst': 251.0}]
    """
    sources = {_plain(name): column for table in (asked, predictions) for name, column in table.items()}
    missing = [name for name in columns if _plain(name) not in sources]
    if missing:
        known = [str(name) for table in (predictions, asked) for name in table if name != "notice"]
        raise InputError(
            f"the template asks for {', '.join(missing)}, which neither the predictions nor the table has."
            f"{suggest(missing[0], known)} Known: {', '.join(known)}."
        )
    return pd.DataFrame({name: sources[_plain(name)].reset_index(drop=True) for name in columns})


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9=]", "", str(name).lower()) or str(name)
