"""The model card: what a model is, what it was trained and tested on and how it did, as Markdown beside its weights.

Headings as in Mitchell et al. (FAT* 2019, arXiv:1810.03993). Everything is measured or read from the run; intended use
and ethics are left to people.
"""

from collections.abc import Sequence
from pathlib import Path

from focusmap.basics import Json, Language, branch, number, text, write_text
from focusmap.report import model_section, performance_section, wording
from focusmap.report.files import RunFiles, Tree, read_run
from focusmap.report.page import render_page
from focusmap.report.words import DASH, Table, Words, decimal, verdict_title, words_in

CARD = "model_card.md"
SHOWN = ("auroc", "sensitivity", "specificity", "calibration_slope", "accuracy", "quadratic_kappa", "mae", "r2")


def write_model_card(folder: Path, language: Language = "en") -> Path | None:
    """Write ``model_card.md`` to the model folder of a run and return its path; None of a run without a model."""
    files, words = read_run(folder), words_in(language)
    if files.card is None or not (folder / "model").is_dir():
        return None
    context = {
        "title": words.listed(files.task.names, 4),
        "details": _details(files, words),
        "groups": list(dict.fromkeys(text(branch(row).get("column")) for row in _rows(files.subgroups))),
        "gaps": [_gap(branch(row), words) for row in _rows(files.subgroups) if branch(row).get("is_beyond_chance")],
        "parts": _parts(files, words),
        "tested": words.name("part", text(files.metrics.get("split")) or "test"),
        "verdict": verdict_title(files.metrics, words) if files.metrics else "",
        "reason": words.reason(files.metrics, "verdict_reason") if files.metrics else "",
        "tables": [_columns(table) for table in performance_section.metric_tables(_in_short(files.metrics), words)],
        "limitations": [line for item in wording.limitations(files, words) for line in item.texts],
        "labels": files.study.label_file.name,
        "rule": files.card.threshold_for,
    }
    return _written(folder / "model" / CARD, render_page("model_card.md", context, words))


def _written(path: Path, page: str) -> Path:
    write_text(path, page.strip() + "\n")
    return path


def _rows(tree: Tree) -> list[Json]:
    rows = tree.get("rows")
    return rows if isinstance(rows, list) else []


def _details(files: RunFiles, words: Words) -> list[tuple[str, str]]:
    card, manifest = files.card, files.manifest
    assert card is not None
    side, start = number(card.preparation.get("size")), text(card.training.get("start"))
    facts = {
        "model": model_section.called(files, words),
        "start": words.name("start", start) if start else "",
        "input": words("card.pixels", side=side) if side else "",
        "parameters": f"{n:,.0f}" if (n := number(manifest.get("parameters"))) else "",
        "date": text(manifest.get("started"))[:10],
        "version": f"focusmap {text(manifest.get('focusmap'))}" if manifest else "",
        "weights": text(branch(manifest, "hashes").get("weights")),
    }
    return [(words(f"card.{key}"), value) for key, value in facts.items() if value]


def _parts(files: RunFiles, words: Words) -> list[tuple[str, str, str, str]]:
    """Return for each part of the split its rows, its patients and how many of them have each label."""
    cohort = files.cohort
    if cohort is None or "split" not in cohort:
        return []
    parts = []
    for part in (name for name in ("train", "tune", "test") if (cohort["split"] == name).any()):
        rows = cohort[cohort["split"] == part].reset_index(drop=True)
        labels = files.task.label_truth(files.task.encode(rows))
        named = zip(files.task.label_names, labels.T, strict=True)
        classed = {target.name for target in files.task.targets if not target.is_number}
        counts = [f"{name} {int((column >= 0.5).sum())}" for name, column in named if name.split("=")[0] in classed]
        n_patients = f"{rows['patient_id'].nunique():,}" if files.knows_patients else DASH
        parts.append((words.name("part", part), f"{len(rows):,}", n_patients, ", ".join(counts)))
    return parts


def _in_short(metrics: Tree) -> dict[str, Json]:
    """Return the metrics with those of each target that a card shows."""
    targets: dict[str, Json] = {}
    for name, entry in branch(metrics, "targets").items():
        kept = {key: value for key, value in branch(entry).items() if key in (*SHOWN, "kind", "n", "n_positive")}
        targets[name] = kept
    return {**metrics, "targets": targets}


def _columns(table: Table) -> tuple[str, Sequence[str], Sequence[Sequence[str]]]:
    """Return caption, head and rows of a table as text; intervals stand in brackets."""
    rows = [[f"{cell.text} ({cell.small})" if cell.small else cell.text for cell in row] for row in table.rows]
    return table.caption, table.head, rows


def _gap(row: Tree, words: Words) -> str:
    metric, gap = words.name("metric", text(row.get("metric"))), number(branch(row, "gap").get("value")) or 0.0
    return f"{text(row.get('column'))}={text(row.get('group'))}: {text(row.get('target'))}, {metric} {decimal(gap)}"
