"""Scores of drawn masks against true ones, in any number of dimensions: overlap, distance of the surfaces, size.

Means come with patient-clustered intervals, and differences are paired.

P is the region, G the mask, both ``(*spatial) bool`` on one grid. Measures that have no value are NaN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import reduce
from operator import add
from typing import Self, cast

import numpy as np
import pandas as pd

from focusmap.basics import Json, Reason, reason_entries
from focusmap.evaluation.localisation import summary
from focusmap.statistics import Clusters, Resampling, bounded_interval, percentile_interval, resample, sign_flip_test

# mm^2 of an image stay; mm^3 of a volume become mL.
MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Overlap:
    """Voxels of a region P, of the mask G, of both, and of their grid; those of several grids add up.

    >>> found = Overlap.of(np.array([True, True, False]), np.array([True, False, False]))
    >>> round(found.dice, 3), found.sensitivity, found.specificity
    (0.667, 1.0, 0.5)
    """

    n_region: int
    n_mask: int
    n_both: int
    n_voxels: int

    @classmethod
    def of(cls, region: np.ndarray, mask: np.ndarray) -> Self:
        """Count the voxels of one grid."""
        n_region, n_mask, n_both = (int(np.count_nonzero(part)) for part in (region, mask, region & mask))
        return cls(n_region, n_mask, n_both, mask.size)

    def __add__(self, other: Self) -> Self:
        n_region, n_mask, n_both, n_voxels = np.add(astuple(self), astuple(other)).tolist()
        return type(self)(n_region, n_mask, n_both, n_voxels)

    @property
    def dice(self) -> float:
        """2 |P and G| / (|P| + |G|); NaN where the mask is empty, 0 where only the region is."""
        return 2 * self.n_both / (self.n_region + self.n_mask) if self.n_mask else math.nan

    @property
    def sensitivity(self) -> float:
        """|P and G| / |G|; NaN where the mask is empty."""
        return self.n_both / self.n_mask if self.n_mask else math.nan

    @property
    def specificity(self) -> float:
        """The share of the voxels outside the mask that the region leaves out; NaN where the mask is everything."""
        n_outside = self.n_voxels - self.n_mask
        return 1 - (self.n_region - self.n_both) / n_outside if n_outside else math.nan


def surface_distances(region: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance of every border voxel of each to the other's border, both ways together; lower is better.

    Parameters
    ----------
    region, mask
        A border voxel is one with a neighbour outside along an axis, or at the end of the image.
    spacing
        Of the axes, in mm; 1 each for distances in voxels.

    Returns
    -------
    (n,) float
        Empty where either is.
    """
    if not region.any() or not mask.any():
        return np.empty(0)
    window = _window(region | mask)
    borders = [_border(part)[window] for part in (region, mask)]
    from scipy.ndimage import distance_transform_edt

    first, second = (distance_transform_edt(~border, sampling=spacing) for border in borders)
    return np.concatenate([second[borders[0]], first[borders[1]]])


def hd95(distances: np.ndarray) -> float:
    """Return the 95th percentile of `surface_distances`, both ways pooled; NaN of none."""
    return float(np.percentile(distances, 95)) if len(distances) else math.nan


def average_surface_distance(distances: np.ndarray) -> float:
    """Return the mean of `surface_distances`, both ways pooled; NaN of none."""
    return float(distances.mean()) if len(distances) else math.nan


def extent(n_voxels: int, spacing: Sequence[float] | None) -> float | None:
    """Return the size of a region: mm^2 of an image, mL of a volume; None where the spacing is unknown.

    >>> extent(50, (0.5, 0.5)), extent(2000, (1.0, 1.0, 2.0)), extent(7, None)
    (12.5, 4.0, None)
    """
    if spacing is None:
        return None
    return n_voxels * math.prod(spacing) / (MM3_PER_ML if len(spacing) == 3 else 1.0)


def _border(region: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return np.asarray(region & ~binary_erosion(region))


def _window(either: np.ndarray) -> tuple[slice, ...]:
    """Return the box that holds both; distances between them need nothing beyond it."""
    places = np.nonzero(either)
    return tuple(slice(int(place.min()), int(place.max()) + 1) for place in places)


SHARES = ("dice", "sensitivity", "specificity")
DISTANCES = ("hd95", "average_surface_distance")
SIZES = ("size_error", "relative_size_error")
MEASURES = (*SHARES, *DISTANCES, *SIZES)
MEAN_MASK = summary.MEAN_MASK
# The p of the sign-flip test below which a difference counts.
LEVEL = 0.05
NOT_SCORED = Reason("not-scored")
NO_DISTANCE = Reason("no-distance")


@dataclass(frozen=True)
class MaskScore:
    """What the masks of one method score in one case.

    Parameters
    ----------
    measures
        Of `MEASURES`; NaN where undefined.
    overlap
        What `SHARES` were worked out from.
    """

    image_id: str
    patient_id: str
    target: str
    method: str
    measures: Mapping[str, float]
    overlap: Overlap


def are_mostly_empty(n_empty: int, n: int) -> bool:
    """Return whether more than half of the `n` masks of cases that the model calls positive are empty."""
    return n_empty > n / 2


def measure_mask(
    region: np.ndarray, mask: np.ndarray, spacing: Sequence[float] | None
) -> tuple[dict[str, float], Overlap]:
    """Return every measure of a drawn region against the true mask, both ``(*spatial) bool``, and their overlap.

    Parameters
    ----------
    spacing
        In mm; None means unknown: distances are then in voxels, and so is ``size_error``, which is in mm^2 or mL else.

    Returns
    -------
    dict, Overlap
        Shares, distances and sizes are those of cases with a lesion, NaN of others; a missed lesion has a Dice and a
        sensitivity of 0, an error of its whole size, and no distance. Specificity is of every case.
    """
    overlap = Overlap.of(region, mask)
    distances = surface_distances(region, mask, spacing or (1.0,) * mask.ndim)
    n_off = abs(overlap.n_region - overlap.n_mask)
    size_off = extent(n_off, spacing)
    measures = {
        **_shares(overlap),
        "hd95": hd95(distances),
        "average_surface_distance": average_surface_distance(distances),
        "size_error": float(n_off if size_off is None else size_off) if overlap.n_mask else np.nan,
        "relative_size_error": n_off / overlap.n_mask if overlap.n_mask else np.nan,
    }
    return measures, overlap


def _shares(overlap: Overlap) -> dict[str, float]:
    return {name: float(getattr(overlap, name)) for name in SHARES}


def pool_by_case(scores: Sequence[MaskScore], case_of: Mapping[str, str]) -> list[MaskScore]:
    """Return one score a case, target and method, such as a volume's whose slices were drawn one by one.

    Parameters
    ----------
    case_of
        Image to case. A case's patient is that of its images.

    Returns
    -------
    list of MaskScore
        With `SHARES` alone, of all voxels of the case; the case stands for the image.
    """
    parts: dict[tuple[str, str, str, str], list[Overlap]] = {}
    for score in scores:
        key = (case_of[score.image_id], score.patient_id, score.target, score.method)
        parts.setdefault(key, []).append(score.overlap)
    pooled = {key: reduce(add, overlaps) for key, overlaps in parts.items()}
    return [MaskScore(*key, _shares(overlap), overlap) for key, overlap in pooled.items()]


def summarise_masks(scores: Sequence[MaskScore]) -> dict[str, Json]:
    """Return the means over cases of every method's measures, each with its 95 % interval, and counts.

    The measures are those that the scores have. One that no case has is null with a reason. ``n`` counts the cases,
    ``n_lesions`` those with a lesion, ``n_missed`` those of them of which nothing is drawn that touches it,
    ``n_patients`` the patients.
    """
    return {method: _summary_of(of_method) for method, of_method in _by_method(scores).items()}


def _by_method(scores: Sequence[MaskScore]) -> dict[str, list[MaskScore]]:
    by_method: dict[str, list[MaskScore]] = {}
    for score in scores:
        by_method.setdefault(score.method, []).append(score)
    return by_method


def _summary_of(scores: Sequence[MaskScore]) -> dict[str, Json]:
    clusters = Clusters.of([score.patient_id for score in scores])
    measures = tuple(scores[0].measures)
    table = np.array([[score.measures[key] for key in measures] for score in scores])
    drawn = resample({"": summary.column_means(measures, table, clusters)}, Resampling(clusters))[""]
    means: dict[str, Json] = {}
    for column, key in enumerate(measures):
        interval = percentile_interval(drawn[key], NO_DISTANCE if key in DISTANCES else NOT_SCORED)
        if key in SHARES:
            interval = bounded_interval(interval, clusters.count(~np.isnan(table[:, column])))
        means[key] = interval.to_dict()
    dice = table[:, measures.index("dice")]
    means |= {"n": len(scores), "n_lesions": int((~np.isnan(dice)).sum()), "n_missed": int((dice == 0).sum())}
    return {**means, "n_patients": clusters.n}


def paired_differences(scores: Sequence[MaskScore], better: str, worse: str) -> dict[str, Json] | None:
    """Return the differences of Dice between two methods, patient by patient, and a test of their mean.

    Returns
    -------
    dict or None
        ``mean``, the mean over patients; ``sign_flip``, the test that every patient's difference might have had the
        other sign; ``by_patient``, each patient's mean over its cases, the largest first. None where no case has both.
    """
    table = pd.DataFrame(
        [(score.image_id, score.target, score.patient_id, score.method, score.measures["dice"]) for score in scores],
        columns=["image_id", "target", "patient_id", "method", "value"],
    )
    wide = table.pivot(index=["patient_id", "image_id", "target"], columns="method", values="value")
    if better not in wide or worse not in wide:
        return None
    by_patient = (wide[better] - wide[worse]).dropna().groupby("patient_id").mean().sort_values(ascending=False)
    if by_patient.empty:
        return None
    return {
        "measure": "dice",
        "mean": float(by_patient.mean()),
        "sign_flip": sign_flip_test(by_patient.to_numpy()).to_dict(),
        "by_patient": [{"patient_id": str(name), "value": float(value)} for name, value in by_patient.items()],
    }


def above_mean_mask(differences: Mapping[str, Json], method: str) -> bool | None:
    """Return whether the masks of a method are shown to be above the mean mask; None where that was not measured.

    Parameters
    ----------
    differences
        As `paired_differences` gives them, by ``BETTER - WORSE``.
    """
    difference = cast(Mapping[str, Json] | None, differences.get(f"{method} - {MEAN_MASK}"))
    if difference is None:
        return None
    p = cast(Mapping[str, float], difference["sign_flip"])["p"]
    return cast(float, difference["mean"]) > 0 and p < LEVEL


# Of the masks, the most confident first: at these shares of them Dice is given.
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def selective_dice(confidence: np.ndarray, dice: np.ndarray) -> list[Json]:
    """Return the mean Dice ``(N,)`` of the most confident masks, at each of `COVERAGES`.

    >>> found = selective_dice(np.array([0.2, 0.9, 0.6, 0.1]), np.array([0.1, 0.8, 0.6, 0.1]))
    >>> [(entry["coverage"], round(entry["dice"], 2)) for entry in found if entry["coverage"] in (1.0, 0.5)]
    [(1.0, 0.4), (0.5, 0.7)]
    """
    ranked = dice[np.argsort(-confidence, kind="stable")]
    sizes = [(share, max(round(share * len(ranked)), 1)) for share in COVERAGES]
    return [{"coverage": share, "dice": float(ranked[:n].mean()), "n": n} for share, n in sizes]


def score_table(scores: Sequence[MaskScore]) -> pd.DataFrame:
    """Return one row per case and method."""
    return pd.DataFrame(
        [
            {"image_id": score.image_id, "target": score.target, "method": score.method, **score.measures}
            for score in scores
        ]
    )


def undefined_scores(reason: Reason) -> dict[str, Json]:
    """Return the scores of a method that there is none of, each null with the reason."""
    return {key: {"value": None, "low": None, "high": None, **reason_entries(reason)} for key in MEASURES}
