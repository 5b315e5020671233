"""The consensus as a page: how far readers agree, and the disputed images to look at again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from focusmap.basics import Json, Language, branch, items, number, text
from focusmap.report.page import image_uri, write_page
from focusmap.report.words import Cell, Footnotes, Table, Words, metric_cell, name_cell, number_cell, words_in

Tree = Mapping[str, Json]
MOST_IMAGES = 48
COUNTS = ("n_readings", "n_disputed", "n_ties", "n_definitive", "n_overridden", "n_undecided")


@dataclass(frozen=True)
class CaseView:
    """One image and what was said of it, a line per label; `uri` is empty where the image cannot be shown."""

    name: str
    uri: str
    lines: tuple[str, ...]


def disputed_images(consensus: Tree) -> list[str]:
    """Return the names of the disputed images: overridden ones first, then ties, then the rest, in table order."""
    cases = [branch(case) for case in items(consensus.get("disputed"))]
    ordered = sorted(cases, key=lambda case: (not case.get("overridden"), text(case.get("by")) != "tie"))
    return list(dict.fromkeys(text(case.get("picture")) for case in ordered))


def render_consensus(consensus: Tree, images: Mapping[str, Path], out: Path, language: Language = "en") -> Path:
    """Write the page to the file `out` and return that.

    Parameters
    ----------
    consensus
        As in ``consensus.json``.
    images
        File of each disputed image that can be shown, by name.
    out
        Where the page goes.
    language
        Of the page.
    """
    words = words_in(language)
    names, labels = disputed_images(consensus), branch(consensus, "labels")
    context = {
        "summary": _summary(consensus, words),
        "numbers": _numbers(consensus, len(names), words),
        "labels": _label_table(labels, words),
        "classes": _class_table(labels, words),
        "pairs": [table for name, entry in labels.items() if (table := _pair_table(name, branch(entry), words)).rows],
        "readers": [t for name, entry in labels.items() if (t := _reader_table(name, branch(entry), words)).rows],
        "cases": _views(consensus, names[:MOST_IMAGES], images, words),
        "n_cases": len(names),
        "notes": words.notes(consensus),
    }
    return write_page("consensus.html", context, out, words)


def _summary(consensus: Tree, words: Words) -> str:
    method = words.name("consensus_method", text(consensus.get("method")))
    if consensus.get("soft"):
        return words("consensus.soft", method=method)
    ties = text(consensus.get("ties"))
    settled = ties.removeprefix("reader=")
    rule = words.name("tie", ties) if settled == ties else words("tie.reader", reader=settled)
    return words("consensus.decided", method=method, rule=rule)


def _numbers(consensus: Tree, n_disputed: int, words: Words) -> list[tuple[str, str]]:
    readers = len(branch(consensus, "readers"))
    entries = [
        (words("consensus.n_images"), number(consensus.get("n_pictures"))),
        (words("consensus.n_patients"), number(consensus.get("n_patients"))),
        (words("consensus.n_readers"), readers),
        (words("consensus.n_again"), n_disputed),
    ]
    return [(name, f"{value:,.0f}") for name, value in entries if value is not None]


def _label_table(labels: Tree, words: Words) -> Table:
    notes, rows = Footnotes(words), []
    for name, value in labels.items():
        entry = branch(value)
        alpha, fleiss = branch(entry, "krippendorff_alpha"), branch(entry, "fleiss_kappa")
        counts = [Cell(f"{number(entry.get(key)) or 0:,.0f}") for key in COUNTS]
        small = words("consensus.ordinal") if alpha.get("metric") == "ordinal" else ""
        rows.append([name_cell(name, small), *counts, metric_cell(alpha, notes), metric_cell(fleiss, notes)])
    counted = [words.name("consensus_count", key) for key in COUNTS]
    head = [words("consensus.label"), *counted, words("consensus.alpha"), words("consensus.fleiss")]
    return Table(head, rows, notes.lines(), words("consensus.agreement_caption"))


def _class_table(labels: Tree, words: Words) -> Table:
    rows = [
        [name_cell(label), name_cell(name), Cell(f"{number(count) or 0:,.0f}")]
        for label, value in labels.items()
        for name, count in branch(value, "counts").items()
    ]
    head = [words("consensus.label"), words("consensus.class"), words("consensus.in_class")]
    return Table(head, rows, caption=words("consensus.classes_caption"))


def _pair_table(label: str, entry: Tree, words: Words) -> Table:
    notes, rows = Footnotes(words), []
    for value in items(entry.get("pairs")):
        pair = branch(value)
        cells = [metric_cell(pair.get(key), notes) for key in ("agreement", "cohen_kappa")]
        names = [name_cell(text(pair.get(key))) for key in ("a", "b")]
        rows.append([*names, Cell(f"{number(pair.get('n')) or 0:,.0f}"), *cells])
    reader = words("consensus.reader")
    head = [reader, reader, words("consensus.both"), words("consensus.equal"), words("consensus.cohen")]
    return Table(head, rows, notes.lines(), words("consensus.pairs_caption", label=label))


def _reader_table(label: str, entry: Tree, words: Words) -> Table:
    """Return the error rates of Dawid and Skene's estimate: of each true class, what each reader calls it."""
    classes, estimate = [text(name) for name in items(entry.get("classes"))], branch(entry, "dawid_skene")
    rows = []
    for reader, value in branch(estimate, "readers").items():
        for true, shares in zip(classes, items(branch(value).get("errors")), strict=True):
            rows.append([name_cell(reader), name_cell(true), *(number_cell(share) for share in items(shares))])
    ended = "consensus.converged" if estimate.get("converged") else "consensus.not_converged"
    steps = words(ended, n=number(estimate.get("n_iterations")) or 0)
    called = [words("consensus.called", name=name) for name in classes]
    caption = words("consensus.errors_caption", label=label, steps=steps)
    return Table([words("consensus.reader"), words("consensus.true_class"), *called], rows, caption=caption)


def _views(consensus: Tree, names: Sequence[str], images: Mapping[str, Path], words: Words) -> list[CaseView]:
    lines: dict[str, list[str]] = {name: [] for name in names}
    for value in items(consensus.get("disputed")):
        case = branch(value)
        if text(case.get("picture")) in lines:
            lines[text(case.get("picture"))].append(_case_line(case, words))
    return [
        CaseView(name, image_uri(images[name]) if name in images else "", tuple(sentences))
        for name, sentences in lines.items()
    ]


def _case_line(case: Tree, words: Words) -> str:
    sentences = [
        words("consensus.vote", reader=reader, vote=text(vote)) for reader, vote in branch(case, "votes").items()
    ]
    decided = words("page.unknown") if case.get("decided") is None else text(case.get("decided"))
    by = words.name("decided_by", text(case.get("by")))
    votes = words("page.comma").join(sentences)
    return words("consensus.case", label=text(case.get("label")), votes=votes, decided=decided, by=by)
