"""What a reader sees first: the verdict, one number, and every label beside guessing and beside simpler models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor

from focusmap.basics import branch, items, number, text
from focusmap.evaluation import JUDGED_BY, USUAL
from focusmap.figures import numbers_of
from focusmap.report.files import RunFiles, Tree
from focusmap.report.words import DASH, Words, called, decimal, verdict_title

# What guessing reaches, and what a perfect model does.
SCALES: Mapping[str, tuple[float, float]] = {"auroc": (0.5, 1.0), "r2": (0.0, 1.0)}
# Tick marks stand this far apart, and the scale begins at one of them.
STEP = 0.1
# Per cent of the width; closer ones would run into each other on a phone.
CLOSEST_TICKS = 12
# So many are named; of more the first, and how many more there are.
SHOWN_LABELS = 5


@dataclass(frozen=True)
class Headline:
    """The one number: what it is, its value, and its interval in words."""

    label: str
    value: str
    interval: str


@dataclass(frozen=True)
class ForestRow:
    """One label; places are per cent of the width of the plot."""

    name: str
    level: str
    word: str
    value: str
    interval: str
    at: float
    start: float
    end: float
    rivals: Sequence[float]
    is_class: bool = False


@dataclass(frozen=True)
class Forest:
    """All labels that are measured by one metric on one scale; `guessing` is a place, `ticks` are places by name."""

    metric: str
    rows: Sequence[ForestRow]
    guessing: float
    ticks: Mapping[str, float]
    has_rivals: bool
    caption: str


@dataclass(frozen=True)
class VerdictSection:
    """The verdict with its level, which decides the colour, its sentence and its number; `only` for which labels."""

    level: str
    title: str
    only: str
    reason: str
    headline: Headline | None


def verdict_section(files: RunFiles, words: Words) -> VerdictSection | None:
    """Return the section; None of a run that was not evaluated."""
    if not files.metrics:
        return None
    level, reason = text(files.metrics.get("verdict")), words.reason(_plainly(files.metrics, words), "verdict_reason")
    number_of = _headline(files, words) if level not in ("cannot-be-judged", "broken") else None
    reason = reason[:1].upper() + reason[1:]
    return VerdictSection(level, verdict_title(files.metrics, words), _only(files.metrics, words), reason, number_of)


def _only(metrics: Tree, words: Words) -> str:
    """Return for which labels a model is useful that is not so for all of them; else nothing."""
    levels = {name: text(branch(entry).get("verdict")) for name, entry in branch(metrics, "targets").items()}
    useful = [name for name, level in levels.items() if level.startswith("useful")]
    n_others = len(levels) - len(useful)
    return (
        words("verdict_part.only", names=words.listed(useful, SHOWN_LABELS), n=n_others) if useful and n_others else ""
    )


def _plainly(metrics: Tree, words: Words) -> Tree:
    """Return metrics whose reason calls the simpler model by what it is."""
    known = words.tables["answer"]
    values = {key: known.get(text(value), value) for key, value in branch(metrics, "verdict_reason_values").items()}
    reason = text(metrics.get("verdict_reason"))
    for name in (text(value) for value in branch(metrics, "verdict_reason_values").values()):
        reason = reason.replace(name, known[name]) if name in known else reason
    return {**metrics, "verdict_reason": reason, "verdict_reason_values": values}


def _headline(files: RunFiles, words: Words) -> Headline | None:
    """Return the AUROC of the only target, their mean over several, or the error of a value in its unit."""
    targets = branch(files.metrics, "targets")
    if len(targets) == 1 and (only := files.task.targets[0]).is_number:
        metric = branch(targets, only.name, "mae")
        return _number(words.name("metric", "mae"), metric, only.unit, words)
    split = words.name("part", text(files.metrics.get("split")) or "test")
    n_ranked = sum("auroc" in branch(entry) for entry in targets.values())
    key = "summary.mean_auroc" if n_ranked > 1 else "summary.auroc"
    metric = (
        branch(files.metrics, "mean", "auroc") if len(targets) > 1 else branch(next(iter(targets.values())), "auroc")
    )
    return _number(words(key, split=split), metric, "", words)


def _number(label: str, metric: Tree, unit: str, words: Words) -> Headline | None:
    value, low, high = (number(metric.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return None
    figures = [f"{part:.3g}" if unit or part > 1 else decimal(part) for part in (value, low, high) if part is not None]
    interval = ""
    if len(figures) == 3:
        interval = words("page.interval_label", interval=words("page.interval", low=figures[1], high=figures[2]))
    return Headline(label, f"{figures[0]} {unit}".rstrip(), interval)


def forests(files: RunFiles, words: Words) -> list[Forest]:
    """Return a plot for labels, measured by the AUROC, and one for values, measured by R2; empty ones are left out."""
    kinds = {target.name: JUDGED_BY[target.kind] for target in files.task.targets}
    plots = []
    for metric in SCALES:
        names = [name for name, of in kinds.items() if of == metric]
        entries = [entry for name in names for entry in _entries(files, name, metric)]
        if entries:
            plots.append(_forest(metric, entries, words))
    return plots


@dataclass(frozen=True)
class _Entry:
    name: str
    level: str
    limits: tuple[float, float, float]
    rivals: Sequence[float]
    is_class: bool
    is_compared: bool


def _entries(files: RunFiles, name: str, metric: str) -> Iterator[_Entry]:
    """Yield a target, then each class of several, with the values of simpler models."""
    target = branch(files.metrics, "targets", name)
    classes = [text(value) for value in items(target.get("classes"))]
    for label, is_class in [(name, False), *((f"{name}={class_name}", True) for class_name in classes)]:
        entry = numbers_of(files.metrics, label)
        limits = [number(branch(entry, metric).get(key)) for key in ("value", "low", "high")]
        if (value := limits[0]) is None:
            continue
        low, high = (value if end is None else end for end in limits[1:])
        level = "" if is_class else text(entry.get("verdict"))
        is_compared = entry.get("verdict_reason_code") != "verdict-none-compared"
        rivals = _rivals(files, label, metric)
        title = label.removeprefix(f"{name}=") if is_class else called(files.task, label)
        yield _Entry(title, level, (value, low, high), rivals, is_class, is_compared)


def _rivals(files: RunFiles, label: str, metric: str) -> list[float]:
    entries = [branch(entry) for entry in items(files.baselines.get("baselines"))]
    simple = [entry for entry in entries if entry.get("name") != USUAL and not entry.get("is_rung")]
    values = [number(branch(numbers_of(branch(entry, "metrics"), label), metric).get("value")) for entry in simple]
    return [value for value in values if value is not None]


def _forest(metric: str, entries: Sequence[_Entry], words: Words) -> Forest:
    guessing, best = SCALES[metric]
    least = min([guessing - STEP, *(min(entry.limits[1], *entry.rivals, 1.0) for entry in entries)])
    start = max(floor(round(least / STEP, 6)) * STEP, -1.0)

    def place(value: float) -> float:
        return round(100 * min(max((value - start) / (best - start), 0.0), 1.0), 2)

    rows = [_row(entry, place, words) for entry in entries]
    marked = (round(start, 1), guessing, best) if place(guessing) >= CLOSEST_TICKS else (guessing, best)
    ticks = {f"{value:g}".replace("-", "−"): place(value) for value in marked}
    name = words.name("metric", metric)
    has_rivals = any(entry.rivals for entry in entries)
    caption = words("forest.caption", metric=name, guessing=f"{guessing:g}")
    if has_rivals:
        caption = words("page.sentences", first=caption, second=words("forest.rivals"))
    return Forest(name, rows, place(guessing), ticks, has_rivals, caption)


def _row(entry: _Entry, place: Callable[[float], float], words: Words) -> ForestRow:
    value, low, high = entry.limits
    word = words(f"verdict_word.{entry.level if entry.is_compared else 'above'}") if entry.level else ""
    interval = words("page.interval", low=f"{low:.2f}", high=f"{high:.2f}")
    rivals = tuple(place(rival) for rival in entry.rivals)
    figure = f"{value:.2f}".replace("-", "−")
    if entry.level == "cannot-be-judged":
        figure, interval = DASH, ""
    return ForestRow(entry.name, entry.level, word, figure, interval.replace("-", "−"),
                     place(value), place(low), place(high), rivals, entry.is_class)  # fmt: skip
