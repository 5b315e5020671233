"""The cells of a covariate: what kind of column they make, and what no covariate can be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from focusmap.errors import InputError, listed
from focusmap.study.cohort import Cohort
from focusmap.study.declaration import COVARIATE_KINDS
from focusmap.study.roles import call_it_path, columns_of_images

# Whole numbers of so few values are codes: sex 1 and 2, a diagnosis from 1 to 9.
MAX_NUMBER_CODES = 12
MAX_LEVELS = 100
DATE_FORMATS = {
    "%Y-%m-%d": r"\d{4}-\d{1,2}-\d{1,2}",
    "%Y/%m/%d": r"\d{4}/\d{1,2}/\d{1,2}",
    "%d.%m.%Y": r"\d{1,2}\.\d{1,2}\.\d{4}",
    "%d/%m/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
}


@dataclass(frozen=True)
class Cells:
    """The cells of one column, stripped, with the lines that they stand in and the file, for messages."""

    name: str
    values: "pd.Series[str]"
    lines: np.ndarray
    file: str

    @property
    def filled(self) -> np.ndarray:
        """``(N,) bool``."""
        return np.asarray(self.values != "", dtype=bool)

    def where(self, wrong: np.ndarray) -> str:
        """Return file and row of the first cell that is wrong."""
        return f"{self.file} row {self.lines[np.flatnonzero(wrong)[0]]}"

    def first(self, wrong: np.ndarray) -> str:
        """Return the first cell that is wrong."""
        return str(self.values.iloc[int(np.flatnonzero(wrong)[0])])

    def take(self, positions: np.ndarray) -> "Cells":
        """Return the cells at `positions`."""
        return Cells(self.name, self.values.iloc[positions].reset_index(drop=True), self.lines[positions], self.file)


def cells_of(cohort: Cohort, name: str) -> Cells:
    """Return the cells of one column of a cohort's table."""
    values = cohort.table[name].astype(str).str.strip().reset_index(drop=True)
    return Cells(name, values, cohort.table["row"].to_numpy(), str(cohort.study.label_file))


def type_covariates(cohort: Cohort) -> dict[str, tuple[str, str]]:
    """Return kind and date format of each covariate; errors as for `fit_covariates`."""
    study = cohort.study
    if not study.covariates:
        others = [str(name) for name in cohort.raw if name not in study.role_columns]
        images = columns_of_images(cohort.raw[others])
        options = " ".join(f"--covariate {name}" for name in others if name not in images) or "none"
        remedy = "" if cohort.has_images else call_it_path(images)
        raise InputError(
            f"{study.label_file}: a table model needs covariates; name those that are known when the model is asked, "
            f"and none that restates or follows the target. Candidates: {options}{remedy and f'.{remedy}'}"
        )
    kinds = {}
    for name in study.covariates:
        cells = cells_of(cohort, name)
        kind = study.covariate_kinds.get(name) or _guess_kind(cells)
        kinds[name] = (kind, CHECKS[kind](cells))
    if all(cohort.table[name].nunique() == 1 for name in kinds):
        raise InputError(
            f"{study.label_file}: every covariate ({', '.join(kinds)}) is constant: there is nothing to learn from. "
            "Name others with --covariate."
        )
    return kinds


def _guess_kind(cells: Cells) -> str:
    filled = cells.values[cells.filled]
    if filled.empty:
        raise InputError(f"{cells.file}: covariate {cells.name!r} is empty throughout. Leave it out.")
    if filled.str.contains("|", regex=False).any():
        return "codes"
    if any(re.fullmatch(pattern, str(filled.iloc[0])) for pattern in DATE_FORMATS.values()):
        return "date"
    numbers = filled.map(number)
    share = float(numbers.notna().mean())
    if share < 0.5:
        return "category"
    whole = bool((numbers.dropna() == numbers.dropna().round()).all())
    return "category" if share == 1 and whole and numbers.nunique() <= MAX_NUMBER_CODES else "numeric"


def number(cell: str) -> float:
    """Return the number in a cell; NaN where it is none, and for the word nan."""
    try:
        return float(cell)
    except ValueError:
        return np.nan


def numbers_of(cells: Cells) -> np.ndarray:
    """Return ``(N,)`` numbers, NaN where empty; `InputError` for texts and infinite values."""
    values = cells.values.map(number).to_numpy(dtype=np.float64)
    texts = np.isnan(values) & cells.filled
    if texts.any():
        raise InputError(
            f"{cells.where(texts)}: covariate {cells.name} {cells.first(texts)!r} is not a number "
            f"({int(texts.sum())} such cells). Correct the cells, empty them, say --missing "
            f"{cells.name}={cells.first(texts)}, or --covariate {cells.name}:category."
        )
    infinite = np.isinf(values)
    if infinite.any():
        raise InputError(
            f"{cells.where(infinite)}: covariate {cells.name} {cells.first(infinite)!r} is not a finite number "
            f"({int(infinite.sum())} such cells). Correct the cells, or empty them where the value is not known."
        )
    return values


def _check_numbers(cells: Cells) -> str:
    numbers_of(cells)
    return ""


def _check_levels(cells: Cells) -> str:
    filled = cells.values[cells.filled]
    n_levels = filled.nunique()
    if n_levels > MAX_LEVELS:
        few = listed([repr(str(value)) for value in filled.unique()], 3, ", ")
        raise InputError(
            f"{cells.file}: covariate {cells.name!r} holds {n_levels:,} different texts in {len(filled):,} rows "
            f"({few}); free text, names and numbers of patients are no categories, of which there may be "
            f"{MAX_LEVELS}. Leave the column out, or put its values into groups."
        )
    return ""


def _check_codes(cells: Cells) -> str:
    codes = {code for cell in cells.values for code in split_codes(cell)}
    if len(codes) > MAX_LEVELS:
        raise InputError(
            f"{cells.file}: covariate {cells.name!r} lists {len(codes):,} different codes, of which there may be "
            f"{MAX_LEVELS}. Put them into groups."
        )
    return ""


def _check_dates(cells: Cells) -> str:
    """Return the one format that fits all cells."""
    fitting = {form: ~np.isnan(days_since_1970(cells, form)) for form in DATE_FORMATS}
    whole = [form for form, fits in fitting.items() if fits[cells.filled].all()]
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise InputError(
            f"{cells.where(cells.filled)}: date {cells.name} {cells.first(cells.filled)!r} may name the day first or "
            "the month, and no cell of the column settles it. Write dates as 2024-01-31."
        )
    best = max(fitting, key=lambda form: fitting[form].sum())
    wrong = cells.filled & ~fitting[best]
    raise InputError(
        f"{cells.where(wrong)}: date {cells.name} {cells.first(wrong)!r} is not written like the others "
        f"({cells.first(fitting[best]) if fitting[best].any() else '2024-01-31'!r}); {int(wrong.sum())} such cells. "
        "Write all dates as 2024-01-31."
    )


def days_since_1970(cells: Cells, date_format: str) -> np.ndarray:
    """Return days since 1970, NaN where a cell is empty or not a date of this format."""
    epoch, days = datetime(1970, 1, 1), np.full(len(cells.values), np.nan)
    for i, cell in enumerate(cells.values):
        if re.fullmatch(DATE_FORMATS[date_format], cell):
            try:
                days[i] = (datetime.strptime(cell, date_format) - epoch).days
            except ValueError:
                continue
    return days


CHECKS: Mapping[str, Callable[[Cells], str]] = {
    "numeric": _check_numbers, "category": _check_levels, "codes": _check_codes, "date": _check_dates,
}  # fmt: skip
"""What each kind refuses; a date's check returns its format."""
assert set(CHECKS) == set(COVARIATE_KINDS)


def split_codes(cell: str) -> list[str]:
    """Return the codes in an ``A|B|C`` cell.

    >>> split_codes("H35.3| E11")
    ['H35.3', 'E11']
    """
    return [code.strip() for code in cell.split("|") if code.strip()]
