"""The audit as a page and as files: ``audit.html``, ``audit.json``, and sheets of images to look at.

Findings come first, the gravest foremost, each with what it is and what to do; then what the cohort holds, then
images.

A page has its own heading for each finding, from name and count. What the audit recorded stands under it in the
language of the page; of an older audit, without codes, as it was written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from focusmap.basics import Json, Language, branch, items, number, text
from focusmap.report.page import image_uri, write_page
from focusmap.report.performance_section import Figure
from focusmap.report.words import DASH, Cell, Table, Words, name_cell, number_cell, words_in

ORDER = {"blocking": 0, "warning": 1, "note": 2}
ICONS = {"blocking": "✕", "warning": "!", "note": "i"}
TIED = "label-tied-to-"


@dataclass(frozen=True)
class FindingView:
    """One finding on a page; `heading` and `advice` are the page's own words, `message` is what the audit recorded.

    `advice` is empty of what is heeded already, and of a finding that the catalogues do not know.
    """

    name: str
    severity: str
    heading: str
    advice: str
    message: str
    examples: tuple[str, ...]
    accepted: bool

    @property
    def icon(self) -> str:
        """A sign that does not rely on colour."""
        return ICONS[self.severity]


def finding_views(audit: Mapping[str, Json], words: Words, accepted: Sequence[str] = ()) -> list[FindingView]:
    """Return the findings of an `audit.json`, the gravest first."""
    overridden = {*accepted, *(text(name) for name in items(audit.get("accepted")))}
    views = [_view(branch(value), overridden, words) for value in items(audit.get("findings"))]
    return sorted(views, key=lambda view: ORDER[view.severity])


def severity_text(views: Sequence[FindingView], words: Words) -> str:
    """Return in words how many findings there are of each severity."""
    blocking, warnings, notes = (sum(view.severity == severity for view in views) for severity in ORDER)
    lesser = {"warnings": words.plural("count.warning", warnings), "notes": words.plural("count.note", notes)}
    return words("audit.severities", blocking=blocking, **lesser)


def _view(value: Mapping[str, Json], accepted: set[str], words: Words) -> FindingView:
    severity, name = text(value.get("severity")), text(value.get("name"))
    count, column = int(number(value.get("count")) or 0), name.removeprefix(TIED)
    kind = TIED if name.startswith(TIED) else name
    known = kind in words.tables["finding"]
    heeded = value.get("is_heeded") is True
    return FindingView(
        name=name,
        severity=severity if severity in ORDER else "note",
        heading=words.plural(f"finding.{kind}", count, column=column) if known else name,
        advice=words(f"advice.{kind}") if known and not heeded else "",
        message=_recorded(value, words),
        examples=tuple(words.notes(value, "examples")),
        accepted=name in accepted,
    )


def _recorded(value: Mapping[str, Json], words: Words) -> str:
    if "sentences_coded" not in value:
        return words("audit.recorded", message=text(value.get("message")))
    return words("page.between_sentences").join(words.notes(value, "sentences"))


Tree = Mapping[str, Json]
MOST_ROWS, MOST_SIZES, MOST_PAIRS = 60, 8, 20


@dataclass(frozen=True)
class Matrix:
    """Co-occurrence of labels; `shade` is the count's share of the row's diagonal, 0 to 1."""

    names: Sequence[str]
    rows: Sequence[Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class AuditImages:
    """Image files beside an audit: sample sheets by heading, and near-duplicates side by side."""

    sheets: Mapping[str, Path] = field(default_factory=dict)
    pairs: Sequence["PairImage"] = ()


@dataclass(frozen=True)
class PairImage:
    """Two images side by side in one file, and how alike they are."""

    a: str
    b: str
    correlation: float
    path: Path


def render_audit(audit: Tree, images: AuditImages, out: Path, language: Language = "en") -> Path:
    """Write ``audit.html`` to the folder `out` and return its path.

    Parameters
    ----------
    audit
        As in ``audit.json``.
    images
        What there is to look at.
    """
    words = words_in(language)
    overview, views = branch(audit, "overview"), finding_views(audit, words)
    context = {
        "findings": views,
        "severities": severity_text(views, words),
        "is_blocked": any(view.severity == "blocking" and not view.accepted for view in views),
        "numbers": _numbers(overview, words),
        "matrix": _matrix(branch(overview, "cooccurrence")),
        "tables": [table for table in _tables(overview, words) if table.rows],
        "duplicates": [table for table in _duplicate_tables(branch(overview, "duplicates"), words) if table.rows],
        "sheets": [Figure(heading, image_uri(path)) for heading, path in images.sheets.items()],
        "pairs": [_pair_figure(pair, words) for pair in images.pairs],
    }
    return write_page("audit.html", context, out / "audit.html", words)


def _pair_figure(pair: PairImage, words: Words) -> Figure:
    caption = words("overview.pair", a=pair.a, b=pair.b, correlation=pair.correlation)
    return Figure(caption, image_uri(pair.path), caption)


def _numbers(overview: Tree, words: Words) -> list[tuple[str, str]]:
    """Return the headline counts: (what, how many)."""
    is_of_images = "images" in overview
    entries = [
        (words("overview.images" if is_of_images else "overview.cases"), overview.get("n_images")),
        (words("overview.patients"), overview.get("n_patients")),
    ]
    per_patient = {key: number(value) for key, value in branch(overview, "images_per_patient").items()}
    counts = [int(key) for key in per_patient if key.isdecimal()]
    numbers = [(name, f"{value:,.0f}") for name, entry in entries if (value := number(entry)) is not None]
    if counts:
        low, high = min(counts), max(counts)
        span = str(low) if low == high else words("page.interval", low=low, high=high)
        each = words("overview.images_a_patient" if is_of_images else "overview.cases_a_patient")
        numbers.append((each, span))
    unreadable = number(branch(overview, "images").get("n_unreadable"))
    return numbers + ([(words("overview.unreadable"), f"{unreadable:,.0f}")] if unreadable is not None else [])


def _tables(overview: Tree, words: Words) -> list[Table]:
    about = branch(overview, "images")
    return [
        _binary_table(branch(overview, "targets"), words),
        *_class_tables(branch(overview, "targets"), words),
        _association_table([branch(entry) for entry in items(overview.get("association"))], words),
        _column_table([branch(entry) for entry in items(overview.get("columns"))], words),
        _share_table(words("overview.sizes"), branch(about, "sizes"), words),
        _share_table(words("overview.modes"), branch(about, "modes"), words),
        _share_table(words("overview.formats"), branch(about, "formats"), words),
    ]


def _binary_table(targets: Tree, words: Words) -> Table:
    rows = []
    for name, value in targets.items():
        entry = branch(value)
        counts = [(label, int(number(count) or 0)) for label, count in branch(entry, "counts").items()]
        if text(entry.get("kind")) == "binary" and len(counts) == 2:
            (_, negative), (positive, n) = counts
            unknown = _count_cell(entry.get("n_unknown"))
            label = name_cell(name, _binary_note(positive, number(entry.get("n_soft")), words))
            rows.append([label, Cell(f"{n:,}"), Cell(f"{negative:,}"), unknown, Cell(words.share(n, n + negative))])
    counted = [words("overview.positive"), words("overview.negative"), words("overview.unknown")]
    return Table([words("overview.label"), *counted, words("overview.share_of_known")], rows)


def _binary_note(positive: str, n_soft: float | None, words: Words) -> str:
    if n_soft:
        return words.plural("cohort.soft", n_soft)
    return "" if positive == "1" else words("overview.positive_is", positive=positive)


def _class_tables(targets: Tree, words: Words) -> list[Table]:
    tables = []
    for name, value in targets.items():
        entry = branch(value)
        if text(entry.get("kind")) != "binary" or len(branch(entry, "counts")) != 2:
            table = _share_table(name, branch(entry, "counts"), words)
            unknown = [name_cell(words("page.unknown")), _count_cell(entry.get("n_unknown")), Cell("")]
            tables.append(replace(table, rows=[*table.rows, unknown]))
    return tables


def _association_table(entries: Sequence[Tree], words: Words) -> Table:
    names = {"cramers_v": words("overview.cramers_v"), "auroc": words("metric.auroc")}
    ordered = sorted(entries, key=lambda entry: 1.0 if (p := number(entry.get("p"))) is None else p)
    rows = [
        [name_cell(text(entry.get("target"))), name_cell(text(entry.get("column"))),
         name_cell(names.get(text(entry.get("measure")), text(entry.get("measure")))),
         number_cell(entry.get("statistic")), _p_cell(entry.get("p"))]
        for entry in ordered[:MOST_ROWS]
    ]  # fmt: skip
    head = [words("overview.label"), words("overview.column"), words("overview.measure"), words("overview.value"), "p"]
    return Table(head, rows, caption=words("overview.association"))


def _column_table(entries: Sequence[Tree], words: Words) -> Table:
    rows = [
        [name_cell(text(entry.get("name"))), name_cell(words.name("columntype", text(entry.get("type")))),
         _count_cell(entry.get("n_distinct")), _count_cell(entry.get("n_missing"))]
        for entry in entries[:MOST_ROWS]
    ]  # fmt: skip
    caption = words("overview.columns")
    if len(entries) > MOST_ROWS:
        caption = words("overview.columns_first", n=MOST_ROWS, all=len(entries))
    head = [words("overview.column"), words("overview.type"), words("overview.distinct"), words("overview.missing")]
    return Table(head, rows, caption=caption)


def _share_table(caption: str, counts: Tree, words: Words) -> Table:
    known = {name: number(count) or 0 for name, count in counts.items()}
    total = sum(known.values())
    largest = sorted(known.items(), key=lambda pair: -pair[1])[:MOST_SIZES]
    rows = [
        [name_cell(name), Cell(f"{count:,.0f}"), Cell(words.share(count, total))] for name, count in largest if total
    ]
    rest = total - sum(count for _, count in largest)
    if rest:
        name = name_cell(words("overview.others", n=len(known) - MOST_SIZES))
        rows.append([name, Cell(f"{rest:,.0f}"), Cell(words.share(rest, total))])
    return Table([caption, words("overview.number"), words("overview.share")], rows)


def _duplicate_tables(duplicates: Tree, words: Words) -> list[Table]:
    groups, near = items(duplicates.get("exact")), [branch(pair) for pair in items(duplicates.get("near"))]
    exact = [[name_cell(", ".join(text(name) for name in items(group)))] for group in groups[:MOST_PAIRS]]
    rows = [
        [name_cell(text(pair.get("a"))), name_cell(text(pair.get("b"))), number_cell(pair.get("correlation")),
         *(_yes_cell(pair.get(key), words) for key in ("same_patient", "same_class", "same_split"))]
        for pair in near[:MOST_PAIRS]
    ]  # fmt: skip
    image, alike = words("overview.image"), words("overview.correlation")
    same = [words("overview.same_patient"), words("overview.same_class"), words("overview.same_split")]
    nearly = words("overview.nearly", pairs=words.plural("count.pair", len(near)))
    return [
        Table([words("overview.equal", groups=words.plural("count.group", len(groups)))], exact),
        Table([image, image, alike, *same], rows, caption=nearly),
    ]


def _matrix(cooccurrence: Tree) -> Matrix | None:
    names = [text(name) for name in items(cooccurrence.get("names"))]
    counts = [[int(number(cell) or 0) for cell in items(row)] for row in items(cooccurrence.get("matrix"))]
    if len(names) < 2 or len(counts) != len(names):
        return None
    highest = [max(counts[i][i], 1) for i in range(len(names))]
    rows = [[(cell, min(cell / highest[i], 1.0)) for cell in row] for i, row in enumerate(counts)]
    return Matrix(names, rows)


def _p_cell(value: Json) -> Cell:
    plain = number(value)
    return Cell(DASH if plain is None else "< 0.001" if plain < 0.001 else f"{plain:.3f}")


def _count_cell(value: Json) -> Cell:
    plain = number(value)
    return Cell(DASH if plain is None else f"{plain:,.0f}")


def _yes_cell(value: Json, words: Words) -> Cell:
    return Cell(DASH if value is None else words("page.yes" if value else "page.no"))
