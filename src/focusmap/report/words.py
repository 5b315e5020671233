"""The words of the pages, and the tables that are made of them.

The words are one catalogue a language, ``catalogues/en.toml`` and ``zh.toml``, with the same keys. A table's cell has
a number, its interval under it, and a drawn interval where that helps.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from focusmap.basics import InputError, Json, branch, number, text
from focusmap.basics.reasons import LANGUAGES, SENTENCES, Language, Reason, Value, filled, read_notes, read_reason
from focusmap.study import Task

DASH = "—"


@dataclass(frozen=True)
class Words:
    """The words of one language; called with ``table.key`` and the values of its placeholders.

    >>> words = words_in("en")
    >>> words("page.interval", low="0.8", high="0.9")
    '0.8 to 0.9'
    """

    language: Language
    tables: Mapping[str, Mapping[str, str]]

    def __call__(self, key: str, **values: object) -> str:
        """Return the words under `key` with the values filled in."""
        return self._template(key).format(**values)

    def plural(self, key: str, n: float, **values: object) -> str:
        """Return the words under `key` for `n` things; ``|`` parts the form for one from the form for more.

        >>> [words_in("en").plural("count.image", n) for n in (1, 1200)]
        ['1 image', '1,200 images']
        >>> words_in("zh").plural("count.image", 83.0)
        '83 张图像'
        """
        forms = self._template(key).split("|")
        return forms[0 if n == 1 else -1].format(n=int(n) if n == round(n) else n, **values)

    def name(self, table: str, name: str) -> str:
        """Return what something called `name` in a file is called on the page; a name that is not known stays.

        >>> words_in("en").name("metric", "auroc"), words_in("en").name("setting", "some_new_setting")
        ('AUROC', 'some new setting')
        """
        return self.tables[table].get(name, name.replace("_", " "))

    def listed(self, names: Sequence[str], limit: int = 20) -> str:
        """Return names joined as in a sentence.

        >>> words_in("en").listed(["a", "b", "c"]), words_in("en").listed(["a", "b", "c"], 2)
        ('a, b and c', 'a and 2 more')
        """
        comma = self("page.comma")
        if len(names) > limit:
            return self("page.more", names=comma.join(names[: limit - 1]), n=len(names) - limit + 1)
        if len(names) < 2:
            return "".join(names)
        return self("page.pair", first=comma.join(names[:-1]), last=names[-1])

    def share(self, part: float, whole: float) -> str:
        """Return a share in per cent; a dash of nothing.

        >>> words_in("en").share(1, 8), words_in("zh").share(1, 0)
        ('12.5 %', '—')
        """
        return self("page.share", share=100 * part / whole) if whole else DASH

    def reason(self, entry: Mapping[str, Json], name: str = "reason") -> str:
        """Return the reason that a file has under `name`; a sentence without a code, of an older run, as it is.

        >>> words_in("zh").reason({"reason": "one class only", "reason_code": "one-class"})
        '仅有一个类别'
        >>> words_in("zh").reason({"reason": "a sentence of an older run"})
        'a sentence of an older run'
        """
        return self._said(read_reason(entry, name))

    def notes(self, tree: Mapping[str, Json], name: str = "notes") -> list[str]:
        """Return the notes that a file has under `name`; those without a code as they are."""
        return [self._said(note) for note in read_notes(tree, name)]

    def _said(self, note: str) -> str:
        if not isinstance(note, Reason):
            return note
        return filled(
            self.tables["reason"][note.code], {name: self._value(value) for name, value in note.values.items()}
        )

    def _value(self, value: Value) -> Value:
        if isinstance(value, tuple):
            return self("page.semicolon").join(self._said(note) for note in value)
        return self._said(value) if isinstance(value, str) else value

    def _template(self, key: str) -> str:
        table, _, name = key.partition(".")
        return self.tables[table][name]


@lru_cache
def words_in(language: Language) -> Words:
    """Return the words of a language.

    Raises
    ------
    InputError
        If there is no catalogue of that language.
    """
    if language not in LANGUAGES:
        raise InputError(f"language {language!r} is not one of {', '.join(LANGUAGES)}.")
    path = Path(__file__).parent / "catalogues" / f"{language}.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    # Files hold reasons in English already; their words are written once, where files are made.
    return Words(language, {**tables, "reason": SENTENCES} if language == "en" else tables)


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


def called(task: Task, label: str) -> str:
    """Return what a label is called on a page: of one target alone its class, of two named classes the one sought.

    >>> from focusmap.study import Target
    >>> called(Task((Target("label", "binary", ("benign", "malignant")),)), "label")
    'malignant'
    >>> called(Task((Target("label", "multiclass", ("a", "b", "c")),)), "label=b")
    'b'
    """
    only = task.targets[0]
    if len(task.targets) > 1:
        return label
    if label == only.name and only.kind == "binary" and only.classes != ("0", "1"):
        return only.positive
    return label.removeprefix(f"{only.name}=")


def name_cell(name: str, small: str = "") -> Cell:
    """Return a cell that names its row."""
    return Cell(name, small, is_number=False)


def number_cell(value: Json) -> Cell:
    """Return a number with three decimals; a dash of none."""
    plain = number(value)
    return Cell(DASH if plain is None else decimal(plain))


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
    middle, start, end = (decimal(x) for x in (value, low, high))
    return Cell(middle, notes.words("page.interval", low=start, high=end), bar=Bar(low, value, high) if bar else None)


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
    figures = sorted({f"{value:.3f}" for value in values}, key=float)
    if len(figures) > 1:
        return words("page.interval", low=figures[0], high=figures[-1])
    return figures[0] if figures else DASH


def verdict_title(metrics: Mapping[str, Json], words: Words) -> str:
    """Return the verdict of ``metrics.json``, if it is useful with for how many labels; empty of an older file.

    >>> label = {"verdict": "useful"}
    >>> verdict_title({"verdict": "useful", "targets": {"a": label, "b": {"verdict": "broken"}}}, words_in("en"))
    'Useful for 1 of 2 labels'
    """
    level = text(metrics.get("verdict"))
    if not level:
        return ""
    levels = [text(branch(entry).get("verdict")) for entry in branch(metrics, "targets").values()]
    title, n = words(f"verdict.{level}"), levels.count(level)
    return (
        title
        if n in (0, len(levels)) or not level.startswith("useful")
        else words("verdict_part.of_many", verdict=title, n=n, all=len(levels))
    )
