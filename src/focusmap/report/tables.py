"""Tables of a page: cells with a number, its interval under it, and a drawn interval where that helps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from focusmap.figures.json_tree import branch, number
from focusmap.files import Json
from focusmap.report.words import DASH, Words


@dataclass(frozen=True)
class Bar:
    """A drawn interval, on a scale from 0 to 1."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One cell; `small` stands under `text`, `mark` is the sign of a footnote."""

    text: str
    small: str = ""
    mark: str = ""
    bar: Bar | None = None
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    caption: str = ""


@dataclass
class Footnotes:
    """Reasons why numbers are missing, each written once, in the words of the page."""

    words: Words
    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        """Return the sign for `reason`, in the words of the page."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return str(self.reasons.index(reason) + 1)

    def lines(self) -> list[str]:
        """Return the reasons in the order of their signs, 1, 2, ..."""
        return list(self.reasons)


def decimal(value: float) -> str:
    """Return a number with three decimals, and a minus as printers set it.

    >>> decimal(-0.25), signed(0.25)
    ('−0.250', '+0.250')
    """
    return f"{value:.3f}".replace("-", "−")


def signed(value: float) -> str:
    """Return a number as `decimal` does, with a plus before what is not negative."""
    return f"{value:+.3f}".replace("-", "−")


def name_cell(name: str, small: str = "") -> Cell:
    """Return a cell that names its row."""
    return Cell(name, small, is_number=False)


def metric_cell(metric: Json, notes: Footnotes, *, bar: bool = False) -> Cell:
    """Return a metric with its interval; a footnote says why one of them is missing, empty where none is given."""
    values = branch(metric)
    value, low, high = (number(values.get(key)) for key in ("value", "low", "high"))
    if not values:
        return Cell("")
    if value is None:
        return Cell(DASH, mark=notes.mark(notes.words.reason(values) or notes.words("page.undefined")))
    if low is None or high is None:
        reason = notes.words.reason(values)
        return Cell(decimal(value), mark=notes.mark(reason) if reason else "")
    shown, start, end = (decimal(x) for x in (value, low, high))
    return Cell(shown, notes.words("page.interval", low=start, high=end), bar=Bar(low, value, high) if bar else None)


def signed_cell(difference: Json, notes: Footnotes) -> Cell:
    """Return a difference with its interval, a plus before what is above 0."""
    cell, value = metric_cell(difference, notes), number(branch(difference).get("value"))
    return replace(cell, text=f"+{cell.text}") if value is not None and value > 0 else cell


def metric_row(name: str, metrics: Mapping[str, Json], keys: Sequence[str], notes: Footnotes) -> list[Cell]:
    """Return a row: the name, then one cell for each of `keys`; a plain number or text is shown as it is."""
    return [name_cell(name), *(_cell(metrics.get(key), key, notes) for key in keys)]


def _cell(value: Json, key: str, notes: Footnotes) -> Cell:
    if isinstance(value, str):
        return Cell(value)
    plain = number(value)
    if plain is None:
        return metric_cell(value, notes, bar=key == "auroc")
    return Cell(f"{plain:,.0f}" if plain == int(plain) and key != "threshold" else f"{plain:.3f}")


def range_text(values: Iterable[float], words: Words) -> str:
    """Return a number, or the lowest and the highest of several; a dash of none.

    >>> from focusmap.report.words import words_in
    >>> [range_text(values, words_in("en")) for values in ([0.31], [0.44, 0.31], [])]
    ['0.310', '0.310 to 0.440', '—']
    """
    shown = sorted({f"{value:.3f}" for value in values}, key=float)
    if len(shown) > 1:
        return words("page.interval", low=shown[0], high=shown[-1])
    return shown[0] if shown else DASH
