"""Shortcuts: probes that predict labels from only a part of an image, or without looking at it at all.

Each is a ridge regression, fitted on the patients of four fifths and asked about those of the last fifth. Border and
corners, size and format, metadata (device, settings, hour, packing), and the position among a patient's slices must
not predict a label; a thumbnail and a histogram may, and stand in ``audit.json`` for the reader to compare a net with.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.audit.findings import Finding, finding
from focusmap.audit.images import Images
from focusmap.audit.table import label_columns
from focusmap.basics import Json, Reason
from focusmap.statistics import clustered_delong
from focusmap.study import Cohort

MIN_LEVEL, MAX_LEVELS = 5, 20
RING, N_BINS, N_LEVELS, SIDE = 2, 24, 16, 16
MAX_IMAGES, MIN_PATIENTS, N_FOLDS = 4000, 15, 5
RIDGE, TELLS = 10.0, 0.75
MIN_SLICES, SLICED = 4, 0.5
SUSPECT = ("border and corners", "size and format", "metadata", "position among the slices")


@dataclass(frozen=True)
class ProbeResult:
    """How well a probe predicts a label: AUROC, and its 95 % limits by patient."""

    probe: str
    label: str
    auroc: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `audit.json`."""
        numbers: dict[str, Json] = {name: round(getattr(self, name), 4) for name in ("auroc", "low", "high")}
        return {"probe": self.probe, "label": self.label, **numbers}


def run_probes(cohort: Cohort, images: Images) -> list[ProbeResult]:
    """Return how well each probe predicts each label that enough patients have and enough others have not."""
    rng = np.random.default_rng(0)
    kept = np.sort(rng.permutation(np.flatnonzero(images.readable))[:MAX_IMAGES])
    if len(kept) < 2 * MIN_PATIENTS:
        return []
    patients = np.unique(cohort.patient_ids[kept].astype(str), return_inverse=True)[1]
    names, held = label_columns(cohort)
    truth = held[kept]
    enough = [
        column
        for column in range(len(names))
        if min(len(set(patients[truth[:, column] == side])) for side in (0, 1)) >= MIN_PATIENTS
    ]
    probes = {name: seen for name, seen in _probes(cohort, images, kept).items() if seen.shape[1]}
    if not enough or not probes:
        return []
    folds = rng.permutation(int(patients.max()) + 1)[patients] % N_FOLDS
    results = []
    for name, seen in probes.items():
        scores = _out_of_fold(seen, truth[:, enough], folds)
        for column, score in zip(enough, scores.T, strict=True):
            interval = clustered_delong(truth[:, column], score, patients)
            if interval.value is not None and interval.low is not None and interval.high is not None:
                results.append(ProbeResult(name, names[column], interval.value, interval.low, interval.high))
    return results


def probe_findings(results: Sequence[ProbeResult]) -> list[Finding]:
    """Return the finding on probes that predict a label beyond chance although they cannot see the disease."""
    sure = [item for item in results if item.probe in SUSPECT and item.low > TELLS]
    if not sure:
        return []
    probes = tuple(_say(item) for item in sure)
    return [finding("shortcut-probes", Reason("told-without-looking", probes=probes), probes)]


def _say(item: ProbeResult) -> Reason:
    limits = {"auroc": f"{item.auroc:.2f}", "low": f"{item.low:.2f}", "high": f"{item.high:.2f}"}
    return Reason("seen-alone", probe=item.probe, label=item.label, **limits)


def _probes(cohort: Cohort, images: Images, kept: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return what each probe sees of the images, ``(N, features)``."""
    thumbnails = images.thumbnails[kept].astype(np.float32)
    ring = np.ones(thumbnails.shape[1:], bool)
    ring[RING:-RING, RING:-RING] = False
    patches = thumbnails.reshape(len(kept), SIDE, thumbnails.shape[1] // SIDE, SIDE, -1).mean(axis=(2, 4))
    levels = (thumbnails // (256 / N_LEVELS)).astype(int).reshape(len(kept), -1)
    histograms = np.stack([(levels == level).mean(axis=1) for level in range(N_LEVELS)], axis=1)
    return {
        "border and corners": np.concatenate(
            [thumbnails[:, ring], images.corners[kept].reshape(len(kept), -1)], axis=1
        ),
        "thumbnail of 16 x 16": patches.reshape(len(kept), -1),
        "histogram": np.sqrt(histograms),
        "size and format": _sizes(images, kept),
        "metadata": _metadata(images, kept),
        "position among the slices": _positions(cohort, kept),
    }


def _sizes(images: Images, kept: np.ndarray) -> np.ndarray:
    """Return in which tenth or so sides, their ratio and their product lie, and pixel types and formats."""
    looks = [images.looks[position] for position in kept]
    sides = np.array([(look.size[0], look.size[-1]) for look in looks], float)
    numbers = [sides[:, 0], sides[:, 1], sides[:, 0] / sides[:, 1], sides.prod(axis=1)]
    kinds = [[look.mode for look in looks], [images.formats[position] for position in kept]]
    columns = [_binned(values) for values in numbers] + [_one_hot(np.array(names)) for names in kinds]
    return np.concatenate(columns, axis=1)


def _metadata(images: Images, kept: np.ndarray) -> np.ndarray:
    """Return what the files say of device, settings, hour and packing, by levels that several images share."""
    made = [images.looks[position].metadata.made for position in kept]
    columns = []
    for name in dict.fromkeys(name for facts in made for name in facts):
        cells = pd.Series([facts.get(name, "") for facts in made])
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float)
        if cells.nunique() > MAX_LEVELS and np.isfinite(numbers).mean() > 0.5:
            columns.append(_binned(np.where(np.isfinite(numbers), numbers, np.nan)))
        else:
            counts = cells.value_counts()
            columns.append(_one_hot(cells.where(cells.isin(counts[counts >= MIN_LEVEL].index), "rare").to_numpy(str)))
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(kept), 0))


def _positions(cohort: Cohort, kept: np.ndarray) -> np.ndarray:
    """Return where a slice lies among its patient's, by the last number in its name; nothing where few have several."""
    numbers = [re.findall(r"\d+", str(path)) for path in cohort.table["path"].iloc[kept]]
    order = np.array([int(digits[-1][:15]) if digits else 0 for digits in numbers])
    patients = np.unique(cohort.patient_ids[kept].astype(str), return_inverse=True)[1]
    places, sliced = np.full(len(kept), np.nan), 0
    by_patient = np.argsort(patients, kind="stable")
    for rows in np.split(by_patient, np.flatnonzero(np.diff(patients[by_patient])) + 1):
        if len(rows) >= MIN_SLICES and len(set(order[rows])) == len(rows):
            places[rows] = order[rows].argsort().argsort() / (len(rows) - 1)
            sliced += len(rows)
    return _binned(places) if sliced > SLICED * len(kept) else np.zeros((len(kept), 0))


def _binned(values: np.ndarray) -> np.ndarray:
    """Return between which quantiles each value lies, ``(N, bins)``; NaN lies nowhere."""
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1])) if len(known) else np.zeros(0)
    return _one_hot(np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right")))


def _one_hot(values: np.ndarray) -> np.ndarray:
    """Return which level each value has, ``(N, levels)``; none where there is one level only."""
    levels, codes = np.unique(values, return_inverse=True)
    return np.eye(len(levels))[codes] if len(levels) > 1 else np.zeros((len(values), 0))


def _out_of_fold(seen: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the scores ``(N, L)`` of ridge regressions that have not seen the patients they are asked about."""
    scores = np.zeros(truth.shape)
    wanted = np.where(np.isnan(truth), np.nanmean(truth, axis=0), truth)
    for fold in range(N_FOLDS):
        known_folds = folds != fold
        centre, spread = seen[known_folds].mean(axis=0), seen[known_folds].std(axis=0)
        x = (seen - centre) / np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-9))
        known, target = x[known_folds], wanted[known_folds] - wanted[known_folds].mean(axis=0)
        strength = RIDGE * np.eye(x.shape[1]) * max(len(known) / 100, 1)
        weights = np.linalg.solve(known.T @ known + strength, known.T @ target)
        scores[~known_folds] = x[~known_folds] @ weights
    return scores
