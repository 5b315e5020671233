"""Drift: how far the images, covariates, labels and scores of another label file differ from those of train.

Two numbers per feature. The population stability index (Yurdakul and Naranjo, J. Risk Model Valid. 14 (2020), 89-100)
says how much; the distance of Kolmogorov and Smirnov, beside what patients dealt to the two files by lot would give,
says whether it is more than chance. Patients are dealt, not images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from focusmap.basics import Json, number
from focusmap.statistics import holm

N_LOTS, BLOCK = 1999, 200
N_BINS = 10
BEYOND_CHANCE = 0.05
FEWEST = 10  # patients of each side
# The words of the index, as credit scoring uses them.
SIZES: Mapping[float, Literal["small", "moderate", "large"]] = {0.1: "small", 0.25: "moderate", np.inf: "large"}
Kind: TypeAlias = Literal["image", "covariate", "label", "score"]


@dataclass(frozen=True)
class Feature:
    """What is known of N rows in one respect.

    Parameters
    ----------
    values
        ``(N,)``: float, NaN unknown; or text, empty unknown.
    patients
        ``(N,)``: whose each row is.
    """

    name: str
    kind: Kind
    values: np.ndarray
    patients: np.ndarray

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return self.values.dtype.kind == "f"

    @property
    def known(self) -> "Feature":
        """The rows whose value is known."""
        rows = ~np.isnan(self.values) if self.is_number else self.values != ""
        return Feature(self.name, self.kind, self.values[rows], self.patients[rows])


def stability_index(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the population stability index of values ``(N,)`` and ``(M,)``: 0 where they are alike, no upper end.

    Numbers are counted in tenths of the expected ones, texts one by one; half a row is added to each count, since an
    empty one has no logarithm.

    >>> stability_index(np.array(["f", "m"] * 50), np.array(["f", "m"] * 50))
    0.0
    >>> round(stability_index(np.array(["f", "m"] * 50), np.array(["f"] * 75 + ["m"] * 25)), 3)
    0.269
    """
    if expected.dtype.kind == "f":
        ends = np.unique(np.quantile(expected, np.linspace(0, 1, N_BINS + 1)[1:-1]))
        codes, n = (np.searchsorted(ends, values, side="left") for values in (expected, found)), len(ends) + 1
    else:
        levels = np.unique(np.concatenate([expected, found]))
        codes, n = (np.searchsorted(levels, values) for values in (expected, found)), len(levels)
    p, q = ((np.bincount(one, minlength=n) + 0.5) / (len(one) + 0.5 * n) for one in codes)
    return float(np.sum((q - p) * np.log(q / p)))


def distance(order: np.ndarray, last: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ``(b,)``: the largest distance between the distribution of some rows and that of the others.

    Parameters
    ----------
    order
        ``(N,)``: of the rows by value.
    last
        ``(N,) bool``, in that order: whether a row is the last one of its value.
    weights
        ``(N, b)``: 1 for the rows of one side, 0 for those of the other.
    """
    ones = np.cumsum(weights[order], axis=0)[last]
    rest = np.cumsum(1 - weights[order], axis=0)[last]
    return np.asarray(np.abs(ones / ones[-1:] - rest / rest[-1:]).max(axis=0))


def _apart(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what measures the distance for weights: of numbers between distributions, of texts between shares."""
    if values.dtype.kind == "f":
        order = np.argsort(values, kind="stable")
        last = np.append(values[order][1:] != values[order][:-1], True)
        return lambda weights: distance(order, last, weights)
    _, codes = np.unique(values, return_inverse=True)
    levels = np.eye(codes.max() + 1)[codes].T
    return lambda weights: np.asarray(
        np.abs(levels @ weights / weights.sum(axis=0) - levels @ (1 - weights) / (1 - weights).sum(axis=0)).max(axis=0)
    )


def distance_by_lot(values: np.ndarray, patients: np.ndarray, is_other: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the distance between two sides and the share of deals of patients by lot that give as great a one.

    Parameters
    ----------
    values, patients, is_other
        ``(N,)``, of both sides together.
    """
    measure = _apart(values)
    _, codes = np.unique(patients, return_inverse=True)
    side = np.zeros(codes.max() + 1)
    side[codes[is_other]] = 1
    draw = np.random.default_rng(seed)
    measured = float(measure(is_other[:, None].astype(float))[0])
    n_as_great = 0
    for start in range(0, N_LOTS, BLOCK):
        dealt = np.column_stack([draw.permutation(side) for _ in range(min(BLOCK, N_LOTS - start))])
        n_as_great += int((measure(dealt[codes]) >= measured - 1e-12).sum())
    return measured, (1 + n_as_great) / (1 + N_LOTS)


def drift(expected: Sequence[Feature], found: Sequence[Feature], seed: int = 0) -> list[dict[str, Json]]:
    """Return a row per feature that both sides have, those that differ beyond chance first.

    Returns
    -------
    list
        ``feature, kind, n_expected, n_found, expected, found`` (medians of numbers, else None), ``psi``, ``size``
        (small, moderate, large), ``ks``, ``p``, ``p_adjusted`` (Holm) and ``is_beyond_chance``. Features of fewer than
        ten patients on a side have no numbers.
    """
    known_of = {(feature.kind, feature.name): feature.known for feature in found}
    pairs = [
        (feature.known, known_of[key]) for feature in expected if (key := (feature.kind, feature.name)) in known_of
    ]
    rows = [_row(a, b, seed) for a, b in pairs if len(a.values) and len(b.values)]
    known = {k: p for k, row in enumerate(rows) if isinstance(p := row["p"], float)}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    judged = [
        {**row, "p_adjusted": adjusted.get(k), "is_beyond_chance": adjusted.get(k, 1.0) < BEYOND_CHANCE}
        for k, row in enumerate(rows)
    ]
    return sorted(judged, key=lambda row: (not row["is_beyond_chance"], -(number(row["psi"]) or 0.0)))


def _row(expected: Feature, found: Feature, seed: int) -> dict[str, Json]:
    row: dict[str, Json] = {
        "feature": expected.name, "kind": expected.kind, "n_expected": len(expected.values),
        "n_found": len(found.values), "expected": _median(expected), "found": _median(found),
    }  # fmt: skip
    if min(len(np.unique(side.patients)) for side in (expected, found)) < FEWEST:
        return {**row, "psi": None, "size": None, "ks": None, "p": None}
    values = np.concatenate([expected.values, found.values])
    # Nobody is on both sides: those who share a name are not the same.
    patients = np.concatenate([[f"{k} {one}" for one in side.patients] for k, side in enumerate((expected, found))])
    is_other = np.arange(len(values)) >= len(expected.values)
    ks, p = distance_by_lot(values, patients, is_other, seed)
    psi = stability_index(expected.values, found.values)
    size = next(word for end, word in SIZES.items() if psi < end)
    return {**row, "psi": round(psi, 4), "size": size, "ks": round(ks, 4), "p": p}


def _median(feature: Feature) -> float | None:
    return float(np.median(feature.values)) if feature.is_number else None


def _gradient(image: np.ndarray) -> float:
    grey = image.mean(axis=0)
    slopes = [np.abs(np.diff(grey, axis=axis)).mean() for axis, side in enumerate(grey.shape) if side > 1]
    return float(np.mean(slopes) / max(float(grey.std()), 1.0))


# Of an image ``(C, *spatial) uint8`` as the net is shown it, before it is standardised.
SUMMARIES: Mapping[str, Callable[[np.ndarray], float]] = {
    "brightness": lambda image: float(image.mean()),
    "contrast": lambda image: float(image.std()),
    "dark share": lambda image: float((image < 26).mean()),
    "bright share": lambda image: float((image > 229).mean()),
    "sharpness": _gradient,
    "colour": lambda image: float(np.ptp(image.reshape(len(image), -1).mean(axis=1))),
}


def summary(image: np.ndarray, source_shape: Sequence[int]) -> dict[str, float]:
    """Return what is measured of an image ``(C, *spatial) uint8`` and of the shape that it has in its file.

    >>> summary(np.zeros((1, 4, 4), np.uint8), (480, 640))["rows"]
    480.0
    """
    measured = {name: measure(image) for name, measure in SUMMARIES.items()}
    sides = dict(zip(("rows", "columns", "slices"), map(float, source_shape), strict=False))
    return {**measured, **sides, "columns to rows": float(source_shape[1]) / float(source_shape[0])}


def shifted(rows: Sequence[Mapping[str, Json]]) -> list[str]:
    """Return the names of the features that differ beyond chance; scores and labels with what they are."""
    drifted = [row for row in rows if row["is_beyond_chance"]]
    return [f"{row['kind']} {row['feature']}" if row["kind"] != "image" else str(row["feature"]) for row in drifted]
