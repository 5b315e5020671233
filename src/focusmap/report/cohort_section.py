"""Who is in the study: the flow from label file to test, and labels by part of the split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.basics import branch, number
from focusmap.report.files import RunFiles
from focusmap.report.words import DASH, Cell, Table, Words, name_cell
from focusmap.study import Target, Task

PARTS = ("train", "tune", "test")
FEW_LABELS = 4


@dataclass(frozen=True)
class Box:
    """One box of the flow diagram; its first line is its heading."""

    x: float
    y: float
    width: float
    lines: tuple[str, ...]

    @property
    def height(self) -> float:
        """Height for the lines."""
        return 22 + 19 * len(self.lines)

    @property
    def middle(self) -> float:
        """Centre of the width."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Flow:
    """The flow diagram: boxes and the lines between them, as SVG path data."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class CohortSection:
    """What the report says of the cohort."""

    flow: Flow
    table: Table
    n_images: int
    n_patients: int


def cohort_section(files: RunFiles, words: Words) -> CohortSection | None:
    """Return the section; None without ``cohort.csv``."""
    if files.cohort is None:
        return None
    cohort = files.cohort
    flow, table = _flow(files, cohort, words), _label_table(files, cohort, words)
    return CohortSection(flow, table, len(cohort), cohort["patient_id"].nunique())


def rows_in_words(files: RunFiles, n_rows: float, words: Words) -> str:
    """Return a number of the cohort's rows, images or cases, in words."""
    return words.plural("count.case" if files.counts_cases else "count.image", n_rows)


def rows_of_patients(files: RunFiles, n_rows: float, n_patients: float, words: Words) -> str:
    """Return a number of the cohort's rows, images or cases, and whose they are if that is known, in words."""
    rows = rows_in_words(files, n_rows, words)
    if not files.knows_patients or not n_patients:
        return rows
    return words("summary.images_of_patients", images=rows, patients=words.plural("count.patient", n_patients))


def images_of_patients(n_images: float, n_patients: float, words: Words) -> str:
    """Return a number of images and whose they are, in words."""
    images, patients = words.plural("count.image", n_images), words.plural("count.patient", n_patients)
    return words("summary.images_of_patients", images=images, patients=patients)


def parts_of(cohort: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the images of each part that the split has, by its name in the file; folds after one another."""
    if "split" not in cohort:
        return {}
    names = [name for name in PARTS if (cohort["split"] == name).any()]
    folds = sorted((name for name in cohort["split"].unique() if str(name).isdecimal()), key=int)
    return {name: cohort[cohort["split"] == name] for name in [*names, *folds]}


def part_name(name: str, words: Words) -> str:
    """Return what a part of the split is called, as a heading."""
    return words("cohort.fold", name=name) if name.isdecimal() else words.name("part", name).capitalize()


def _label_table(files: RunFiles, cohort: pd.DataFrame, words: Words) -> Table:
    named = {part_name(name, words): part for name, part in parts_of(cohort).items()}
    parts = {words("cohort.all"): cohort, **named}
    rows: list[list[Cell]] = [
        [
            name_cell(words("cohort.cases" if files.counts_cases else "cohort.images")),
            *(Cell(f"{len(part):,}") for part in parts.values()),
        ],
    ]
    if files.knows_patients:
        counts = (part["patient_id"].nunique() for part in parts.values())
        rows.append([name_cell(words("cohort.patients")), *(Cell(f"{count:,}") for count in counts)])
    for target in files.task.targets:
        values = [target.encode(list(part[target.name])) for part in parts.values()]
        rows += _target_rows(target, values, words)
    return Table(["", *parts], rows, caption=words("cohort.caption"))


def _target_rows(target: Target, parts: Sequence[np.ndarray], words: Words) -> list[list[Cell]]:
    if target.is_number:
        return [[name_cell(target.name, words("cohort.spread")), *(_spread_cell(part) for part in parts)]]
    if target.kind == "binary":
        n_soft = int(((parts[0] > 0) & (parts[0] < 1)).sum())
        small = words.plural("cohort.soft", n_soft) if n_soft else ""
        return [[name_cell(target.name, small), *(_share_cell(part >= 0.5, part, words) for part in parts)]]
    return [
        [name_cell(label), *(_share_cell(part == position, part, words) for part in parts)]
        for position, label in enumerate(target.label_names)
    ]


def _share_cell(positive: np.ndarray, values: np.ndarray, words: Words) -> Cell:
    known, unknown = int((~np.isnan(values)).sum()), int(np.isnan(values).sum())
    share = words.share(int(positive.sum()), known)
    small = words("cohort.unknown", share=share, n=unknown) if unknown else share
    return Cell(f"{int(positive.sum()):,}", small)


def _spread_cell(values: np.ndarray) -> Cell:
    known = values[~np.isnan(values)]
    return Cell(f"{known.mean():.4g}", f"± {known.std():.3g}") if known.size else Cell(DASH)


def _flow(files: RunFiles, cohort: pd.DataFrame, words: Words) -> Flow:
    rows = "count.image" if files.study.path_column is not None else "count.case"
    declared = words.plural(rows, _n_declared(files, cohort))
    top = Box(300, 10, 300, (words("cohort.label_file"), declared))
    used = Box(300, top.y + top.height + 62, 300, (words("cohort.used"), _used_line(files, cohort, words)))
    lost = _left_out(files, cohort, words)
    aside = Box(640, top.y + top.height - 4, 250, (words("cohort.left_out"), *lost))
    boxes, lines = [top, used], [_arrow(top.middle, top.y + top.height, used.y)]
    if lost:
        boxes.append(aside)
        lines.append(f"M{top.middle} {aside.y + aside.height / 2}H{aside.x - 5}")
    parts = _part_boxes(files, cohort, used.y + used.height + 46, words)
    lines += [_branch(used, part) for part in parts]
    height = max(box.y + box.height for box in [*boxes, *parts]) + 10
    return Flow(900, height, (*boxes, *parts), tuple(lines))


def _n_declared(files: RunFiles, cohort: pd.DataFrame) -> int:
    audited = number(branch(files.audit, "overview").get("n_images"))
    return max(int(audited or 0), _n_images(files, cohort))


def _n_images(files: RunFiles, cohort: pd.DataFrame) -> int:
    return len(cohort if files.images is None else files.images)


def _left_out(files: RunFiles, cohort: pd.DataFrame, words: Words) -> list[str]:
    gone = _n_declared(files, cohort) - _n_images(files, cohort)
    unused = int((cohort["split"] == "").sum()) if "split" in cohort else 0
    lines = [words.plural("cohort.gone", gone)] if gone else []
    return lines + ([words.plural("cohort.unused", unused)] if unused else [])


def _size_line(files: RunFiles, table: pd.DataFrame, words: Words) -> str:
    return rows_of_patients(files, len(table), table["patient_id"].nunique(), words)


def _used_line(files: RunFiles, cohort: pd.DataFrame, words: Words) -> str:
    line = _size_line(files, cohort, words)
    if files.images is None:
        return line
    return words("cohort.cases_of_images", cases=line, images=words.plural("count.image", len(files.images)))


def _part_boxes(files: RunFiles, cohort: pd.DataFrame, top: float, words: Words) -> list[Box]:
    parts = parts_of(cohort)
    if any(name.isdecimal() for name in parts):
        sizes = [len(part) for part in parts.values()]
        size = words("cohort.fold_size", low=min(sizes), high=max(sizes))
        folds, unseen = (
            ("cohort.folds", "cohort.fold_unseen")
            if files.knows_patients
            else ("cohort.folds_of_rows", "cohort.fold_unseen_row")
        )
        seen = (words("cohort.fold_tested"), words(unseen))
        return [Box(300, top, 300, (words(folds, n=len(parts)), size, *seen))]
    width, gap = 280, 20
    start = (900 - len(parts) * width - (len(parts) - 1) * gap) / 2
    return [
        Box(start + i * (width + gap), top, width, _part_lines(files, name, part, words))
        for i, (name, part) in enumerate(parts.items())
    ]


def _part_lines(files: RunFiles, name: str, part: pd.DataFrame, words: Words) -> tuple[str, ...]:
    return part_name(name, words), _size_line(files, part, words), *_positive_lines(files, part, words)


def _positive_lines(files: RunFiles, part: pd.DataFrame, words: Words) -> list[str]:
    if len(files.task.label_names) > FEW_LABELS:
        return []
    lines = []
    for target in files.task.targets:
        if not target.is_number:
            labels = Task((target,)).label_truth(target.encode(list(part[target.name]))[:, None])
            counts = np.nansum(labels >= 0.5, axis=0)
            named = zip(map(_short, target.label_names), counts, strict=True)
            lines += [words("cohort.positives", name=name, n=int(n)) for name, n in named]
    return lines


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"


def _arrow(x: float, start: float, end: float) -> str:
    return f"M{x} {start}V{end - 5}"


def _branch(above: Box, below: Box) -> str:
    start, end = above.y + above.height, below.y
    return f"M{above.middle} {start}V{(start + end) / 2}H{below.middle}V{end - 5}"
