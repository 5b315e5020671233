"""The heat maps of a folder against the reference masks of its cohort, and baselines beside them: `scores.json`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import pandas as pd

from focusmap.cohort.cohort import Cohort
from focusmap.imaging.readers import read_image, read_mask
from focusmap.localisation.baselines import centre_map, edges_map, mean_mask, random_map, resized
from focusmap.localisation.measures import chance, dice_at, energy_pointing, iou_at, otsu_cut, pointing_hit
from focusmap.localisation.reference import Reference
from focusmap.statistics.intervals import bootstrap, bounded_interval
from focusmap.values.files import Json, read_table, write_json

METRICS = ("pointing_hit", "iou", "dice", "energy_pointing", "chance")
# Of methods that write binary maps, cut where tune said.
AT_CUT = ("iou_at_cut", "dice_at_cut")
Scores: TypeAlias = dict[str, Json]
ALL_POSITIVES = "pointing_hit_of_positives"


@dataclass(frozen=True)
class ScoreOptions:
    """How maps are scored.

    Parameters
    ----------
    n_resamples, seed
        Of the patient-clustered bootstrap; the seed is also that of the random maps.
    """

    n_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class _Positive:
    """One known positive with a reference mask: an image, a label of it, and its row of the index."""

    image_id: str
    label: str
    patient_id: str
    method: str
    map_file: Path
    binary_file: Path | None
    predicted: bool
    has_evidence: bool


@dataclass(frozen=True)
class Explained:
    """A folder that `explain` wrote, and what is known of the pictures that it explains.

    Parameters
    ----------
    folder
        With ``index.csv``.
    reference, train
        Masks of the pictures, and of those that the model was trained on.
    n_masks_tuned
        Masks of tune that the model's cuts were chosen with.
    """

    folder: Path
    reference: Reference
    train: Reference | None = None
    n_masks_tuned: int = 0


def score_maps(explained: Sequence[Explained], out: Path, options: ScoreOptions = ScoreOptions()) -> Scores | None:
    """Return the scores of heat maps, those of several folds pooled, and write them to `out`.

    Scored are images that truly have a finding, were predicted to have it, and whose mask is known and not empty
    (true positives). Positives that the model missed are counted, and are misses in ``pointing_hit_of_positives``.
    A map without evidence is scored as what is shown, nothing.

    Parameters
    ----------
    explained
        Each with `index.csv` and the maps that it names, the cohort that was explained with its masks or boxes, and
        those of its training images for the mean mask; without these, that baseline is left out.
    out
        File for the scores.

    Returns
    -------
    dict or None
        ``{"methods": {method: scores}, "by_target": {label: {method: scores}}, ...}``; scores are ``n``,
        ``n_false_negative``, ``n_patients`` and, each with value, low and high, ``pointing_hit``, ``iou`` and
        ``dice`` (at Otsu's cut of each map), ``energy_pointing``, ``chance`` and ``pointing_hit_of_positives``; for
        a method with binary maps also ``iou_at_cut`` and ``dice_at_cut``, at the cut that tune has chosen.
        None, and no file, where no positive has a mask.
    """
    marked = [part for part in explained if part.reference.exists]
    rows = pd.DataFrame([row for part in marked for row in _score_rows(part, options)])
    if rows.empty:
        return None
    boxes = [part.reference.boxes for part in marked if part.reference.boxes]
    unmatched: list[Json] = [*sorted({name for found in boxes for name in found.unmatched})]
    scores: Scores = {
        **summarise(rows, options),
        "cut": "otsu",
        "masks_used_for_tuning": sum(part.n_masks_tuned for part in explained),
        "boxes_unmatched": unmatched,
    }
    write_json(out, scores)
    return scores


def summarise(rows: pd.DataFrame, options: ScoreOptions = ScoreOptions()) -> dict[str, Json]:
    """Return the means of scored maps, overall and by label, with patient-clustered 95 % intervals.

    Parameters
    ----------
    rows
        One a map: ``patient_id``, ``target`` (label name), ``method``, ``predicted`` (bool) and the columns of
        `METRICS`.
    """
    by_target = {str(label): _by_method(part, options) for label, part in rows.groupby("target", sort=False)}
    return {"methods": _by_method(rows, options), "by_target": cast(Json, by_target)}


def _by_method(rows: pd.DataFrame, options: ScoreOptions) -> dict[str, Json]:
    return {str(name): _mean_scores(part, options) for name, part in rows.groupby("method", sort=False)}


def _mean_scores(rows: pd.DataFrame, options: ScoreOptions) -> dict[str, Json]:
    found = rows[rows["predicted"]]
    metrics = [*METRICS, *(name for name in AT_CUT if name in rows and rows[name].notna().any())]
    scores: dict[str, Json] = {metric: _mean(found[metric], found["patient_id"], options) for metric in metrics}
    of_positives = rows["pointing_hit"].where(rows["predicted"], 0.0)
    scores[ALL_POSITIVES] = _mean(of_positives, rows["patient_id"], options)
    counts = {"n": len(found), "n_false_negative": len(rows) - len(found), "n_patients": found["patient_id"].nunique()}
    return {**scores, **counts}


def _mean(values: pd.Series, patients: pd.Series, options: ScoreOptions) -> Json:
    if values.empty:
        return {"value": None, "low": None, "high": None, "reason": "no true positive has a mask"}
    x = values.to_numpy(dtype=np.float64)

    def weighted(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=0)
        return np.where(total > 0, x @ weights / np.maximum(total, 1), np.nan)

    clusters = patients.to_numpy(dtype=str)
    interval = bootstrap(weighted, clusters, n_resamples=options.n_resamples, seed=options.seed)
    return bounded_interval(interval, patients.nunique()).to_dict()


def _score_rows(explained: Explained, options: ScoreOptions) -> Iterator[dict[str, object]]:
    reference = explained.reference
    means = _mean_masks(explained.train, reference.cohort.task.label_names)
    for positive in _positives(explained.folder, reference.cohort):
        heat_map = _shown(positive)
        mask = reference.mask(positive.image_id, positive.label, (heat_map.shape[0], heat_map.shape[1]))
        if mask is None or not mask.any():
            continue
        maps = {positive.method: heat_map, **_baseline_maps(positive, heat_map.shape, reference, options.seed)}
        if positive.label in means:
            maps["mean_mask"] = resized(means[positive.label], heat_map.shape)
        for method, candidate in maps.items():
            yield {
                "image_id": positive.image_id,
                "patient_id": positive.patient_id,
                "target": positive.label,
                "method": method,
                "predicted": positive.predicted,
                **measure(candidate, mask),
                **(_measure_binary(positive, mask) if method == positive.method else {}),
            }


def measure(heat_map: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return every measure of `METRICS` for one map, cut by Otsu.

    >>> measure(np.array([[0.0, 1.0]]), np.array([[False, True]]))["iou"]
    1.0
    """
    cut = otsu_cut(heat_map)
    return {
        "pointing_hit": pointing_hit(heat_map, mask),
        "iou": iou_at(heat_map, mask, cut),
        "dice": dice_at(heat_map, mask, cut),
        "energy_pointing": energy_pointing(heat_map, mask),
        "chance": chance(mask),
    }


def _measure_binary(positive: _Positive, mask: np.ndarray) -> dict[str, float]:
    """Return every measure of `AT_CUT` for the region that was written; none where none was."""
    if positive.binary_file is None:
        return {}
    region = read_mask(positive.binary_file).astype(np.float32)
    return {"iou_at_cut": iou_at(region, mask, 1.0), "dice_at_cut": dice_at(region, mask, 1.0)}


def _positives(folder: Path, cohort: Cohort) -> Iterator[_Positive]:
    truth = cohort.task.label_truth(cohort.truth)
    columns = {label: i for i, label in enumerate(cohort.task.label_names)}
    present = {label for target in cohort.task.targets if target.kind != "continuous" for label in target.label_names}
    index = read_table(folder / "index.csv")
    for row in index.to_dict("records"):
        position = cohort.positions.get(row["image_id"])
        if position is None or row["target"] not in present or not truth[position, columns[row["target"]]] >= 0.5:
            continue
        yield _Positive(
            image_id=row["image_id"],
            label=row["target"],
            patient_id=str(cohort.patient_ids[position]),
            method=row["method"],
            map_file=folder / row["map"],
            binary_file=folder / row["binary"] if row.get("binary") else None,
            predicted=row["predicted"] == "True",
            has_evidence=row["has_evidence"] == "True",
        )


def _shown(positive: _Positive) -> np.ndarray:
    with np.load(positive.map_file) as stored:
        heat_map: np.ndarray = np.maximum(stored["map"], 0)
    return heat_map if positive.has_evidence else np.zeros_like(heat_map)


def _baseline_maps(
    positive: _Positive, shape: tuple[int, ...], reference: Reference, seed: int
) -> dict[str, np.ndarray]:
    position = reference.cohort.positions[positive.image_id]
    picture = read_image(reference.cohort.file(positive.image_id)).pixels
    return {
        "centre": centre_map(shape),
        "edges": edges_map(picture),
        "random": random_map(shape, (seed, int(reference.cohort.table["row"].iloc[position]))),
    }


def _mean_masks(train: Reference | None, labels: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Return each label's mean mask over the training images that have it; a label without masks is left out."""
    if train is None:
        return {}
    means = {label: mean_mask(train.masks_of(label)) for label in labels}
    return {label: mean for label, mean in means.items() if mean is not None}
