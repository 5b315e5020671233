"""The heat maps of a folder against the reference masks of its cohort, and baselines beside them: `scores.json`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from focusmap.basics import Json, read_table, write_json, write_table
from focusmap.evaluation.localisation import measures, summary
from focusmap.evaluation.localisation.reference import Reference
from focusmap.images import contrast_map, read_image, read_map
from focusmap.study import Cohort

Scores: TypeAlias = dict[str, Json]
Shape: TypeAlias = tuple[int, ...]
Baselines: TypeAlias = Callable[[str, str, Shape], Mapping[str, measures.SortedMap]]
"""From an image, a label and the shape of the image to its baselines."""

N_THREADS = os.cpu_count() or 1
# Baselines of a label that are kept for the images to come: 8 MB each at 1024 x 1024 pixels.
N_KEPT = 16


@dataclass(frozen=True)
class FrozenThresholds:
    """Thresholds of one method's maps, frozen on tune.

    Parameters
    ----------
    method
        Name of the method; maps of other methods have other scales.
    by_label
        Label name to its threshold, above 0 and in the units of the map; the region is {M >= threshold}.
    n_masks
        Masks of tune that were looked at to choose them.
    """

    method: str = ""
    by_label: Mapping[str, float] = field(default_factory=dict)
    n_masks: int = 0

    @classmethod
    def of(cls, method: str, thresholds: Mapping[str, measures.MapThreshold]) -> "FrozenThresholds":
        """Return the thresholds of a method's maps as a model's card has them, label by label."""
        return cls(
            method,
            {label: threshold.value for label, threshold in thresholds.items()},
            sum(threshold.n_masks for threshold in thresholds.values()),
        )


@dataclass(frozen=True)
class Explained:
    """A folder that `explain` wrote, what is known of the images that it explains, and its frozen thresholds."""

    folder: Path
    reference: Reference
    train: Reference | None = None
    thresholds: FrozenThresholds = FrozenThresholds()


@dataclass(frozen=True)
class _MapOfPositive:
    """One map of a known positive: a row of the index."""

    image_id: str
    label: str
    method: str
    file: Path
    predicted: bool
    has_evidence: bool


def score_maps(
    explained: Sequence[Explained], out: Path, options: summary.ScoreOptions = summary.ScoreOptions()
) -> Scores | None:
    """Return the scores of heat maps, those of several folds pooled, and write them to `out`.

    Scored are images that truly have a finding, were predicted to have it, and whose mask is known and not empty
    (true positives). Positives that the model missed are counted; ``..._of_positives`` holds them too, as empty maps.
    A map without evidence is scored as what is shown, nothing.

    Parameters
    ----------
    explained
        Each with `index.csv` and the maps that it names, the cohort that was explained with its masks or boxes, and
        those of its training images for the mean mask; without these, that baseline is left out.
    out
        File for the scores; those of each single map go beside it, to a table of the same name with ``.csv``.

    Returns
    -------
    dict or None
        As `summarise` gives them, with ``cut`` (the threshold of ``iou`` and ``dice``), ``masks_used_for_tuning`` and
        ``boxes_unmatched`` and, of these, ``boxes_nearest``. None, and no file, where no positive has a mask.
    """
    marked = [part for part in explained if part.reference.exists]
    scored = [one for part in marked for one in _score(part, options.seed)]
    if not scored:
        return None
    boxes = [part.reference.boxes for part in marked if part.reference.boxes]
    facts: Scores = {
        "cut": "otsu",
        "masks_used_for_tuning": sum(part.thresholds.n_masks for part in explained),
        "boxes_unmatched": [*sorted({name for found in boxes for name in found.unmatched})],
        "boxes_nearest": {name: label for found in boxes for name, label in found.nearest.items()},
    }
    scores = {**summary.summarise(scored, options), **facts}
    write_json(out, scores, sealed=True)
    write_table(out.with_suffix(".csv"), _table(scored))
    return scores


def _table(scored: Sequence[summary.Scored]) -> pd.DataFrame:
    """Return one row per map: hit or miss, one by one."""
    rows = [
        {"image_id": one.image_id, "target": one.label, "method": method, "predicted": one.predicted, **reached}
        for one in scored
        for method, reached in one.measures.items()
    ]
    return pd.DataFrame(rows)


def _score(explained: Explained, seed: int) -> list[summary.Scored]:
    """Return what the maps of every positive with a mask score; sorting and decoding leave other threads their turn."""
    by_image: dict[str, dict[str, list[_MapOfPositive]]] = {}
    for row in _maps_of_positives(explained.folder, explained.reference.cohort):
        by_image.setdefault(row.image_id, {}).setdefault(row.label, []).append(row)
    baselines = _baselines(explained, seed)
    with ThreadPoolExecutor(N_THREADS) as pool:
        scores = pool.map(lambda by_label: list(_score_image(by_label, explained, baselines)), by_image.values())
        return [one for scored in scores for one in scored]


def _score_image(
    by_label: Mapping[str, list[_MapOfPositive]], explained: Explained, baselines: Baselines
) -> Iterator[summary.Scored]:
    cohort = explained.reference.cohort
    for label, rows in by_label.items():
        image_id, maps = rows[0].image_id, {row.method: _shown(row) for row in rows}
        shape = maps[rows[0].method].shape
        mask = explained.reference.mask(image_id, label, shape)
        if mask is None or not mask.any():
            continue
        pairs = {name: measures.MapOnMask.of(heat_map, mask) for name, heat_map in maps.items()}
        pairs |= {name: baseline.on(mask) for name, baseline in baselines(image_id, label, shape).items()}
        patient_id = str(cohort.patient_ids[cohort.positions[image_id]])
        yield summary.Scored(
            image_id, patient_id, label, rows[0].predicted, _measures(pairs, label, explained.thresholds)
        )


def _measures(
    pairs: Mapping[str, measures.MapOnMask], label: str, thresholds: FrozenThresholds
) -> dict[str, dict[str, float]]:
    """Return every measure of every map; a frozen threshold is one map's, so the others have that of its area."""
    reached = {name: measures.measure(pair) for name, pair in pairs.items()}
    threshold = thresholds.by_label.get(label)
    if threshold is None or thresholds.method not in pairs:
        return reached
    area = int(pairs[thresholds.method].reaching(threshold)[0])
    for name, pair in pairs.items():
        of_map = threshold if name == thresholds.method else measures.area_threshold(pair, area)
        reached[name] |= {"iou_at_cut": measures.iou_at(pair, of_map), "dice_at_cut": measures.dice_at(pair, of_map)}
    return reached


def _maps_of_positives(folder: Path, cohort: Cohort) -> Iterator[_MapOfPositive]:
    truth = cohort.task.label_truth(cohort.truth)
    columns = {label: i for i, label in enumerate(cohort.task.label_names)}
    present = {label for target in cohort.task.targets if not target.is_number for label in target.label_names}
    index = read_table(folder / "index.csv")
    for row in index.to_dict("records"):
        position = cohort.positions.get(row["image_id"])
        if position is None or row["target"] not in present or not truth[position, columns[row["target"]]] >= 0.5:
            continue
        yield _MapOfPositive(
            image_id=row["image_id"],
            label=row["target"],
            method=row["method"],
            file=folder / row["map"],
            predicted=row["predicted"] == "True",
            has_evidence=row["has_evidence"] == "True",
        )


def _shown(row: _MapOfPositive) -> np.ndarray:
    heat_map: np.ndarray = np.maximum(read_map(row.file), 0)
    return heat_map if row.has_evidence else np.zeros_like(heat_map)


def _baselines(explained: Explained, seed: int) -> Baselines:
    """Return the function that gives baselines; it remembers those that the next call may want too."""
    cohort = explained.reference.cohort
    means = _mean_masks(explained.train, cohort.task.label_names)

    @lru_cache(maxsize=N_THREADS)
    def of_image(image_id: str, shape: Shape) -> dict[str, measures.SortedMap]:
        row = int(cohort.table["row"].iloc[cohort.positions[image_id]])
        pixels = read_image(cohort.file(image_id)).pixels
        maps = {
            "edges": summary.edges_map(pixels),
            summary.PICTURE_ONLY: contrast_map(pixels),
            "random": summary.random_map(shape, (seed, row)),
        }
        return {name: measures.SortedMap.of(heat_map) for name, heat_map in maps.items()}

    @lru_cache(maxsize=N_KEPT)
    def of_label(label: str, shape: Shape) -> dict[str, measures.SortedMap]:
        return (
            {summary.MEAN_MASK: measures.SortedMap.of(summary.resized(means[label], shape))} if label in means else {}
        )

    @lru_cache(maxsize=N_KEPT)
    def of_shape(shape: Shape) -> dict[str, measures.SortedMap]:
        return {"centre": measures.SortedMap.of(summary.centre_map(shape))}

    return lambda image_id, label, shape: {**of_label(label, shape), **of_shape(shape), **of_image(image_id, shape)}


def _mean_masks(train: Reference | None, labels: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Return each label's mean mask over the training images that have it; a label without masks is left out."""
    if train is None:
        return {}
    means = {label: summary.mean_mask(train.masks_of(label)) for label in labels}
    return {label: mean for label, mean in means.items() if mean is not None}
