"""Covariates as numbers: columns typed by their cells, fitted on train, counted where a new row is unlike any of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import cast

import numpy as np

from focusmap.basics import InputError, Json, ModelError
from focusmap.study.cells import (
    Cells,
    cells_of,
    days_since_1970,
    list_sign_of,
    numbers_of,
    split_codes,
    type_covariates,
)
from focusmap.study.cohort import Cohort
from focusmap.study.flags import Flag, Flags, side_by_side
from focusmap.study.values import alike, in_one_way, plain

# A standardised value is held here: beyond lies no patient that train could speak for.
REACH = 10.0


@dataclass(frozen=True)
class Covariate:
    """How the cells of one column become numbers.

    Parameters
    ----------
    name, kind
        The column, and ``numeric``, ``category``, ``date`` or ``codes`` (an ``A|B|C`` list).
    levels
        Categories or codes that train has; one column each.
    low, high
        Range of the numbers on train; a date counts as days since 1970.
    fill, mean, deviation
        What stands for a missing number (the median), and what it is standardised by.
    date_format
        As `datetime.strptime` reads it; empty for other kinds.
    has_gaps
        Whether train has missing cells; then there is a column that says so.
    decimal, unit, sign
        What a comma in its numbers is, the unit that all name (None: not known), and the sign between its codes.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    fill: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0
    date_format: str = ""
    has_gaps: bool = False
    decimal: str = ""
    unit: str | None = None
    sign: str = "|"

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns that come of it; none where train has one value only, which says nothing."""
        if self.kind in ("numeric", "date"):
            own: tuple[str, ...] = (self.name,) if self.deviation else ()
        else:
            own = tuple(f"{self.name}={level}" for level in self.levels)
        return own + ((f"{self.name} is missing",) if self.has_gaps else ())


@dataclass(frozen=True)
class EncodedTable:
    """The covariates of N rows as numbers.

    Parameters
    ----------
    image_ids
        Names of the rows.
    values
        ``(N, K) float32``, nothing missing.
    flags
        What is unlike train in each row.
    """

    image_ids: tuple[str, ...]
    values: np.ndarray
    flags: tuple[Flags, ...]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {image_id: i for i, image_id in enumerate(self.image_ids)}

    def rows(self, image_ids: Sequence[str]) -> np.ndarray:
        """Return the positions of the rows named."""
        return np.array([self._positions[image_id] for image_id in image_ids], dtype=np.intp)


@dataclass(frozen=True)
class Covariates:
    """All covariates of a table model, as fitted on train; they are saved with it."""

    columns: tuple[Covariate, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the K columns of numbers."""
        return tuple(name for column in self.columns for name in column.column_names)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Covariates that are constant on train."""
        return tuple(column.name for column in self.columns if not column.column_names)

    def encode(self, cohort: Cohort) -> EncodedTable:
        """Return the covariates of a cohort as numbers.

        Raises
        ------
        InputError
            If a column is missing, or a cell cannot be what its column is.
        """
        missing = [column.name for column in self.columns if column.name not in cohort.table]
        if missing:
            raise InputError(
                f"{cohort.study.label_file}: lacks the column(s) {', '.join(missing)} that the model takes. "
                "Add them, with empty cells where the value is not known."
            )
        encoded = [
            _encode(column, cells_of(cohort, column.name).of_kind(column.kind, column.levels))
            for column in self.columns
        ]
        values = np.concatenate([block for block, _ in encoded], axis=1).astype(np.float32)
        return EncodedTable(tuple(cohort.image_ids), values, side_by_side(*(flags for _, flags in encoded)))

    def to_list(self) -> list[Json]:
        """Return plain values for `model.json`."""
        return [{**asdict(column), "levels": list(column.levels)} for column in self.columns]

    @classmethod
    def from_list(cls, values: Sequence[Json]) -> "Covariates":
        """Read what `to_list` gave; `ModelError` if it is something else."""
        known = {item.name for item in fields(Covariate)}
        needed = known - {"decimal", "unit", "sign"}
        columns = []
        for value in values:
            if not isinstance(value, Mapping) or not needed <= set(value) <= known:
                raise ModelError(f"a covariate needs {', '.join(sorted(needed))}; found {value!r}.")
            levels = tuple(str(level) for level in cast(list[Json], value["levels"]))
            columns.append(Covariate(**{**value, "levels": levels}))  # type: ignore[arg-type]
        return cls(tuple(columns))


def fit_covariates(cohort: Cohort, train_ids: Sequence[str]) -> Covariates:
    """Return the covariates of a study, typed by all cells and fitted to those of the training rows alone.

    Raises
    ------
    InputError
        If the study names no covariate, each is constant on train, or a column is free text, holds an infinite
        number, dates of two formats, or numbers and texts; the message names row, column and remedy.
    """
    rows = np.array([cohort.positions[image_id] for image_id in train_ids], dtype=np.intp)
    columns = []
    for name, (kind, date_format) in type_covariates(cohort).items():
        columns.append(_fit(cells_of(cohort, name).of_kind(kind), rows, kind, date_format))
    fitted = Covariates(tuple(columns))
    if not fitted.names:
        named = ", ".join(fitted.left_out)
        raise InputError(f"every covariate ({named}) is constant on train: there is nothing to learn from.")
    return fitted


def _fit(every: Cells, rows: np.ndarray, kind: str, date_format: str) -> Covariate:
    """Return what the cells of train, at `rows`, say; how numbers and texts are written, all cells do."""
    cells = every.take(rows)
    if kind == "category":
        return _fit_category(every, cells)
    if kind == "codes":
        return _fit_codes(every, cells)
    if kind == "date":
        return _fit_range(
            Covariate(cells.name, kind, date_format=date_format), cells, days_since_1970(cells, date_format)
        )
    values, read = numbers_of(every)
    return _fit_range(Covariate(cells.name, kind, decimal=read.decimal, unit=read.unit), cells, values[rows])


def _fit_category(every: Cells, cells: Cells) -> Covariate:
    names = in_one_way(every.values[every.filled])
    levels = sorted({_level(names[cell]) for cell in cells.values[cells.filled]})
    # One level on train says nothing beyond whether the cell is filled.
    return Covariate(cells.name, "category", tuple(levels if len(levels) > 1 else ()), has_gaps=_has_gaps(cells))


def _fit_codes(every: Cells, cells: Cells) -> Covariate:
    """Return the codes that train lists, less those that each of its rows has."""
    sign = list_sign_of(every.values[every.filled]) or "|"
    written = [split_codes(cell, sign) for cell in cells.values]
    names = in_one_way(code for held in written for code in held)
    lists = [{names[code] for code in held} - {""} for held in written]
    codes = sorted(set[str]().union(*lists))
    telling = tuple(code for code in codes if not all(code in held for held in lists))
    return Covariate(cells.name, "codes", telling, sign=sign)


def _fit_range(column: Covariate, cells: Cells, values: np.ndarray) -> Covariate:
    """Return a column with range, median, mean and deviation of the numbers of train, ``(N,)``, NaN where missing."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Covariate(column.name, column.kind, date_format=column.date_format)
    fill = float(np.median(known))
    filled = np.where(np.isnan(values), fill, values)
    return replace(
        column,
        low=float(known.min()),
        high=float(known.max()),
        fill=fill,
        mean=float(filled.mean()),
        deviation=float(filled.std()) if known.min() < known.max() else 0.0,
        has_gaps=_has_gaps(cells),
    )


def _has_gaps(cells: Cells) -> bool:
    return bool((~cells.filled).any() and cells.filled.any())


def _level(cell: str) -> str:
    """Return a category's name; 1 and 1.0 are one category.

    >>> _level("1.0"), _level("left")
    ('1', 'left')
    """
    word = plain(cell)
    return word if word.removeprefix("-").isdecimal() else cell


def _encode(column: Covariate, cells: Cells) -> tuple[np.ndarray, list[Flags]]:
    """Return ``(N, K)`` numbers of one column, and what is unlike train in each row."""
    block, flags = ENCODERS[column.kind](column, cells)
    if column.has_gaps:
        block = np.concatenate([block, ~cells.filled[:, None]], axis=1)
    return block, flags


def _encode_numbers(column: Covariate, cells: Cells) -> tuple[np.ndarray, list[Flags]]:
    if column.kind == "date":
        values = days_since_1970(cells, column.date_format)
        wrong = np.isnan(values) & cells.filled
        if wrong.any():
            shape = datetime(2024, 1, 31).strftime(column.date_format)
            raise InputError(
                f"{cells.where(wrong)}: date {column.name} {cells.first(wrong)!r} is not written like {shape}, "
                f"as train has it ({int(wrong.sum())} such cells)."
            )
    else:
        values, _ = numbers_of(cells, column.decimal, column.unit)
    flags = [_out_of_range(column, cell, value) for cell, value in zip(cells.values, values, strict=True)]
    if not column.deviation:
        return np.empty((len(values), 0)), flags
    scaled = (np.where(np.isnan(values), column.fill, values) - column.mean) / column.deviation
    return np.clip(scaled, -REACH, REACH)[:, None], flags


def _out_of_range(column: Covariate, cell: str, value: float) -> Flags:
    if value < column.low:
        return (Flag("outside", f"{column.name} {cell} lies below train"),)
    return (Flag("outside", f"{column.name} {cell} lies above train"),) if value > column.high else ()


def _encode_levels(column: Covariate, cells: Cells) -> tuple[np.ndarray, list[Flags]]:
    return _one_hot(column, [[_level(cell)] if cell else [] for cell in cells.values])


def _encode_codes(column: Covariate, cells: Cells) -> tuple[np.ndarray, list[Flags]]:
    return _one_hot(column, [split_codes(cell, column.sign) for cell in cells.values])


def _one_hot(column: Covariate, rows: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[Flags]]:
    near = alike(column.levels)
    rows = [[text if text in column.levels else near.get(plain(text), text) for text in held] for held in rows]
    block = np.array([[float(level in held) for level in column.levels] for held in rows])
    block = block.reshape(len(rows), len(column.levels))
    # Of a column that is constant on train, no level is known by name.
    unseen = [[code for code in held if column.levels and code not in column.levels] for held in rows]
    return block, [_not_in_train(column, held) for held in unseen]


def _not_in_train(column: Covariate, levels: Sequence[str]) -> Flags:
    return (Flag("unseen", f"{column.name} {', '.join(levels)} is not in train"),) if levels else ()


ENCODERS: Mapping[str, Callable[[Covariate, Cells], tuple[np.ndarray, list[Flags]]]] = {
    "numeric": _encode_numbers, "date": _encode_numbers, "category": _encode_levels, "codes": _encode_codes,
}  # fmt: skip
