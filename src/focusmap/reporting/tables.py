"""Tables of a page: cells with a number, its interval under it, and a drawn interval where that helps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from focusmap.figures.json_tree import branch, number, text
from focusmap.values.files import Json

DASH = "—"


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
    """Reasons why numbers are missing, each written once."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        """Return the sign for `reason`."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return str(self.reasons.index(reason) + 1)

    def lines(self) -> list[str]:
        """Return the reasons in the order of their signs, 1, 2, ..."""
        return list(self.reasons)


def name_cell(name: str, small: str = "") -> Cell:
    """Return a cell that names its row."""
    return Cell(name, small, is_number=False)


def metric_cell(metric: Json, notes: Footnotes, *, bar: bool = False, digits: int = 3) -> Cell:
    """Return a metric with its interval; a dash with a footnote where it is undefined, empty where it is not given."""
    values = branch(metric)
    value, low, high = (number(values.get(key)) for key in ("value", "low", "high"))
    if not values:
        return Cell("")
    if value is None:
        return Cell(DASH, mark=notes.mark(text(values.get("reason")) or "undefined"))
    if low is None or high is None:
        return Cell(f"{value:.{digits}f}")
    shown, start, end = (f"{x:.{digits}f}".replace("-", "−") for x in (value, low, high))
    return Cell(shown, f"{start} to {end}", bar=Bar(low, value, high) if bar else None)


def metric_row(name: str, metrics: Mapping[str, Json], keys: Sequence[str], notes: Footnotes) -> list[Cell]:
    """Return a row: the name, then one cell for each of `keys`; a plain number is shown as it is."""
    return [name_cell(name), *(_cell(metrics.get(key), key, notes) for key in keys)]


def _cell(value: Json, key: str, notes: Footnotes) -> Cell:
    plain = number(value)
    if plain is None:
        return metric_cell(value, notes, bar=key == "auroc")
    return Cell(f"{plain:,.0f}" if plain == int(plain) and key != "threshold" else f"{plain:.3f}")


def share_text(part: float, whole: float) -> str:
    """Return a share in per cent; a dash of nothing.

    >>> share_text(1, 8), share_text(1, 0)
    ('12.5 %', '—')
    """
    return f"{100 * part / whole:.1f} %" if whole else DASH


def count_text(n: int, noun: str) -> str:
    """Return a count with its noun.

    >>> count_text(1, "image"), count_text(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def range_text(values: Iterable[float]) -> str:
    """Return a number, or the lowest and the highest of several; a dash of none.

    >>> range_text([0.31]), range_text([0.44, 0.31]), range_text([])
    ('0.310', '0.310 to 0.440', '—')
    """
    shown = sorted({f"{value:.3f}" for value in values}, key=float)
    return " to ".join([shown[0], shown[-1]][: len(shown)]) if shown else DASH


def soft_text(n_soft: int) -> str:
    """Return what stands beside counts of a label of which `n_soft` images have a fraction; empty for none.

    >>> soft_text(3)
    '3 soft labels, positive from 0.5 on'
    """
    return f"{count_text(n_soft, 'soft label')}, positive from 0.5 on" if n_soft else ""


def list_text(names: Sequence[str], limit: int = 20) -> str:
    """Return names joined as in a sentence.

    >>> list_text(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) > limit:
        return f"{', '.join(names[: limit - 1])} and {len(names) - limit + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
