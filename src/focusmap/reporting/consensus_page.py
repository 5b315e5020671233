"""The consensus as a page: how far readers agree, and the disputed pictures to look at again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from focusmap.figures.json_tree import branch, items, number, text
from focusmap.reporting.page import write_page
from focusmap.reporting.pictures import picture_uri
from focusmap.reporting.tables import DASH, Cell, Footnotes, Table, metric_cell, name_cell
from focusmap.values.files import Json

Tree = Mapping[str, Json]
MOST_PICTURES = 48
BY = {
    "vote": "by the readers", "tie": "a tie", "definitive": "by the definitive answer", "nobody": "by nobody",
}  # fmt: skip
COUNTS = {
    "n_readings": "Readings", "n_disputed": "Disputed", "n_ties": "Ties", "n_definitive": "Definitive",
    "n_overridden": "Overridden", "n_undecided": "Without a label",
}  # fmt: skip


@dataclass(frozen=True)
class CaseView:
    """One picture and what was said of it, a line a label; `uri` is empty where the picture cannot be shown."""

    name: str
    uri: str
    lines: tuple[str, ...]


def disputed_pictures(consensus: Tree) -> list[str]:
    """Return the names of the disputed pictures: overridden ones first, then ties, then the rest, in table order."""
    cases = [branch(case) for case in items(consensus.get("disputed"))]
    ordered = sorted(cases, key=lambda case: (not case.get("overridden"), text(case.get("by")) != "tie"))
    return list(dict.fromkeys(text(case.get("picture")) for case in ordered))


def render_consensus(consensus: Tree, pictures: Mapping[str, Path], out: Path) -> Path:
    """Write the page to the file `out` and return that.

    Parameters
    ----------
    consensus
        As in ``consensus.json``.
    pictures
        File of each disputed picture that can be shown, by name.
    out
        Where the page goes.
    """
    names, labels = disputed_pictures(consensus), branch(consensus, "labels")
    context = {
        "summary": _summary(consensus),
        "numbers": _numbers(consensus, len(names)),
        "labels": _label_table(labels),
        "classes": _class_table(labels),
        "pairs": [table for name, entry in labels.items() if (table := _pair_table(name, branch(entry))).rows],
        "readers": [table for name, entry in labels.items() if (table := _reader_table(name, branch(entry))).rows],
        "cases": _views(consensus, names[:MOST_PICTURES], pictures),
        "n_cases": len(names),
        "notes": [text(note) for note in items(consensus.get("notes"))],
    }
    return write_page("consensus.html", context, out)


def _summary(consensus: Tree) -> str:
    method = "Dawid and Skene's estimate" if consensus.get("method") == "dawid-skene" else "majority"
    ties = text(consensus.get("ties"))
    rules = {
        "unknown": "a tie leaves the label unknown", "positive": "a tie is positive", "negative": "a tie is negative",
    }  # fmt: skip
    if consensus.get("soft"):
        return f"Labels by {method}, written as probabilities: a tie is 0.5."
    settled = ties.removeprefix("reader=")
    return f"Labels by {method}; {rules.get(ties, f'{settled} settles a tie')}."


def _numbers(consensus: Tree, n_disputed: int) -> list[tuple[str, str]]:
    readers = len(branch(consensus, "readers"))
    found = [("pictures", number(consensus.get("n_pictures"))), ("patients", number(consensus.get("n_patients"))),
             ("readers", readers), ("to look at again", n_disputed)]  # fmt: skip
    return [(name, f"{value:,.0f}") for name, value in found if value is not None]


def _label_table(labels: Tree) -> Table:
    notes, rows = Footnotes(), []
    for name, value in labels.items():
        entry = branch(value)
        alpha, fleiss = branch(entry, "krippendorff_alpha"), branch(entry, "fleiss_kappa")
        counts = [Cell(f"{number(entry.get(key)) or 0:,.0f}") for key in COUNTS]
        words = name_cell(name, "ordinal alpha" if alpha.get("metric") == "ordinal" else "")
        rows.append([words, *counts, metric_cell(alpha, notes), metric_cell(fleiss, notes)])
    head = ["Label", *COUNTS.values(), "Krippendorff's alpha", "Fleiss' kappa"]
    caption = "1 is full agreement, 0 is what chance would give. Small numbers are 95 % intervals over patients."
    return Table(head, rows, notes.lines(), caption)


def _class_table(labels: Tree) -> Table:
    rows = [
        [name_cell(label), name_cell(name), Cell(f"{number(count) or 0:,.0f}")]
        for label, value in labels.items()
        for name, count in branch(value, "counts").items()
    ]
    caption = "Labels as decided. A class with very few pictures may be a misspelt one."
    return Table(["Label", "Class", "Pictures"], rows, caption=caption)


def _pair_table(label: str, entry: Tree) -> Table:
    notes, rows = Footnotes(), []
    for value in items(entry.get("pairs")):
        pair = branch(value)
        cells = [metric_cell(pair.get(key), notes) for key in ("agreement", "cohen_kappa")]
        names = [name_cell(text(pair.get(key))) for key in ("a", "b")]
        rows.append([*names, Cell(f"{number(pair.get('n')) or 0:,.0f}"), *cells])
    head = ["Reader", "Reader", "Read by both", "Equal answers", "Cohen's kappa"]
    return Table(head, rows, notes.lines(), f"{label}: every two readers.")


def _reader_table(label: str, entry: Tree) -> Table:
    """Return the error rates of Dawid and Skene's estimate: of each true class, what each reader calls it."""
    classes, estimate = [text(name) for name in items(entry.get("classes"))], branch(entry, "dawid_skene")
    rows = []
    for reader, value in branch(estimate, "readers").items():
        for true, shares in zip(classes, items(branch(value).get("errors")), strict=True):
            rows.append([name_cell(reader), name_cell(true), *(_share_cell(share) for share in items(shares))])
    steps = f"{number(estimate.get('n_iterations')) or 0:.0f} steps"
    ended = steps if estimate.get("converged") else f"not converged after {steps}"
    caption = f"{label}: what each reader calls each class, as estimated ({ended})."
    return Table(["Reader", "True class", *(f"called {name}" for name in classes)], rows, caption=caption)


def _share_cell(share: Json) -> Cell:
    plain = number(share)
    return Cell(DASH if plain is None else f"{plain:.3f}")


def _views(consensus: Tree, names: Sequence[str], pictures: Mapping[str, Path]) -> list[CaseView]:
    lines: dict[str, list[str]] = {name: [] for name in names}
    for value in items(consensus.get("disputed")):
        case = branch(value)
        if text(case.get("picture")) in lines:
            lines[text(case.get("picture"))].append(_case_line(case))
    return [
        CaseView(name, picture_uri(pictures[name]) if name in pictures else "", tuple(said))
        for name, said in lines.items()
    ]


def _case_line(case: Tree) -> str:
    votes = ", ".join(f"{reader} {text(vote)}" for reader, vote in branch(case, "votes").items())
    decided = "unknown" if case.get("decided") is None else text(case.get("decided"))
    return f"{text(case.get('label'))}: {votes} → {decided} ({BY.get(text(case.get('by')), '')})"
