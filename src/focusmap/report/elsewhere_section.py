"""What a run's model reached on other label files, and how these differ from train."""

from collections.abc import Sequence
from dataclasses import dataclass

from focusmap.basics import branch, items, number, text
from focusmap.evaluation import COMPARED_BY
from focusmap.report.files import RunFiles, Tree
from focusmap.report.model_section import baselines_of
from focusmap.report.words import DASH, Cell, Footnotes, Table, Words, decimal, metric_cell, name_cell, verdict_title

SHOWN = 12


@dataclass(frozen=True)
class Elsewhere:
    """One other label file: its name, the verdict there, metrics with simpler models, and what differs from train."""

    name: str
    verdict: str
    size: str
    metrics: Sequence[Table]
    differs: str
    drift: Table | None


def elsewhere_sections(files: RunFiles, words: Words) -> list[Elsewhere]:
    """Return one for each label file that was evaluated into the run."""
    return [_section(name, tree, words) for name, tree in files.elsewhere.items()]


def _section(name: str, tree: Tree, words: Words) -> Elsewhere:
    metrics, rows = branch(tree, "metrics"), [branch(row) for row in items(branch(tree, "drift").get("features"))]
    differing = [_named(row, words) for row in rows if row.get("is_beyond_chance")]
    n_images, n_patients = (number(metrics.get(key)) or 0 for key in ("n_images", "n_patients"))
    size = words("elsewhere.size", n=n_images, patients=words.plural("count.patient", n_patients))
    differs = words("elsewhere.differs", names=words.listed(differing, 8)) if differing else words("elsewhere.alike")
    return Elsewhere(
        name=name,
        verdict=verdict_title(metrics, words),
        size=size,
        metrics=[table for table in (_metric_table(tree, words),) if table.rows],
        differs=differs if rows else "",
        drift=_drift_table(rows, words) if rows else None,
    )


def _metric_table(tree: Tree, words: Words) -> Table:
    """Return a row per target: what it is judged by, and the same of the simpler models on the same images."""
    notes, rivals = Footnotes(words), baselines_of(branch(tree, "baselines"))
    rows = []
    for target, entry in branch(tree, "metrics", "targets").items():
        key = COMPARED_BY.get(text(branch(entry).get("kind")), "auroc")
        cells = [metric_cell(branch(entry).get(key), notes)]
        for rival in rivals:
            value = number(branch(rival, "metrics", "targets", target, key).get("value"))
            cells.append(Cell(DASH if value is None else decimal(value)))
        rows.append([name_cell(target, words.name("metric", key)), *cells])
    names = [words.tables["answer"].get(name, name) for rival in rivals if (name := text(rival.get("name")))]
    return Table(["", words("simpler.model"), *names], rows, notes.lines())


def _named(row: Tree, words: Words) -> str:
    """Return what a feature is called: a measure of the image by its name, all else with what it is."""
    kind, name = text(row.get("kind")), text(row.get("feature"))
    feature = words.name("drift_feature", name)
    return feature if kind == "image" else words("elsewhere.of_kind", kind=words.name("drift_kind", kind), name=name)


def _drift_table(rows: Sequence[Tree], words: Words) -> Table:
    """Return a row per feature, those that differ beyond chance first, as the file has them."""
    cells = []
    for row in rows[:SHOWN]:
        ends = [DASH if (value := number(row.get(key))) is None else f"{value:.3g}" for key in ("expected", "found")]
        p = number(row.get("p_adjusted"))
        chance = DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
        size = words.name("drift_size", text(row.get("size")))
        psi, ks = (DASH if (value := number(row.get(key))) is None else decimal(value) for key in ("psi", "ks"))
        cells.append([name_cell(_named(row, words)), *map(Cell, ends), Cell(psi, size), Cell(ks), Cell(chance)])
    head = ["", *(words(f"elsewhere.{key}") for key in ("train", "here", "psi", "ks", "p"))]
    return Table(head, cells, caption=words("elsewhere.caption"))
