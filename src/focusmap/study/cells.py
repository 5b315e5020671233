"""The cells of a covariate: what kind of column they make, and what no covariate can be."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from focusmap.basics import InputError, listed
from focusmap.study.cohort import Cohort
from focusmap.study.declaration import COVARIATE_KINDS
from focusmap.study.measurements import Numbers, censored, numbers_in, of_limits, read_numbers
from focusmap.study.roles import call_it_path, columns_of_images
from focusmap.study.values import WRITTEN_OUT, in_one_way, list_sign, means_empty, no_number, split_list

# Whole numbers of so few values are codes: sex 1 and 2, a diagnosis from 1 to 9.
MAX_NUMBER_CODES = 12
MAX_LEVELS = 100
MOST_LISTS = 2000
LISTED_BY = ("|", ";", ",", "、", WRITTEN_OUT)
DATE_FORMATS = {
    "%Y-%m-%d": r"\d{4}-\d{1,2}-\d{1,2}",
    "%Y%m%d": r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])",
    "%Y/%m/%d": r"\d{4}/\d{1,2}/\d{1,2}",
    "%Y.%m.%d": r"\d{4}\.\d{1,2}\.\d{1,2}",
    "%Y年%m月%d日": r"\d{4}年\d{1,2}月\d{1,2}日",
    "%d-%m-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%d-%b-%Y": r"\d{1,2}-[A-Za-z]{3}-\d{4}",
    "%d.%m.%Y": r"\d{1,2}\.\d{1,2}\.\d{4}",
    "%d/%m/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
}
UNIT = re.compile(
    r"[\d.,' +-]*\d\s*(?:[µumc]?m|mm[23²³]|k?g|mg|µg|[mdc]?l|%|years?|yrs?|y|months?|mos?|m|weeks?|w|days?|d|h|min|s|"
    r"hours?|jahre?|monate?|岁|年|月|天|日|个月)",
    re.IGNORECASE,
)
"""A number with a unit that another cell may have otherwise."""
TIME = re.compile(r"[ T]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?$")
"""What may stand behind a day, and is not counted."""
SHORT_YEAR = re.compile(r"\d{1,2}([-/.])\d{1,2}\1\d{2}")


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

    def of_kind(self, kind: str, kept: Sequence[str] = ()) -> "Cells":
        """Return the cells with those empty that say that nothing is known, unless they are among `kept`."""
        says_nothing = no_number if kind in ("numeric", "date") else means_empty
        known = {
            text: "" if text not in kept and says_nothing(text) else text for text in map(str, self.values.unique())
        }
        return Cells(self.name, self.values.map(known).astype(str), self.lines, self.file)

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
        without_role = [str(name) for name in cohort.raw if name not in study.role_columns]
        images = columns_of_images(cohort.raw[without_role])
        options = " ".join(f"--covariate {name}" for name in without_role if name not in images) or "none"
        remedy = "" if cohort.has_images else call_it_path(images)
        raise InputError(
            f"{study.label_file}: a table model needs covariates; name those that are known when the model is asked, "
            f"and none that restates or follows the target. Candidates: {options}{remedy and f'.{remedy}'}"
        )
    kinds = {}
    for name in study.covariates:
        cells = cells_of(cohort, name)
        kind = study.covariate_kinds.get(name) or _guess_kind(cells.of_kind("category"))
        kinds[name] = (kind, CHECKS[kind](cells.of_kind(kind)))
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
    if _share(filled, re.compile("|".join(DATE_FORMATS.values())).fullmatch) > 0.5:
        return "date"
    numbers = filled.map(_numbers(cells))
    # Cells that only say on which side of a number they lie belong to a column of numbers.
    is_limit = filled.map(lambda text: censored(text) is not None)
    share = float((numbers.notna() | is_limit).mean())
    if share < 0.5:
        return _kind_of_texts(cells, filled)
    whole = bool((numbers.dropna() == numbers.dropna().round()).all()) and not (
        is_limit.any() and numbers.notna().any()
    )
    return "category" if share == 1 and whole and numbers.nunique() <= MAX_NUMBER_CODES else "numeric"


def _share(filled: "pd.Series[str]", fits: Callable[[str], object]) -> float:
    """Return the share of cells whose text fits, less the time of day behind it."""
    known = {text: bool(fits(TIME.sub("", text))) for text in map(str, filled.unique())}
    return float(filled.map(known).mean())


def _kind_of_texts(cells: Cells, filled: "pd.Series[str]") -> str:
    if list_sign_of(filled):
        return "codes"
    if _share(filled, SHORT_YEAR.fullmatch) > 0.5:
        raise InputError(
            f"{cells.where(cells.filled)}: date {cells.name} {cells.first(cells.filled)!r} has a year of two digits, "
            "and may name the day first, the month or the year. Write dates as 2024-01-31."
        )
    return "category"


def list_sign_of(filled: "pd.Series[str]") -> str:
    """Return the sign between the codes that cells list for certain; "" where they list none."""
    texts = [str(text) for text in filled.unique()]
    if any("|" in text for text in texts):
        return "|"
    if len(texts) > MOST_LISTS:
        return ""
    try:
        sign, is_certain = list_sign(texts)
    except InputError:
        return ""
    return sign if is_certain and sign in LISTED_BY else ""


def _numbers(cells: Cells) -> dict[str, float]:
    """Return the numbers that cells are; none where what follows them differs and is no unit, as in 3a and 2b."""
    texts = [str(text) for text in cells.values[cells.filled].unique()]
    try:
        return read_numbers(texts).values
    except InputError as error:
        if " may be " in str(error):
            raise InputError(f"{cells.file}: covariate {cells.name} {error} Write it with a decimal point.") from None
        bare = {text: number for text in texts for number in numbers_in([text]) if re.fullmatch(r"[\d.,' +-]+", text)}
        with_unit = [text for text in texts if text not in bare and UNIT.fullmatch(text)]
        if with_unit and len(bare) + len(with_unit) > len(texts) / 2:
            remedy = f" Or say --covariate {cells.name}:category."
            raise InputError(f"{cells.file}: covariate {cells.name} {error}{remedy}") from None
        return bare if len(bare) > len(texts) / 2 else {}


def numbers_of(cells: Cells, decimal: str = "", unit: str | None = None) -> tuple[np.ndarray, Numbers]:
    """Return ``(N,)`` numbers, NaN where empty, and how they were read; `InputError` for texts and infinite values.

    `decimal` and `unit` are those of train, as of `read_numbers`.
    """
    try:
        numbers = read_numbers([str(text) for text in cells.values[cells.filled].unique()], decimal, unit)
    except InputError as error:
        raise InputError(f"{cells.file}: covariate {cells.name} {error}") from None
    values = cells.values.map(numbers.values).to_numpy(dtype=np.float64)
    texts = np.isnan(values) & cells.filled
    if texts.any():
        odd = cells.first(texts)
        remedy = of_limits(cells.name, odd) or (
            f" Correct the cells, empty them, say --missing {cells.name}={odd}, or --covariate {cells.name}:category."
        )
        raise InputError(
            f"{cells.where(texts)}: covariate {cells.name} {odd!r} is not a number ({int(texts.sum())} such cells)."
            f"{remedy}"
        )
    infinite = np.isinf(values)
    if infinite.any():
        raise InputError(
            f"{cells.where(infinite)}: covariate {cells.name} {cells.first(infinite)!r} is not a finite number "
            f"({int(infinite.sum())} such cells). Correct the cells, or empty them where the value is not known."
        )
    return values, numbers


def _check_numbers(cells: Cells) -> str:
    numbers_of(cells)
    return ""


def _check_levels(cells: Cells) -> str:
    filled = cells.values[cells.filled].map(in_one_way(cells.values[cells.filled]))
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
    sign = list_sign_of(cells.values[cells.filled])
    codes = {code for cell in cells.values for code in split_codes(cell, sign)}
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
        day = TIME.sub("", cell)
        if re.fullmatch(DATE_FORMATS[date_format], day):
            try:
                days[i] = (datetime.strptime(day, date_format) - epoch).days
            except ValueError:
                continue
    return days


CHECKS: Mapping[str, Callable[[Cells], str]] = {
    "numeric": _check_numbers, "category": _check_levels, "codes": _check_codes, "date": _check_dates,
}  # fmt: skip
"""What each kind refuses; a date's check returns its format."""
assert set(CHECKS) == set(COVARIATE_KINDS)


def split_codes(cell: str, sign: str) -> list[str]:
    """Return the codes in a cell that lists them by a sign, or is one.

    >>> split_codes("H35.3| E11", "|"), split_codes("H35.3", "")
    (['H35.3', 'E11'], ['H35.3'])
    """
    return split_list(cell, sign or "|")
