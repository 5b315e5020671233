"""Values that can hardly be meant: an age of -3, a length far from all others, a code that stands once."""

import re

import pandas as pd

from focusmap.audit.findings import Finding, finding, plural
from focusmap.study.cohort import Cohort
from focusmap.study.values import means_empty

OLDEST = 120
FAR = 10.0
MIN_ROWS_FOR_CODES = 50
MAX_CODES = 12


def implausible_values(cohort: Cohort) -> list[Finding]:
    """Return the finding on cells of the label file that can hardly be meant."""
    study = cohort.study
    ids = {study.path_column, study.id_column, study.patient_column, study.case_column, study.block_column}
    odd = [
        f"row {row}: {name} {cell}"
        for name in cohort.cells
        if name not in ids
        for row, cell in _odd_cells(str(name), cohort.cells[name], cohort.table["row"])
    ]
    if not odd:
        return []
    shown = "; ".join(odd[:5]) + ("; ..." if len(odd) > 5 else "")
    return [finding("implausible-value", f"{plural(len(odd), 'value')} to look at: {shown}.", odd)]


def _odd_cells(name: str, cells: pd.Series, rows: pd.Series) -> list[tuple[int, str]]:
    filled = cells.str.strip()
    values = pd.to_numeric(filled, errors="coerce")
    n_filled = int((filled != "").sum())
    if n_filled == 0 or values.notna().sum() < 0.9 * n_filled:
        return []
    unknown = filled.isin([text for text in filled.unique() if means_empty(str(text))])
    odd = (values.isna() & ~unknown) | _outside(name, values) | _lonely_code(values)
    return [(int(row), cell) for row, cell in zip(rows[odd], filled[odd], strict=True)]


def _outside(name: str, values: pd.Series) -> pd.Series:
    """Return which numbers cannot be an age, or lie ten quartile distances outside the quartiles."""
    if re.search(r"(^|_|\b)age(\b|_|$)", name.lower()):
        return (values < 0) | (values > OLDEST)
    low, high = values.quantile(0.25), values.quantile(0.75)
    reach = FAR * (high - low)
    return (values < low - reach) | (values > high + reach) if reach > 0 else pd.Series(False, index=values.index)


def _lonely_code(values: pd.Series) -> pd.Series:
    """Return which number stands once, far from the others, in a column of a few whole-number codes."""
    known = values.dropna()
    counts = known.value_counts()
    few = len(known) >= MIN_ROWS_FOR_CODES and 2 < len(counts) <= MAX_CODES and (known == known.round()).all()
    if not few:
        return pd.Series(False, index=values.index)
    common = counts[counts > 1].index
    far = (values > common.max() + 1) | (values < common.min() - 1)
    lonely: pd.Series = far & values.isin(counts[counts == 1].index)
    return lonely
