"""What the model of a run is called, and why it is this one: the rungs of the ladder on the tuning set."""

from collections.abc import Mapping
from typing import cast

from focusmap.figures.json_tree import text
from focusmap.files import Json
from focusmap.report.files import RunFiles
from focusmap.report.tables import Cell, Table, decimal, name_cell
from focusmap.report.words import DASH, Words


def called(files: RunFiles, words: Words) -> str:
    """Return what the run's model is, for a reader: of a mean of several kinds, of what; empty without a card."""
    if files.card is None:
        return ""
    of = files.card.architecture.get("of")
    if not isinstance(of, list):
        return text(files.card.architecture.get("model"))
    return words("model.average", names=words.listed([str(name) for name in of], 5))


def ladder_table(files: RunFiles, words: Words) -> Table | None:
    """Return a row per rung, the simplest first; None of a run whose model was named."""
    if not files.ladder:
        return None
    rows = [_row(rung, words) for rung in cast(list[Mapping[str, Json]], files.ladder["rungs"])]
    keys = ("rung", "score", "log_loss", "seconds")
    caption = words("ladder.caption", minutes=f"{cast(float, files.ladder['budget_minutes']):g}")
    return Table([words(f"ladder.{key}") for key in keys], rows, caption=caption)


def _row(rung: Mapping[str, Json], words: Words) -> list[Cell]:
    inner = cast(Mapping[str, float | None], rung["inner"])
    chosen = words("ladder.chosen") if rung["chosen"] else ""
    numbers = [DASH if value is None else decimal(value) for value in (inner["score"], inner["log_loss"])]
    seconds = f"{cast(float, rung['seconds']):.0f}"
    return [name_cell(str(rung["name"]), chosen), *map(Cell, numbers), Cell(seconds)]
