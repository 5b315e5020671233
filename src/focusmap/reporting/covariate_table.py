"""What a table model takes: each covariate, how it is read, and its values on train."""

from focusmap.cohort.covariates import Covariate, Covariates
from focusmap.reporting.files import RunFiles
from focusmap.reporting.tables import Cell, Table, name_cell
from focusmap.reporting.words import DASH, Words

SHOWN_LEVELS = 12


def covariate_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row a covariate, of a run with folds those of the first; None where the model takes none."""
    if files.card is None or not files.card.covariates:
        return None
    rows = [
        [
            name_cell(column.name),
            name_cell(words.name("covariate_kind", column.kind)),
            name_cell(_values(column, words)),
            Cell(words("page.yes") if column.has_gaps else DASH),
        ]
        for column in Covariates.from_list(files.card.covariates).columns
    ]
    head = [words(f"model.{key}") for key in ("covariate", "read_as", "train_values", "gaps")]
    return Table(head, rows, caption=words("model.covariates"))


def _values(column: Covariate, words: Words) -> str:
    if not column.column_names:
        return words("model.constant")
    if column.kind == "date":
        return words("page.interval", low=_day(column.low), high=_day(column.high))
    if column.kind == "numeric":
        return words("page.interval", low=f"{column.low:g}", high=f"{column.high:g}")
    return words.listed(column.levels, SHOWN_LEVELS)


def _day(days: float) -> str:
    from datetime import date, timedelta

    return (date(1970, 1, 1) + timedelta(days=days)).isoformat()
