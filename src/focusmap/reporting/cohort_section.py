"""Who is in the study: the flow from label file to test, and labels by part of the split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.figures.json_tree import branch, number
from focusmap.reporting.files import RunFiles
from focusmap.reporting.tables import Cell, Table, count_text, name_cell, share_text, soft_text
from focusmap.values.task import Target, Task

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


def cohort_section(files: RunFiles) -> CohortSection | None:
    """Return the section; None without ``cohort.csv``."""
    if files.cohort is None:
        return None
    cohort = files.cohort
    return CohortSection(_flow(files, cohort), _label_table(files, cohort), len(cohort), cohort["patient_id"].nunique())


def parts_of(cohort: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the images of each part that the split has, folds after one another."""
    if "split" not in cohort:
        return {}
    names = [name for name in PARTS if (cohort["split"] == name).any()]
    folds = sorted((name for name in cohort["split"].unique() if str(name).isdecimal()), key=int)
    labelled = {name.capitalize(): cohort[cohort["split"] == name] for name in names}
    return labelled | {f"Fold {name}": cohort[cohort["split"] == name] for name in folds}


def _label_table(files: RunFiles, cohort: pd.DataFrame) -> Table:
    parts = {"All": cohort, **parts_of(cohort)}
    rows: list[list[Cell]] = [
        [name_cell("Images"), *(Cell(f"{len(part):,}") for part in parts.values())],
        [name_cell("Patients"), *(Cell(f"{part['patient_id'].nunique():,}") for part in parts.values())],
    ]
    for target in files.task.targets:
        values = {name: target.encode(list(part[target.name])) for name, part in parts.items()}
        rows += _target_rows(target, list(values.values()))
    return Table(["", *parts], rows, caption="Positive images and their share of the known ones, by part of the split.")


def _target_rows(target: Target, parts: Sequence[np.ndarray]) -> list[list[Cell]]:
    if target.kind == "continuous":
        return [[name_cell(target.name, "mean, standard deviation"), *(_spread_cell(part) for part in parts)]]
    if target.kind == "binary":
        n_soft = int(((parts[0] > 0) & (parts[0] < 1)).sum())
        return [[name_cell(target.name, soft_text(n_soft)), *(_share_cell(part >= 0.5, part) for part in parts)]]
    return [
        [name_cell(label), *(_share_cell(part == position, part) for part in parts)]
        for position, label in enumerate(target.label_names)
    ]


def _share_cell(positive: np.ndarray, values: np.ndarray) -> Cell:
    known, unknown = int((~np.isnan(values)).sum()), int(np.isnan(values).sum())
    small = share_text(int(positive.sum()), known) + (f", {unknown:,} unknown" if unknown else "")
    return Cell(f"{int(positive.sum()):,}", small)


def _spread_cell(values: np.ndarray) -> Cell:
    known = values[~np.isnan(values)]
    return Cell(f"{known.mean():.4g}", f"± {known.std():.3g}") if known.size else Cell("—")


def _flow(files: RunFiles, cohort: pd.DataFrame) -> Flow:
    top = Box(300, 10, 300, ("Label file", count_text(_n_declared(files, cohort), "image")))
    used = Box(300, top.y + top.height + 62, 300, ("Used in this study", *_size_lines(cohort)))
    lost = _left_out(files, cohort)
    aside = Box(640, top.y + top.height - 4, 250, ("Left out", *lost))
    boxes, lines = [top, used], [_arrow(top.middle, top.y + top.height, used.y)]
    if lost:
        boxes.append(aside)
        lines.append(f"M{top.middle} {aside.y + aside.height / 2}H{aside.x - 5}")
    parts = _part_boxes(files, cohort, used.y + used.height + 46)
    lines += [_branch(used, part) for part in parts]
    height = max(box.y + box.height for box in [*boxes, *parts]) + 10
    return Flow(900, height, (*boxes, *parts), tuple(lines))


def _n_declared(files: RunFiles, cohort: pd.DataFrame) -> int:
    audited = number(branch(files.audit, "overview").get("n_images"))
    return max(int(audited or 0), len(cohort))


def _left_out(files: RunFiles, cohort: pd.DataFrame) -> list[str]:
    gone = _n_declared(files, cohort) - len(cohort)
    unused = int((cohort["split"] == "").sum()) if "split" in cohort else 0
    lines = [f"{count_text(gone, 'image')} unreadable or withdrawn"] if gone else []
    return lines + ([f"{count_text(unused, 'image')} in no part of the split"] if unused else [])


def _size_lines(table: pd.DataFrame) -> list[str]:
    return [f"{count_text(len(table), 'image')} of {count_text(table['patient_id'].nunique(), 'patient')}"]


def _part_boxes(files: RunFiles, cohort: pd.DataFrame, top: float) -> list[Box]:
    parts = parts_of(cohort)
    if any(name.startswith("Fold") for name in parts):
        sizes = [len(part) for part in parts.values()]
        words = (f"{len(parts)} folds by patient", f"{min(sizes):,} to {max(sizes):,} images a fold",
                 "each image is tested once,", "by a model that never saw its patient")  # fmt: skip
        return [Box(300, top, 300, words)]
    width, gap = 280, 20
    start = (900 - len(parts) * width - (len(parts) - 1) * gap) / 2
    return [
        Box(start + i * (width + gap), top, width, (name, *_size_lines(part), *_positive_lines(files, part)))
        for i, (name, part) in enumerate(parts.items())
    ]


def _positive_lines(files: RunFiles, part: pd.DataFrame) -> list[str]:
    if len(files.task.label_names) > FEW_LABELS:
        return []
    lines = []
    for target in files.task.targets:
        if target.kind != "continuous":
            labels = Task((target,)).label_truth(target.encode(list(part[target.name]))[:, None])
            counts = np.nansum(labels >= 0.5, axis=0)
            lines += [f"{_short(name)}: {n:,}" for name, n in zip(target.label_names, counts, strict=True)]
    return lines


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"


def _arrow(x: float, start: float, end: float) -> str:
    return f"M{x} {start}V{end - 5}"


def _branch(above: Box, below: Box) -> str:
    start, end = above.y + above.height, below.y
    return f"M{above.middle} {start}V{(start + end) / 2}H{below.middle}V{end - 5}"
