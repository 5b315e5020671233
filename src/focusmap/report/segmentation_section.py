"""Masks drawn from image-level labels: how many and how large, three cases, and scores where true masks are known."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from focusmap.basics import branch, items, number, text
from focusmap.evaluation import above_mean_mask, are_mostly_empty
from focusmap.report.files import RunFiles, Tree
from focusmap.report.page import image_uri, inside
from focusmap.report.performance_section import Figure
from focusmap.report.words import DASH, Cell, Footnotes, Table, Words, metric_cell, name_cell, signed

METHODS = (
    "cam", "acam", "focus", "regions", "vote", "refined", "distilled", "weak_unet", "supervised", "mean_mask",
    "picture_only",
)  # fmt: skip
MEASURES = (
    "dice", "sensitivity", "specificity", "hd95", "average_surface_distance", "size_error", "relative_size_error",
)  # fmt: skip
# More patients than that fill pages and say no more than the test does; so do more lesions than the largest.
MOST_PATIENTS, MOST_LESIONS = 20, 40
# As `lesions.csv` says that a file does not know how large a pixel is.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class SegmentationSection:
    """What was drawn, and how it stands against true masks where there are any."""

    explained: Sequence[str]
    verdict: str | None
    tables: Sequence[Table]
    tests: Sequence[str]
    examples: Figure | None


def segmentation_section(files: RunFiles, words: Words) -> SegmentationSection | None:
    """Return the section on a run's masks; None without ``segmentation/index.csv``."""
    if files.masks is None:
        return None
    explained = [words("segmentation.explained"), *words.notes(files.mask_cautions, "cautions")]
    tables = [_drawn_table(files.masks, words), *_lesion_tables(files.masks, files.lesions, words)]
    scores = files.mask_scores
    if not scores:
        return SegmentationSection(explained, words("segmentation.not_scored"), tables, [], _examples(files, words))
    tables += [_method_table(words("segmentation.all"), branch(scores, "methods"), words)]
    tables += [_method_table(name, branch(entry), words) for name, entry in branch(scores, "by_target").items()]
    by_case = branch(scores, "by_case")
    if by_case:
        tables.append(_method_table(words("segmentation.by_case"), branch(by_case, "methods"), words))
    differences = branch(by_case or scores, "differences")
    method = text(scores.get("drawn_by"))
    facts = {"method": words.name("mask_method", method), "n": scores.get("masks_used_for_tuning")}
    explained += [words("segmentation.scored"), words("segmentation.drawn_by", **facts)]
    explained += _when_confident(scores, words)
    is_above = above_mean_mask(differences, method)
    verdict = None if is_above is None else words("segmentation.above" if is_above else "segmentation.not_above")
    tables += _patient_tables(differences, words)
    return SegmentationSection(explained, verdict, tables, _tests(differences, words), _examples(files, words))


def _when_confident(scores: Tree, words: Words) -> list[str]:
    """Return what the more confident half of the masks scores, and all of them."""
    at = {
        number(branch(entry).get("coverage")): number(branch(entry).get("dice"))
        for entry in items(scores.get("selective"))
    }
    half, whole = at.get(0.5), at.get(1.0)
    return [] if half is None or whole is None else [words("segmentation.selective", half=half, whole=whole)]


def below_mean_mask(files: RunFiles) -> bool:
    """Return whether the written masks have a lower mean Dice than the mean mask."""
    methods = branch(files.mask_scores, "methods")
    names = (text((files.mask_scores or {}).get("drawn_by")), "mean_mask")
    own, mean = (number(branch(methods, name, "dice").get("value")) for name in names)
    return own is not None and mean is not None and own <= mean


def mostly_empty(masks: pd.DataFrame | None) -> list[str]:
    """Return the targets most of whose masks are empty where the model says that there is a lesion."""
    if masks is None:
        return []
    called = masks[masks["predicted"] == "True"]
    return [
        str(target)
        for target, rows in called.groupby("target", sort=False)
        if are_mostly_empty(int((rows["n_pixels"] == "0").sum()), len(rows))
    ]


def _drawn_table(masks: pd.DataFrame, words: Words) -> Table:
    rows = []
    for target, of_target in masks.groupby("target", sort=False):
        is_called, is_empty = of_target["predicted"] == "True", of_target["n_pixels"] == "0"
        counts = (len(of_target), is_called.sum(), (is_called & is_empty).sum())
        sizes = _sizes(of_target[~is_empty], words)
        rows.append([name_cell(str(target)), *(Cell(f"{count:,}") for count in counts), sizes, _axes(of_target, words)])
    head = ["", *(words(f"segmentation.{key}") for key in ("cases", "called", "empty", "size", "long_axis"))]
    return Table(head, rows, caption=words("segmentation.written"))


def _sizes(masks: pd.DataFrame, words: Words) -> Cell:
    """Return the median and the range of masks that are not empty: in mm² or mL if each file knows, else in pixels."""
    if masks.empty:
        return Cell(DASH)
    areas = pd.to_numeric(masks["area"], errors="coerce")
    is_known = bool(areas.notna().all())
    measured = "mL" if masks["mask"].iloc[0].endswith(".nii.gz") else "mm²"
    unit = measured if is_known else words("segmentation.pixels")
    sizes = areas if is_known else pd.to_numeric(masks["n_pixels"])
    low, median, high = (_amount(size) for size in sizes.quantile([0.0, 0.5, 1.0], interpolation="lower"))
    return Cell(f"{median} {unit}", words("segmentation.range", low=low, high=high))


def _axes(masks: pd.DataFrame, words: Words) -> Cell:
    """Return the median and the range of the longest diameters; a dash where none was measured."""
    for column, unit in (("long_axis_mm", "mm"), ("long_axis_px", words("segmentation.pixels"))):
        axes = pd.to_numeric(masks.get(column, pd.Series(dtype=str)), errors="coerce").dropna()
        if len(axes):
            low, median, high = (_amount(axis) for axis in axes.quantile([0.0, 0.5, 1.0]))
            return Cell(f"{median} {unit}", words("segmentation.range", low=low, high=high))
    return Cell(DASH)


def _lesion_tables(masks: pd.DataFrame, lesions: pd.DataFrame | None, words: Words) -> list[Table]:
    """Return a table with a row for each of the largest lesions; none where none was measured."""
    if lesions is None or lesions.empty:
        return []
    order = pd.to_numeric(lesions["n_pixels"]).sort_values(ascending=False, kind="stable").index[:MOST_LESIONS]
    confidences = masks.set_index(["image_id", "target"]).get("confidence", pd.Series(dtype=str))
    has_targets, rows = lesions["target"].nunique() > 1, []
    for lesion in lesions.loc[order].to_dict("records"):
        key = (lesion["image_id"], lesion["target"])
        named = [Cell(lesion["target"])] if has_targets else []
        confidence = confidences.get(key)
        place_and_confidence = [
            Cell(lesion["position"] or DASH),
            Cell(f"{float(confidence):.2f}" if confidence else DASH),
        ]
        rows.append([name_cell(lesion["image_id"]), *named, *_measured(lesion, words), *place_and_confidence])
    columns = [*(["target"] if has_targets else []), "lesion_size", "axes", "position", "confidence"]
    caption = words("segmentation.lesions", n=len(rows), all=len(lesions))
    return [Table([words("segmentation.image"), *(words(f"segmentation.{key}") for key in columns)], rows, (), caption)]


def _measured(lesion: Mapping[Hashable, str], words: Words) -> list[Cell]:
    """Return the size of a lesion, and its longest diameter with the longest across it."""
    pixels, is_known = words("segmentation.pixels"), lesion["area"] != UNKNOWN
    unit, key = ("mm", "mm") if is_known else (pixels, "px")
    size_unit = pixels if not is_known else "mL" if lesion["volume_ml"] else "mm²"
    size = _amount(float(lesion["area"] if is_known else lesion["n_pixels"]))
    axes = " × ".join(_amount(float(lesion[f"{name}_axis_{key}"])) for name in ("long", "short"))
    return [Cell(f"{size} {size_unit}"), Cell(f"{axes} {unit}")]


def _amount(size: float) -> str:
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"


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
    tables = []
    for pair, entry in differences.items():
        by_patient = [branch(row) for row in items(branch(entry).get("by_patient"))]
        if 0 < len(by_patient) <= MOST_PATIENTS:
            rows = [
                [name_cell(text(row.get("patient_id"))), Cell(signed(number(row.get("value")) or 0.0))]
                for row in by_patient
            ]
            head = [words("segmentation.patient"), words("segmentation.difference")]
            tables.append(Table(head, rows, caption=words("segmentation.differences", pair=_pair(pair, words))))
    return tables


def _tests(differences: Tree, words: Words) -> list[str]:
    sentences = []
    for pair, entry in differences.items():
        test = branch(entry, "sign_flip")
        kind = words("segmentation.exact" if test.get("exact") else "segmentation.drawn")
        mean = signed(number(branch(entry).get("mean")) or 0.0)
        facts = {"n": test.get("n"), "p": number(test.get("p")) or 0.0, "mean": mean, "kind": kind}
        sentences.append(words("segmentation.test", pair=_pair(pair, words), **facts))
    return sentences


def _pair(pair: str, words: Words) -> str:
    return " − ".join(words.name("mask_method", name) for name in pair.split(" - "))


def _examples(files: RunFiles, words: Words) -> Figure | None:
    path = inside(files.folder, "segmentation/examples.png")
    if path is None:
        return None
    kind = "examples" if files.mask_scores else "by_size"
    return Figure(words(f"segmentation.{kind}"), image_uri(path), words(f"segmentation.{kind}_caption"))
