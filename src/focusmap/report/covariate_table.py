"""What a model takes of a table: each covariate, its values on train, and what it and each other side is worth."""

from collections.abc import Mapping

from focusmap.figures.json_tree import branch
from focusmap.files import Json
from focusmap.report.baseline_section import COMPARED
from focusmap.report.files import RunFiles
from focusmap.report.tables import Cell, Footnotes, Table, name_cell, signed_cell
from focusmap.report.words import DASH, Words
from focusmap.study.covariates import Covariate, Covariates

SHOWN_LEVELS = 12


def covariate_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row per covariate, of a run with folds those of the first; None where the model takes none."""
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


def importance_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row per covariate: what each target's first metric loses when its cells are shuffled; None without."""
    return _worth_table(files, files.importance, words("model.importance"), words)


def sides_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row a side of a model of cases: what is lost without it, as `importance_table`; None without."""
    named = {_side(name, words): found for name, found in files.sides.items()}
    return _worth_table(files, named, words("model.sides"), words)


def _side(name: str, words: Words) -> str:
    if name.startswith("view="):
        return words("model.side_view", view=name.removeprefix("view="))
    return words("model.side_images") if name == "pictures" else words("model.side_table")


def _worth_table(files: RunFiles, named: Mapping[str, Json], caption: str, words: Words) -> Table | None:
    if not named:
        return None
    notes, leads = Footnotes(words), {t.name: COMPARED[t.kind][0] for t in files.task.targets}
    rows = [
        [name_cell(name), *(signed_cell(branch(found, target).get(key), notes) for target, key in leads.items())]
        for name, found in ((name, branch(value)) for name, value in named.items())
    ]
    head = ["", *(f"{target}: {words.name('metric', key)}" for target, key in leads.items())]
    return Table(head, rows, notes.lines(), caption)


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
