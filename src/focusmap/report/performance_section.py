"""How well it did on test: numbers with intervals, curves, and counts at the operating point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from focusmap.basics import branch, items, number, text
from focusmap.evaluation import smallest_judged
from focusmap.figures import KINDS, abstention_figure, agreement_figure, confusion_figure, confusion_figures, curves_of
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
    """What the report says of the test; `lacks_curves` where a label has classes and no curve was written."""

    tables: Sequence[Table]
    counts: Table | None
    figures: Sequence[Figure]
    confusions: Sequence[Figure]
    agreements: Sequence[Figure]
    lacks_curves: bool


@dataclass(frozen=True)
class AnswerSection:
    """How often the conformal sets hold on test, and what abstaining buys."""

    explained: str
    table: Table
    figure: Figure | None


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
    tables = [*metric_tables(files.metrics, words), *_fold_tables(branch(files.metrics, "by_fold"), words)]
    counts = _count_table(files, judged, words)
    figures, has_classes = _curve_figures(files, words), files.task.has_classes
    return PerformanceSection(
        tables, counts, figures, _confusions(files, words), _agreements(files, words), has_classes and not figures
    )


def answer_section(files: RunFiles, words: Words) -> AnswerSection | None:
    """Return what ``coverage.json`` says; None where no target could be checked."""
    notes, rows, curves = Footnotes(words), [], {}
    for name, value in branch(files.coverage, "targets").items():
        entry = branch(value)
        for label, covered in branch(entry, "classes").items():
            cells = [metric_cell(branch(covered), notes), Cell(text(branch(covered).get("n_patients")))]
            rows.append([name_cell(f"{name}: {label}" if label else name), *cells])
        if branch(entry, "answered"):
            shares = [metric_cell(entry.get(key), notes) for key in ("answered", "right")]
            rows[-len(branch(entry, "classes"))] += shares
        points = [branch(point) for point in items(entry.get("curve"))]
        if len(points) > 1:
            curves[name] = tuple(np.array([number(p.get(key)) for p in points]) for key in ("answered", "right"))
    if not rows:
        return None
    head = ["", *(words(f"answers.{key}") for key in ("coverage", "patients", "answered", "right"))]
    filled = [[*row, *(Cell("") for _ in range(len(head) - len(row)))] for row in rows]
    error = 100 * (number(files.coverage.get("error")) or 0)
    figure = None
    if curves:
        drawn = abstention_figure({name: (pair[0], pair[1]) for name, pair in curves.items()})
        figure = Figure(words("answers.figure"), figure_uri(drawn), words("answers.figure_caption"))
    return AnswerSection(
        words("answers.explained", error=error, held=100 - error), Table(head, filled, notes.lines()), figure
    )


def _confusions(files: RunFiles, words: Words) -> list[Figure]:
    """Return the confusion of each target of several classes, and that of a binary one that stands alone."""
    figures = list(confusion_figures(files.metrics))
    only = files.task.targets[0]
    counts = items(branch(files.metrics, "targets", only.name).get("confusion"))
    if len(files.task.targets) == 1 and only.kind == "binary" and len(counts) == 2:
        matrix = np.array([[number(count) or 0 for count in items(row)] for row in counts]).astype(int)
        names = ("absent", "present") if only.classes == ("0", "1") else only.classes
        figures.append((only.name, confusion_figure(matrix, names)))
    caption = words("results.confusion_caption")
    titles = [words("results.confusion") if len(files.task.targets) == 1 else name for name, _ in figures]
    return [Figure(title, figure_uri(figure), caption) for title, (_, figure) in zip(titles, figures, strict=True)]


def _agreements(files: RunFiles, words: Words) -> list[Figure]:
    """Return for each value predicted against true, and the limits of agreement."""
    if files.predictions is None or files.cohort is None:
        return []
    known = files.cohort.set_index("image_id")
    figures: list[Figure] = []
    for target in files.task.targets:
        if not target.is_number or target.name not in files.predictions:
            continue
        cells = known[target.name].reindex(files.predictions["image_id"]).fillna("")
        truth = target.encode([str(cell) for cell in cells])
        predicted = pd.to_numeric(files.predictions[target.name], errors="coerce").to_numpy(dtype=np.float64)
        both = ~np.isnan(truth) & ~np.isnan(predicted)
        if both.sum() > 2:
            name = f"{target.name} ({target.unit})" if target.unit else target.name
            drawn = agreement_figure(truth[both], predicted[both], name)
            caption = "" if figures else words("results.limits")
            figures.append(Figure(words("results.agreement_of", name=name), figure_uri(drawn), caption))
    return figures


def subgroup_tables(files: RunFiles, words: Words, *, beyond_chance: bool) -> list[Table]:
    """Return the tables per subgroup column and target that tell a gap beyond chance, or those that tell none."""
    tables: dict[tuple[str, str], list[Tree]] = {}
    for row in map(branch, items(files.subgroups.get("rows"))):
        tables.setdefault((text(row.get("column")), text(row.get("target"))), []).append(row)
    return [
        _subgroup_table(words("subgroups.of", column=column, target=target), rows, words)
        for (column, target), rows in tables.items()
        if any(row.get("is_beyond_chance") for row in rows) == beyond_chance
    ]


def smallest_subgroup(files: RunFiles, words: Words) -> str:
    """Return which is the smallest group that could be judged, in words; empty where none could."""
    least = smallest_judged(map(branch, items(files.subgroups.get("rows"))))
    return words("subgroups.smallest", group=least[0], n=least[1]) if least else ""


def _subgroup_table(caption: str, rows: Sequence[Tree], words: Words) -> Table:
    notes, metrics = Footnotes(words), list(dict.fromkeys(text(row.get("metric")) for row in rows))
    lines = []
    for group in dict.fromkeys(text(row.get("group")) for row in rows):
        of_group = {text(row.get("metric")): row for row in rows if row.get("group") == group}
        gaps = [words.name("metric", key) for key, row in of_group.items() if row.get("is_beyond_chance")]
        first = next(iter(of_group.values()))
        size = [Cell(f"{number(first.get(key)) or 0:,.0f}") for key in ("n_images", "n_patients")]
        judged = all(row.get("p") is not None for row in of_group.values())
        gap = words.listed(gaps) if gaps else words("subgroups.none" if judged else "subgroups.too_few")
        lines.append([name_cell(group), *size, *(metric_cell(of_group.get(key), notes) for key in metrics), Cell(gap)])
    head = [
        "",
        words("compare.test_images"),
        words("compare.patients"),
        *(words.name("metric", key) for key in metrics),
    ]
    return Table([*head, words("subgroups.gap")], lines, notes.lines(), caption)


# What a challenge asks of files, and not of columns.
OF_FILES = ("file size", "hour of acquisition")


def challenge_tables(files: RunFiles, words: Words) -> list[Table]:
    """Return what linear probes reach with other splits, fewer patients and other questions; none without the file."""
    challenge, notes = files.challenge, Footnotes(words)
    if not challenge:
        return []
    splits, columns = branch(challenge, "splits"), branch(challenge, "columns")
    plain = {"image", "patient", "patient-and-duplicates", "shuffled labels"}
    named = {
        name: words.name("challenge_split", name) if name in plain
        else words("challenge.held_out", column=name.removeprefix("held-out "))
        for name in splits
    }  # fmt: skip
    rows = [[name_cell(named[name]), metric_cell(row, notes, bar=True)] for name, row in splits.items()]
    curve = [branch(row) for row in items(challenge.get("curve"))]
    learnt = [[name_cell(text(row.get("n_patients"))), metric_cell(row, notes, bar=True)] for row in curve]
    other = [
        [name_cell(words.name("challenge_file", name) if name in OF_FILES else name), metric_cell(row, notes, bar=True)]
        for name, row in columns.items()
    ]
    auroc = words.name("metric", "auroc")
    tables = [
        Table([words("challenge.one_side"), auroc], rows, caption=words("challenge.splits")),
        Table([words("challenge.patients"), auroc], learnt, caption=words("challenge.curve")),
        Table([words("challenge.column"), auroc], other, caption=words("challenge.columns")),
        _covered_table(branch(challenge, "covered"), words),
    ]
    return [table for table in tables if table.rows]


def _covered_table(covered: Tree, words: Words) -> Table:
    """Return the AUROC reached with a part of every image covered, beside that of the same images uncovered."""
    rows, still = [], []
    for key, row in ((key, branch(row)) for key, row in covered.items()):
        name, low = words.name("challenge_cover", key), number(row.get("low"))
        named = words("challenge.covered_share", what=name, share=number(row.get("share")) or 0)
        cells = [metric_cell(metric, Footnotes(words), bar=True) for metric in (row, branch(row, "uncovered"))]
        rows.append([name_cell(named), *cells])
        still += [name] if low is not None and low > 0.5 else []
    notes = [words("challenge.still", names=words.listed(still))] if still else []
    head = [words("challenge.what"), words.name("metric", "auroc"), words("challenge.uncovered")]
    return Table(head, rows, notes, words("challenge.covers"))


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


def _fold_tables(by_fold: Tree, words: Words) -> list[Table]:
    """Return what each fold reaches by itself, for each metric that judges a target; none of a run without folds."""
    of_metric: dict[str, dict[str, Tree]] = {}
    for name, entry in ((name, branch(entry)) for name, entry in by_fold.items()):
        of_metric.setdefault(text(entry.get("metric")), {})[name] = entry
    tables = []
    for metric, entries in of_metric.items():
        notes, rows = Footnotes(words), []
        for name, entry in entries.items():
            shown = (*items(entry.get("values")), entry.get("mean"))
            rows.append([name_cell(name), *(metric_cell({"value": value}, notes) for value in shown)])
        head = ["", *(words("cohort.fold", name=str(k)) for k in range(len(rows[0]) - 2)), words("results.mean")]
        caption = words("results.by_fold", metric=words.name("metric", metric))
        if metric == "auroc":
            caption = words("page.sentences", first=caption, second=words("results.by_fold_ranked"))
        tables.append(Table(head, rows, notes.lines(), caption))
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
