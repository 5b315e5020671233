"""Masks drawn from image-level labels, against true masks: tables, paired differences, three cases."""

from collections.abc import Sequence
from dataclasses import dataclass

from focusmap.figures.json_tree import branch, items, number, text
from focusmap.localisation.mask_scores import above_mean_mask
from focusmap.reporting.files import RunFiles, Tree
from focusmap.reporting.performance_section import Figure
from focusmap.reporting.pictures import inside, picture_uri
from focusmap.reporting.tables import Cell, Footnotes, Table, metric_cell, name_cell
from focusmap.reporting.words import Words

METHODS = ("cam", "acam", "focus", "refined", "distilled", "weak_unet", "supervised", "mean_mask")
MEASURES = (
    "dice", "sensitivity", "specificity", "hd95", "average_surface_distance", "size_error", "relative_size_error",
)  # fmt: skip
# More patients than that fill pages and say no more than the test does.
MOST_PATIENTS = 20


@dataclass(frozen=True)
class SegmentationSection:
    """Masks against true masks."""

    drawn_by: str
    verdict: str | None
    tables: Sequence[Table]
    tests: Sequence[str]
    examples: Figure | None


def segmentation_section(files: RunFiles, words: Words) -> SegmentationSection | None:
    """Return the scores of the masks; None without ``segmentation/scores.json``."""
    scores = files.mask_scores
    if not scores:
        return None
    tables = [_method_table(words("segmentation.all"), branch(scores, "methods"), words)]
    tables += [_method_table(name, branch(entry), words) for name, entry in branch(scores, "by_target").items()]
    by_case = branch(scores, "by_case")
    if by_case:
        tables.append(_method_table(words("segmentation.by_case"), branch(by_case, "methods"), words))
    differences = branch(by_case or scores, "differences")
    method = text(scores.get("drawn_by"))
    drawn_by = words(
        "segmentation.drawn_by", method=words.name("mask_method", method), n=scores.get("masks_used_for_tuning")
    )
    is_above = above_mean_mask(differences, method)
    verdict = None if is_above is None else words("segmentation.above" if is_above else "segmentation.not_above")
    tables += _patient_tables(differences, words)
    return SegmentationSection(drawn_by, verdict, tables, _tests(differences, words), _examples(files, words))


def _method_table(caption: str, methods: Tree, words: Words) -> Table:
    notes = Footnotes(words)
    rows = []
    measures = [key for key in MEASURES if any(key in branch(entry) for entry in methods.values())]
    for name in (name for name in METHODS if name in methods):
        entry = branch(methods, name)
        n, n_lesions = number(entry.get("n")), number(entry.get("n_lesions"))
        count = Cell("" if n is None else f"{n:,.0f} ({n_lesions or 0:,.0f})")
        cells = [metric_cell(entry.get(key), notes, bar=key == "dice") for key in measures]
        rows.append([name_cell(words.name("mask_method", name)), *cells, count])
    head = ["", *(words.name("mask_score", key) for key in measures), words("segmentation.n")]
    return Table(head, rows, notes.lines(), caption)


def _patient_tables(differences: Tree, words: Words) -> list[Table]:
    found = []
    for pair, entry in differences.items():
        by_patient = [branch(row) for row in items(branch(entry).get("by_patient"))]
        if 0 < len(by_patient) <= MOST_PATIENTS:
            rows = [
                [name_cell(text(row.get("patient_id"))), Cell(_signed(number(row.get("value")) or 0.0))]
                for row in by_patient
            ]
            head = [words("segmentation.patient"), words("segmentation.difference")]
            found.append(Table(head, rows, caption=words("segmentation.differences", pair=_pair(pair, words))))
    return found


def _tests(differences: Tree, words: Words) -> list[str]:
    found = []
    for pair, entry in differences.items():
        test = branch(entry, "sign_flip")
        kind = words("segmentation.exact" if test.get("exact") else "segmentation.drawn")
        mean = _signed(number(branch(entry).get("mean")) or 0.0)
        facts = {"n": test.get("n"), "p": number(test.get("p")) or 0.0, "mean": mean, "kind": kind}
        found.append(words("segmentation.test", pair=_pair(pair, words), **facts))
    return found


def _pair(pair: str, words: Words) -> str:
    return " − ".join(words.name("mask_method", name) for name in pair.split(" - "))


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _examples(files: RunFiles, words: Words) -> Figure | None:
    path = inside(files.folder, "segmentation/examples.png")
    if path is None:
        return None
    return Figure(words("segmentation.examples"), picture_uri(path), words("segmentation.examples_caption"))
