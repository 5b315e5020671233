"""Beside the model: what the simplest answers reach on the same images, and whether the model betters them."""

from collections.abc import Iterator, Mapping, Sequence

from focusmap.figures.json_tree import branch, items, number, text
from focusmap.report.files import RunFiles, Tree
from focusmap.report.ladder_table import called
from focusmap.report.tables import Cell, Footnotes, Table, metric_cell, name_cell, signed_cell
from focusmap.report.words import Words

COMPARED: Mapping[str, Sequence[str]] = {
    "binary": ("auroc", "average_precision", "brier"),
    "multiclass": ("auroc", "accuracy", "log_loss"),
    "ordinal": ("quadratic_kappa", "mae", "accuracy"),
    "continuous": ("mae", "rmse", "r2"),
}
"""Metrics shown for each kind; of the first the paired difference is shown too."""


def baseline_tables(files: RunFiles, words: Words) -> list[Table]:
    """Return a table for each kind of target, a row an answer; empty where no baseline was evaluated."""
    entries = [branch(entry) for entry in items(files.baselines.get("baselines"))]
    kinds: dict[str, list[str]] = {}
    for name, value in branch(files.metrics, "targets").items():
        kinds.setdefault(text(branch(value).get("kind")), []).append(name)
    return [_table(kind, names, files, entries, words) for kind, names in kinds.items() if entries and kind in COMPARED]


def bettered_by(files: RunFiles, words: Words) -> list[str]:
    """Return each target with the simpler answer whose paired interval says that it is better than the model's."""
    found = []
    for entry in (branch(entry) for entry in items(files.baselines.get("baselines"))):
        for target, value in branch(files.metrics, "targets").items():
            metric = next(iter(COMPARED.get(text(branch(value).get("kind")), ())), "")
            difference = branch(branch(entry, "difference", "targets", target).get(metric))
            low, high = number(difference.get("low")), number(difference.get("high"))
            if low is not None and high is not None and (low > 0 if metric == "mae" else high < 0):
                found.append(words("simpler.better", target=target, answer=_called(entry, words)))
    return found


def _called(entry: Tree, words: Words) -> str:
    name = text(entry.get("name"))
    return words.tables["answer"].get(name, name)


def _table(kind: str, names: Sequence[str], files: RunFiles, entries: Sequence[Tree], words: Words) -> Table:
    notes, keys = Footnotes(words), COMPARED[kind]
    own = called(files, words) or words("simpler.model")
    rows: list[list[Cell]] = []
    for name in names:
        metrics = branch(files.metrics, "targets", name)
        found = (metric_cell(metrics.get(key), notes) for key in keys)
        rows += [[name_cell(name), name_cell(own), *found, Cell("")], *_rows_of(name, keys, entries, notes)]
    shown = [words.name("metric", key) for key in keys]
    head = ["", words("simpler.answer"), *shown, words("simpler.difference", metric=shown[0])]
    return Table(head, rows, notes.lines(), words("simpler.of_kind", kind=words.name("kind", kind)))


def _rows_of(target: str, keys: Sequence[str], entries: Sequence[Tree], notes: Footnotes) -> Iterator[list[Cell]]:
    words = notes.words
    for entry in entries:
        metrics = branch(entry, "metrics", "targets", target)
        if not metrics:
            continue
        without = number(branch(entry, "without_earlier_value").get(target))
        small = words.plural("simpler.without", int(without)) if without else ""
        difference = branch(entry, "difference", "targets", target).get(keys[0])
        cells = (metric_cell(metrics.get(key), notes) for key in keys)
        yield [Cell(""), name_cell(_called(entry, words), small), *cells, signed_cell(difference, notes)]
