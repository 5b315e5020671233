"""How well it did on test: numbers with intervals, curves, and counts at the operating point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from focusmap.figures.plots import KINDS, confusion_figures, curves_of
from focusmap.files import branch, items, number, text
from focusmap.report.files import RunFiles, Tree, thresholds_of
from focusmap.report.page import figure_uri, image_uri, inside
from focusmap.report.words import Cell, Footnotes, Table, Words, metric_cell, metric_row, name_cell, range_text

RANKING = (
    "auroc",
    "average_precision",
    "threshold",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "ppv_at_prevalence",
    "npv_at_prevalence",
)
AGREEMENT = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "log_loss",
    "brier",
    "ece",
    "calibration_intercept",
    "calibration_slope",
)
CLASSES = ("auroc", "quadratic_kappa", "accuracy", "balanced_accuracy", "f1", "log_loss")
VALUES = ("mae", "rmse", "r2", "pearson")


@dataclass(frozen=True)
class Figure:
    """An image on the page, as data URI."""

    title: str
    uri: str
    caption: str = ""


@dataclass(frozen=True)
class PerformanceSection:
    """What the report says of the test."""

    tables: Sequence[Table]
    counts: Table | None
    figures: Sequence[Figure]
    confusions: Sequence[Figure]


@dataclass(frozen=True)
class Group:
    """Targets or classes that share a table, and the metrics that it shows, as far as they have them."""

    caption: str
    entries: Mapping[str, Tree]
    metrics: Sequence[str]


def performance_section(files: RunFiles, judged: pd.DataFrame | None, words: Words) -> PerformanceSection | None:
    """Return the section; None without ``metrics.json``."""
    if not files.metrics:
        return None
    confusions = [
        Figure(words("results.confusion", name=name), figure_uri(figure))
        for name, figure in confusion_figures(files.metrics)
    ]
    tables, counts = metric_tables(files.metrics, words), _count_table(files, judged, words)
    return PerformanceSection(tables, counts, _curve_figures(files, words), confusions)


def metric_tables(metrics: Tree, words: Words) -> list[Table]:
    """Return a table for each kind of target that `metrics.json` has, and one of classes for each multiclass target."""
    by_kind = _by_kind(metrics)
    tables = []
    if binary := by_kind.get("binary", {}):
        rows = [_mean_row(metrics, RANKING, words)] if len(binary) > 1 else []
        tables.append(_table(Group(words("results.ranking"), binary, RANKING), words, rows))
        tables.append(_table(Group(words("results.agreement"), binary, AGREEMENT), words))
    classed = {**by_kind.get("multiclass", {}), **by_kind.get("ordinal", {})}
    if classed:
        tables.append(_table(Group(words("results.several_classes"), classed, CLASSES), words))
    for name, entry in classed.items():
        per_class = {text(key): branch(value) for key, value in branch(entry, "per_class").items()}
        if per_class:
            heading = words("results.classes", name=name)
            tables.append(_table(Group(heading, per_class, (*RANKING, *AGREEMENT)), words))
    if values := by_kind.get("continuous", {}):
        tables.append(_table(Group(words("results.values"), values, VALUES), words))
    return tables


def mean_metric(metrics: Tree, key: str = "auroc") -> Tree:
    """Return the mean of a metric over targets, or the metric of the only target."""
    targets = branch(metrics, "targets")
    if len(targets) == 1:
        return branch(next(iter(targets.values())), key)
    return branch(metrics, "mean", key)


def _by_kind(metrics: Tree) -> dict[str, dict[str, Tree]]:
    kinds: dict[str, dict[str, Tree]] = {}
    for name, value in branch(metrics, "targets").items():
        entry = branch(value)
        kinds.setdefault(text(entry.get("kind")), {})[name] = entry
    return kinds


def _table(group: Group, words: Words, above: Sequence[Sequence[Cell]] = ()) -> Table:
    notes, entries = Footnotes(words), group.entries
    kept = [key for key in group.metrics if any(key in entry for entry in entries.values())]
    rows = [[*metric_row(name, _with_points(entry, words), kept, notes)] for name, entry in entries.items()]
    for row, entry in zip(rows, entries.values(), strict=True):
        row[0] = replace(row[0], small=_size_text(entry, words))
    rows = [*(list(row[: len(kept) + 1]) for row in above), *rows]
    return Table(["", *(words.name("metric", key) for key in kept)], rows, notes.lines(), group.caption)


def _with_points(entry: Tree, words: Words) -> Tree:
    """Return the entry with all of its operating points where folds have their own: the rest was counted at those."""
    points = [point for value in items(entry.get("fold_thresholds")) if (point := number(value)) is not None]
    return {**entry, "threshold": range_text(points, words)} if points else entry


def _size_text(entry: Tree, words: Words) -> str:
    n, positives = text(entry.get("n")), text(entry.get("n_positive"))
    if positives:
        return words("results.positives", positives=positives, n=n)
    return words("results.n", n=n) if n else ""


def _mean_row(metrics: Tree, keys: Sequence[str], words: Words) -> list[Cell]:
    means, notes = branch(metrics, "mean"), Footnotes(words)
    left_out = [text(name) for name in items(branch(means, "auroc").get("left_out"))]
    small = words("results.left_out", names=words.listed(left_out, 4)) if left_out else words("results.over_all")
    cells = (metric_cell(means.get(key), notes, bar=key == "auroc") for key in keys)
    return [name_cell(words("results.mean"), small), *cells]


def _count_table(files: RunFiles, judged: pd.DataFrame | None, words: Words) -> Table | None:
    binary = [target.name for target in files.task.targets if target.kind == "binary"]
    if judged is None or not binary:
        return None
    rows = []
    for name in binary:
        counts = judged.loc[judged["label"] == name, "outcome"].value_counts()
        cells = [Cell(f"{int(counts.get(key, 0)):,}") for key in ("TP", "FN", "FP", "TN", "")]
        points = thresholds_of(files, name, list(judged.loc[judged["label"] == name, "image_id"]))
        rows.append([name_cell(name), Cell(range_text(points, words)), *cells])
    outcomes = [words.name("outcome", key) for key in ("TP", "FN", "FP", "TN", "unknown")]
    return Table(["", words("metric.threshold"), *outcomes], rows, caption=words("results.counts"))


def _curve_figures(files: RunFiles, words: Words) -> list[Figure]:
    figures = []
    for name, kind in KINDS.items():
        title, caption = words.name("curve", name), words.name("curve_caption", name)
        curves = curves_of(kind, files.metrics, files.curves)
        if curves:
            if any(curve.point for curve in curves):
                has_thresholds = any(target.kind == "binary" for target in files.task.targets)
                dot = words("results.dot" if has_thresholds else "results.dot_of_class")
                caption = words("page.sentences", first=caption, second=dot)
            figures.append(Figure(title, figure_uri(kind.draw(curves)), caption))
        elif image := inside(files.folder, f"evaluation/{name}.png"):
            figures.append(Figure(title, image_uri(image), caption))
    return figures
