"""How well it did on test: numbers with intervals, curves, and counts at the operating point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from focusmap.figures.curves import KINDS, confusion_figures, curves_of
from focusmap.figures.json_tree import branch, items, text
from focusmap.reporting.files import RunFiles, Tree
from focusmap.reporting.judged import probability_counts, thresholds_of
from focusmap.reporting.pictures import figure_uri, inside, picture_uri
from focusmap.reporting.tables import Cell, Footnotes, Table, list_text, metric_cell, metric_row, name_cell, range_text

Columns = Mapping[str, str]
RANKING: Columns = {
    "auroc": "AUROC", "average_precision": "Average precision", "threshold": "Operating point",
    "sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV",
}  # fmt: skip
AGREEMENT: Columns = {
    "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "f1": "F1",
    "log_loss": "Log loss", "brier": "Brier", "ece": "ECE",
}  # fmt: skip
CLASSES: Columns = {
    "auroc": "AUROC", "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "f1": "F1",
    "log_loss": "Log loss",
}  # fmt: skip
VALUES: Columns = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "pearson": "Pearson r"}

TITLES = {"roc": "ROC", "precision_recall": "Precision and recall", "calibration": "Calibration"}
CAPTIONS = {
    "roc": "The dashed line is guessing.",
    "precision_recall": "The dashed line is the share of positives, what guessing would give.",
    "calibration": "Observed share of positives against predicted probability, in bins of equal size. "
    "Grey bars: how many images have that probability.",
}
DOT = " The dot is the operating point, chosen on tune."


@dataclass(frozen=True)
class Figure:
    """A picture on the page, as data URI."""

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


def performance_section(files: RunFiles, judged: pd.DataFrame | None) -> PerformanceSection | None:
    """Return the section; None without ``metrics.json``."""
    if not files.metrics:
        return None
    confusions = [Figure(f"Confusion: {name}", figure_uri(figure)) for name, figure in confusion_figures(files.metrics)]
    return PerformanceSection(
        metric_tables(files.metrics), _count_table(files, judged), _curve_figures(files, judged), confusions
    )


def metric_tables(metrics: Tree) -> list[Table]:
    """Return a table for each kind of target that `metrics.json` has, and one of classes for each multiclass target."""
    by_kind = _by_kind(metrics)
    tables = []
    if binary := by_kind.get("binary", {}):
        rows = [_mean_row(metrics, RANKING)] if len(binary) > 1 else []
        tables.append(_table("Ranking and operating point", binary, RANKING, rows))
        tables.append(_table("Agreement and calibration", binary, AGREEMENT))
    classed = {**by_kind.get("multiclass", {}), **by_kind.get("ordinal", {})}
    if classed:
        tables.append(_table("Targets of several classes", classed, CLASSES))
    for name, entry in classed.items():
        per_class = {text(key): branch(value) for key, value in branch(entry, "per_class").items()}
        if per_class:
            tables.append(_table(f"Classes of {name}, each against the rest", per_class, {**RANKING, **AGREEMENT}))
    if values := by_kind.get("continuous", {}):
        tables.append(_table("Numbers", values, VALUES))
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


def _table(caption: str, entries: Mapping[str, Tree], columns: Columns, above: Sequence[Sequence[Cell]] = ()) -> Table:
    notes = Footnotes()
    kept = {key: title for key, title in columns.items() if any(key in entry for entry in entries.values())}
    rows = [[*metric_row(name, entry, list(kept), notes)] for name, entry in entries.items()]
    for row, entry in zip(rows, entries.values(), strict=True):
        row[0] = replace(row[0], small=_size_text(entry))
    rows = [*(list(row[: len(kept) + 1]) for row in above), *rows]
    return Table(["", *kept.values()], rows, notes.lines(), caption)


def _size_text(entry: Tree) -> str:
    n, positives = text(entry.get("n")), text(entry.get("n_positive"))
    return f"{positives} of {n} positive" if positives else f"n = {n}" if n else ""


def _mean_row(metrics: Tree, columns: Columns) -> list[Cell]:
    means, notes = branch(metrics, "mean"), Footnotes()
    left_out = [text(name) for name in items(branch(means, "auroc").get("left_out"))]
    small = f"without {list_text(left_out, 4)}" if left_out else "over all targets"
    return [name_cell("Mean", small), *(metric_cell(means.get(key), notes, bar=key == "auroc") for key in columns)]


def _count_table(files: RunFiles, judged: pd.DataFrame | None) -> Table | None:
    binary = [target.name for target in files.task.targets if target.kind == "binary"]
    if judged is None or not binary:
        return None
    rows = []
    for name in binary:
        outcomes = judged.loc[judged["label"] == name, "outcome"].value_counts()
        cells = [Cell(f"{int(outcomes.get(key, 0)):,}") for key in ("TP", "FN", "FP", "TN", "")]
        points = thresholds_of(files, name, list(judged.loc[judged["label"] == name, "image_id"]))
        rows.append([name_cell(name), Cell(range_text(points)), *cells])
    head = ["", "Operating point", "True positive", "Missed", "False alarm", "True negative", "Unknown"]
    return Table(head, rows, caption="Test images at the operating point.")


def _curve_figures(files: RunFiles, judged: pd.DataFrame | None) -> list[Figure]:
    figures, counts = [], probability_counts(judged)
    for name, kind in KINDS.items():
        curves = curves_of(kind, files.metrics, files.curves)
        if name == "calibration":
            curves = [replace(curve, counts=counts.get(curve.name)) for curve in curves]
        if curves:
            dot = DOT if any(curve.point for curve in curves) else ""
            figures.append(Figure(TITLES[name], figure_uri(kind.draw(curves)), CAPTIONS[name] + dot))
        elif picture := inside(files.folder, f"evaluation/{name}.png"):
            figures.append(Figure(TITLES[name], picture_uri(picture), CAPTIONS[name]))
    return figures
