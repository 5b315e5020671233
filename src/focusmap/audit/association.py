"""Labels that go with another column: sex, age, view, site. What a net could learn instead of the disease."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from focusmap.audit.findings import AuditOptions, Finding, finding
from focusmap.audit.table import label_columns
from focusmap.basics import Json, Reason
from focusmap.study import Cohort
from focusmap.study.measurements import numbers_in
from focusmap.study.values import in_one_way

TELLING_COLUMNS = (
    "sex", "gender", "age", "view", "view_position", "site", "hospital", "institution", "centre", "center", "source",
    "scanner", "manufacturer", "device", "dataset", "location", "laterality",
)  # fmt: skip
"""Columns that are looked at even if nobody declares them."""

LEVELS, MIN_LEVEL, BINS = 20, 5, 32
MAX_PATIENTS = 5000
MIN_PERMUTATIONS, MAX_PERMUTATIONS = 999, 9999
SIGNIFICANT, STRONG_V, STRONG_AUROC = 0.05, 0.2, 0.1

Measure = Literal["cramers_v", "auroc"]


@dataclass(frozen=True)
class Association:
    """How far a label goes with a column.

    Parameters
    ----------
    target, column
        Names; `target` is a label name such as ``label=benign``.
    measure
        ``cramers_v`` (0 to 1) for categories, ``auroc`` (0 to 1, 0.5 none) for numbers.
    statistic
        Its value, on one image a patient.
    p
        By permutation of the patients, not yet corrected for the number of pairs.
    """

    target: str
    column: str
    measure: Measure
    statistic: float
    p: float

    @property
    def strength(self) -> float:
        """Distance from no association, in units of what is worth a warning."""
        if self.measure == "auroc":
            return abs(self.statistic - 0.5) / STRONG_AUROC
        return self.statistic / STRONG_V

    def to_dict(self) -> dict[str, Json]:
        """Return plain values."""
        return {
            "target": self.target, "column": self.column, "measure": self.measure,
            "statistic": round(self.statistic, 4), "p": round(self.p, 6),
        }  # fmt: skip


@dataclass(frozen=True)
class _Coded:
    """A column as level numbers ``(N,) int``, -1 where empty; levels of a number are in order."""

    name: str
    measure: Measure
    codes: np.ndarray


def column_cells(cohort: Cohort) -> dict[str, pd.Series]:
    """Return the columns worth comparing with the labels: declared ones and those of telling names."""
    study = cohort.study
    declared = [*study.covariates, *study.groups, *([study.view_column] if study.view_column else [])]
    telling = [name for name in cohort.raw if str(name).lower() in TELLING_COLUMNS]
    names = [name for name in dict.fromkeys([*declared, *telling]) if name not in cohort.task.names]
    return {str(name): cohort.cells[name].str.strip() for name in names if name in cohort.raw}


def associations(cohort: Cohort, options: AuditOptions) -> list[Association]:
    """Return the association of every label with every such column, on one image a patient."""
    coded = [column for name, cells in column_cells(cohort).items() if (column := _code(name, cells)) is not None]
    names, held = label_columns(cohort)
    if not coded or not names:
        return []
    rng = np.random.default_rng(options.seed)
    rows = _one_a_patient(cohort, rng)
    chosen = [_Coded(column.name, column.measure, column.codes[rows]) for column in coded]
    observed, p = _permutation_test(held[rows], chosen, rng)
    return [
        Association(label, column.name, column.measure, float(observed[i, j]), float(p[i, j]))
        for j, column in enumerate(chosen)
        for i, label in enumerate(names)
        if np.isfinite(observed[i, j])
    ]


def association_findings(tested: Sequence[Association], covariates: Sequence[str]) -> list[Finding]:
    """Return one finding for each column that a label goes with: strongly, and not by chance (Bonferroni).

    Declared covariates are left out: that labels go with them is what they are declared for.
    """
    strong = [item for item in tested if item.p * len(tested) < SIGNIFICANT and item.strength >= 1]
    tied = [item for item in strong if item.column not in covariates]
    findings = []
    for column in dict.fromkeys(item.column for item in tied):
        here = sorted((item for item in tied if item.column == column), key=lambda item: -item.strength)
        labels = tuple(_say(item) for item in here)
        findings.append(
            finding(f"label-tied-to-{column}", Reason("labels-go-with", column=column, labels=labels), labels)
        )
    return findings


def _say(item: Association) -> str:
    measure = "Cramer's V" if item.measure == "cramers_v" else "AUROC"
    return Reason("tied-to", label=item.target, measure=measure, value=f"{item.statistic:.2f}", p=f"{item.p:.2g}")


def _code(name: str, cells: pd.Series) -> _Coded | None:
    codes, texts = pd.factorize(cells)
    cells = pd.Series(texts).map(in_one_way(cells)).take(codes).set_axis(cells.index)
    filled = cells[cells != ""]
    numbers = pd.Series(numbers_in(cells), index=cells.index)
    if numbers.notna().sum() >= 0.9 * len(filled) and filled.nunique() > 8:
        ranks = numbers.rank(method="average", pct=True).to_numpy()
        codes = np.where(np.isnan(ranks), -1, np.minimum(np.nan_to_num(ranks) * BINS, BINS - 1)).astype(int)
        measure: Measure = "auroc"
    else:
        common = [str(level) for level, n in filled.value_counts()[:LEVELS].items() if n >= MIN_LEVEL]
        place = {level: number for number, level in enumerate(common)}
        codes = np.array([place.get(cell, len(common)) if cell else -1 for cell in cells])
        measure = "cramers_v"
    return _Coded(name, measure, codes) if len(set(codes[codes >= 0])) > 1 else None


def _one_a_patient(cohort: Cohort, rng: np.random.Generator) -> np.ndarray:
    """Return one row per patient, drawn by lot whatever the order of the rows; their labels are independent."""
    by_id = np.argsort(pd.factorize(cohort.table["image_id"], sort=True)[0], kind="stable")
    drawn = by_id[rng.permutation(len(by_id))]
    _, first = np.unique(cohort.patient_codes[drawn], return_index=True)
    return np.asarray(drawn[rng.permutation(first)[:MAX_PATIENTS]])


def _permutation_test(
    held: np.ndarray, columns: Sequence[_Coded], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistics and their p values, ``(L, columns)``; one set of permutations serves all pairs."""
    sides = np.concatenate([held == 1, held == 0], axis=1).astype(np.float32)
    levels = [(column.codes[:, None] == np.arange(column.codes.max() + 1)).astype(np.float32) for column in columns]
    joined = np.concatenate(levels, axis=1)
    edges = np.cumsum([level.shape[1] for level in levels])[:-1]
    measures = [column.measure for column in columns]
    observed = _statistics(sides.T @ joined, edges, measures)
    distance = _distance(observed, measures)
    n = int(np.clip(2 * distance.size / SIGNIFICANT, MIN_PERMUTATIONS, MAX_PERMUTATIONS))
    at_least = np.zeros(distance.shape)
    for _ in range(n):
        drawn = _statistics(sides[rng.permutation(len(sides))].T @ joined, edges, measures)
        at_least += _distance(drawn, measures) >= distance - 1e-9
    return observed, (1 + at_least) / (1 + n)


def _distance(statistics: np.ndarray, measures: Sequence[Measure]) -> np.ndarray:
    return np.asarray(np.abs(statistics - np.where(np.array(measures) == "auroc", 0.5, 0.0)))


def _statistics(table: np.ndarray, edges: np.ndarray, measures: Sequence[Measure]) -> np.ndarray:
    """Return ``(L, columns)`` from counts ``(2 L, all levels)``: positives in the upper half, negatives below."""
    positive, negative = np.split(table.astype(np.float64), 2)
    columns = []
    parts = zip(np.split(positive, edges, axis=1), np.split(negative, edges, axis=1), measures, strict=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        for with_label, without, measure in parts:
            columns.append((cramers_v if measure == "cramers_v" else auroc_of_counts)(with_label, without))
    return np.stack(columns, axis=1)


def cramers_v(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return Cramer's V of each ``2 x K`` table, ``(L,)``; NaN where a side is empty.

    Parameters
    ----------
    positive, negative : (L, K)
        Counts of each level.

    Examples
    --------
    >>> cramers_v(np.array([[10.0, 0.0]]), np.array([[0.0, 10.0]])).round(3)
    array([1.])
    """
    level = positive + negative
    p, n = positive.sum(axis=1, keepdims=True), negative.sum(axis=1, keepdims=True)
    # For two rows the chi-square is sum of (o_k - e_k)^2 / e_k over positives, times N / n_negative.
    expected = level * p / (p + n)
    excess = np.where(level > 0, (positive - expected) ** 2 / expected, 0).sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(excess / n)[:, 0])


def auroc_of_counts(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return the AUROC of ordered levels, ``(L,)``, ties counting half; NaN where a side is empty.

    >>> auroc_of_counts(np.array([[0.0, 1.0, 3.0]]), np.array([[3.0, 1.0, 0.0]])).round(3)
    array([0.969])
    """
    below = np.cumsum(negative, axis=1) - negative / 2
    return np.asarray((positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))
