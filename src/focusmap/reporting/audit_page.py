"""The audit as a page: findings first, then what the cohort holds, then pictures to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from focusmap.figures.json_tree import branch, items, number, text
from focusmap.reporting.findings import finding_views, severity_text
from focusmap.reporting.page import write_page
from focusmap.reporting.performance_section import Figure
from focusmap.reporting.pictures import picture_uri
from focusmap.reporting.tables import Cell, Table, count_text, name_cell, share_text, soft_text
from focusmap.values.files import Json

Tree = Mapping[str, Json]
MOST_ROWS, MOST_SIZES, MOST_PAIRS = 60, 8, 20


@dataclass(frozen=True)
class Matrix:
    """Co-occurrence of labels; `shade` is the count's share of the row's diagonal, 0 to 1."""

    names: Sequence[str]
    rows: Sequence[Sequence[tuple[int, float]]]


def render_audit(audit: Tree, sheets: Mapping[str, Path], out: Path, pairs: Sequence[tuple[str, Path]] = ()) -> Path:
    """Write ``audit.html`` to the folder `out` and return its path.

    Parameters
    ----------
    audit
        As in ``audit.json``.
    sheets
        Picture file of each sample sheet, by heading.
    pairs
        Caption and picture file of duplicates side by side.
    """
    overview, views = branch(audit, "overview"), finding_views(audit)
    context = {
        "findings": views,
        "severities": severity_text(views),
        "is_blocked": any(view.severity == "blocking" and not view.accepted for view in views),
        "numbers": _numbers(overview),
        "matrix": _matrix(branch(overview, "cooccurrence")),
        "tables": [table for table in _tables(overview) if table.rows],
        "duplicates": [table for table in _duplicate_tables(branch(overview, "duplicates")) if table.rows],
        "sheets": [Figure(heading, picture_uri(path)) for heading, path in sheets.items()],
        "pairs": [Figure(caption, picture_uri(path), caption) for caption, path in pairs],
    }
    return write_page("audit.html", context, out / "audit.html")


def _numbers(overview: Tree) -> list[tuple[str, str]]:
    """Return the headline counts: (what, how many)."""
    found = [("images", overview.get("n_images")), ("patients", overview.get("n_patients"))]
    per_patient = {key: number(value) for key, value in branch(overview, "images_per_patient").items()}
    counts = [int(key) for key in per_patient if key.isdecimal()]
    numbers = [(name, f"{value:,.0f}") for name, entry in found if (value := number(entry)) is not None]
    if counts:
        low, high = min(counts), max(counts)
        numbers.append(("images a patient", str(low) if low == high else f"{low} to {high}"))
    unreadable = number(branch(overview, "images").get("n_unreadable"))
    return numbers + ([("unreadable images", f"{unreadable:,.0f}")] if unreadable is not None else [])


def _tables(overview: Tree) -> list[Table]:
    images = branch(overview, "images")
    return [
        _binary_table(branch(overview, "targets")),
        *_class_tables(branch(overview, "targets")),
        _association_table([branch(entry) for entry in items(overview.get("association"))]),
        _column_table([branch(entry) for entry in items(overview.get("columns"))]),
        _share_table("Image size, columns x rows", branch(images, "sizes")),
        _share_table("Colour and depth", branch(images, "modes")),
        _share_table("File format", branch(images, "formats")),
    ]


def _binary_table(targets: Tree) -> Table:
    rows = []
    for name, value in targets.items():
        entry = branch(value)
        counts = [(label, int(number(count) or 0)) for label, count in branch(entry, "counts").items()]
        if text(entry.get("kind")) == "binary" and len(counts) == 2:
            (_, negative), (positive, n) = counts
            unknown = _count_cell(entry.get("n_unknown"))
            words = name_cell(name, _binary_note(positive, number(entry.get("n_soft"))))
            rows.append([words, Cell(f"{n:,}"), Cell(f"{negative:,}"), unknown, Cell(share_text(n, n + negative))])
    return Table(["Label", "Positive", "Negative", "Unknown", "Share of known"], rows)


def _binary_note(positive: str, n_soft: float | None) -> str:
    if n_soft:
        return soft_text(int(n_soft))
    return "" if positive == "1" else f"positive: {positive}"


def _class_tables(targets: Tree) -> list[Table]:
    tables = []
    for name, value in targets.items():
        entry = branch(value)
        if text(entry.get("kind")) != "binary" or len(branch(entry, "counts")) != 2:
            table = _share_table(name, branch(entry, "counts"))
            unknown = [name_cell("unknown"), _count_cell(entry.get("n_unknown")), Cell("")]
            tables.append(replace(table, rows=[*table.rows, unknown]))
    return tables


def _association_table(entries: Sequence[Tree]) -> Table:
    names = {"cramers_v": "Cramér's V", "auroc": "AUROC"}
    ordered = sorted(entries, key=lambda entry: 1.0 if (p := number(entry.get("p"))) is None else p)
    rows = [
        [name_cell(text(entry.get("target"))), name_cell(text(entry.get("column"))),
         name_cell(names.get(text(entry.get("measure")), text(entry.get("measure")))),
         _number_cell(entry.get("statistic")), _p_cell(entry.get("p"))]
        for entry in ordered[:MOST_ROWS]
    ]  # fmt: skip
    caption = "Labels beside other columns. V of 0 and AUROC of 0.5 mean no association; p is not corrected."
    return Table(["Label", "Column", "Measure", "Value", "p"], rows, caption=caption)


def _column_table(entries: Sequence[Tree]) -> Table:
    rows = [
        [name_cell(text(entry.get("name"))), name_cell(text(entry.get("type"))), _count_cell(entry.get("n_distinct")),
         _count_cell(entry.get("n_missing"))]
        for entry in entries[:MOST_ROWS]
    ]  # fmt: skip
    more = f" The first {MOST_ROWS} of {len(entries)}." if len(entries) > MOST_ROWS else ""
    return Table(["Column", "Type", "Distinct", "Missing"], rows, caption=f"Columns of the label file.{more}")


def _share_table(caption: str, counts: Tree) -> Table:
    known = {name: number(count) or 0 for name, count in counts.items()}
    total = sum(known.values())
    largest = sorted(known.items(), key=lambda pair: -pair[1])[:MOST_SIZES]
    rows = [
        [name_cell(name), Cell(f"{count:,.0f}"), Cell(f"{100 * count / total:.1f} %")]
        for name, count in largest
        if total
    ]
    rest = total - sum(count for _, count in largest)
    if rest:
        rows.append(
            [
                name_cell(f"{len(known) - MOST_SIZES:,} others"),
                Cell(f"{rest:,.0f}"),
                Cell(f"{100 * rest / total:.1f} %"),
            ]
        )
    return Table([caption, "Images", "Share"], rows)


def _duplicate_tables(duplicates: Tree) -> list[Table]:
    groups, near = items(duplicates.get("exact")), [branch(pair) for pair in items(duplicates.get("near"))]
    exact = [[name_cell(", ".join(text(name) for name in items(group)))] for group in groups[:MOST_PAIRS]]
    rows = [
        [name_cell(text(pair.get("a"))), name_cell(text(pair.get("b"))), _number_cell(pair.get("correlation")),
         *(_yes_cell(pair.get(key)) for key in ("same_patient", "same_class", "same_split"))]
        for pair in near[:MOST_PAIRS]
    ]  # fmt: skip
    head = ["Image", "Image", "Correlation", "Same patient", "Same labels", "Same part"]
    return [
        Table([f"Equal pictures: {count_text(len(groups), 'group')}"], exact),
        Table(head, rows, caption=f"Nearly equal pictures: {count_text(len(near), 'pair')}, the nearest first"),
    ]


def _matrix(cooccurrence: Tree) -> Matrix | None:
    names = [text(name) for name in items(cooccurrence.get("names"))]
    counts = [[int(number(cell) or 0) for cell in items(row)] for row in items(cooccurrence.get("matrix"))]
    if len(names) < 2 or len(counts) != len(names):
        return None
    highest = [max(counts[i][i], 1) for i in range(len(names))]
    rows = [[(cell, min(cell / highest[i], 1.0)) for cell in row] for i, row in enumerate(counts)]
    return Matrix(names, rows)


def _number_cell(value: Json) -> Cell:
    plain = number(value)
    return Cell("—" if plain is None else f"{plain:.3f}")


def _p_cell(value: Json) -> Cell:
    plain = number(value)
    return Cell("—" if plain is None else "< 0.001" if plain < 0.001 else f"{plain:.3f}")


def _count_cell(value: Json) -> Cell:
    plain = number(value)
    return Cell("—" if plain is None else f"{plain:,.0f}")


def _yes_cell(value: Json) -> Cell:
    return Cell("—" if value is None else "yes" if value else "no")
