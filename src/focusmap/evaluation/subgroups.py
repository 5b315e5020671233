"""Is the model as good for each subgroup: metrics of every group with intervals, and gaps that are beyond chance.

A gap is what a group has less what all other images have, from the same resamples of patients. Chance is what groups of
as many patients have that are drawn by lot. Over all groups, targets and metrics p values are held by Holm's step-down
(Scand J Stat 6 (1979), 65-70), since of many groups some differ by chance.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from focusmap.basics import Json
from focusmap.evaluation.measures import MEASURES, NO_TRUTH, Sample
from focusmap.evaluation.metrics import EvaluationOptions, patients_of, samples_of
from focusmap.evaluation.predictions import Predictions
from focusmap.statistics import Distribution, Resampling, holm, resample
from focusmap.statistics.intervals import bounded_interval, difference_interval, percentile_interval
from focusmap.study.measurements import numbers_in
from focusmap.study.values import in_one_way

# What is compared of each kind of target.
COMPARED: Mapping[str, tuple[str, ...]] = {
    "binary": ("auroc", "sensitivity", "specificity"),
    "multiclass": ("auroc", "accuracy"),
    "ordinal": ("quadratic_kappa", "accuracy"),
    "continuous": ("mae",),
}
FEWEST = 5  # patients behind a metric, of the group and of the rest; below, no gap is judged
N_LOTS = 500
MOST_VALUES = 20  # of a column; more are no groups
BEYOND_CHANCE = 0.05
UNKNOWN = "(unknown)"
SUBGROUPS = "subgroups.json"


def subgroups(
    predictions: Predictions, truth: np.ndarray, groups: Mapping[str, Sequence[str]], options: EvaluationOptions
) -> list[dict[str, Json]]:
    """Return one row per column, group, target and metric.

    Parameters
    ----------
    predictions, truth, options
        As for `evaluate_predictions`.
    groups
        Column to the cell of each of the N images, see `named_groups`.

    Returns
    -------
    list of dict
        ``column, group, target, metric, n_images, n_patients, value, low, high``; ``gap`` with its limits, ``p`` and
        ``p_adjusted``, None where the group or the rest has too few patients; ``is_beyond_chance``.
    """
    rows: list[dict[str, Json]] = []
    for column, cells in groups.items():
        names = named_groups(cells)
        for name in _in_order(names):
            head: dict[str, Json] = {"column": column, "group": str(name)}
            rows += [{**head, **row} for row in _rows_of_group(predictions, truth, names == name, options)]
    return _adjusted(rows)


def named_groups(cells: Sequence[str]) -> np.ndarray:
    """Return the group of each cell: the cell itself, or where there are more than 20 values the third it lies in.

    Empty cells, and words that say that nothing is known, are a group of their own; so are all ways of writing a text.
    Empty where all cells are alike, or are many texts.

    >>> named_groups(["f", "m", ""]).tolist()
    ['f', 'm', '(unknown)']
    >>> np.unique(named_groups([str(age) for age in range(30, 90)])).tolist()
    ['49 to 69', 'above 69', 'below 49']
    """
    names = in_one_way(map(str, cells))
    values = np.array([names[str(cell)] or UNKNOWN for cell in cells])
    n_values = np.unique(values).size
    if n_values > MOST_VALUES:
        numbers = numbers_in(values)
        if np.isnan(numbers[values != UNKNOWN]).any():
            return np.array([])
        first, last = np.nanquantile(numbers, (1 / 3, 2 / 3), method="closest_observation")
        middle = (numbers >= first) & (numbers <= last)
        named = np.where(
            numbers < first, f"below {first:g}", np.where(middle, f"{first:g} to {last:g}", f"above {last:g}")
        )
        return np.where(np.isnan(numbers), UNKNOWN, named)
    return values if n_values > 1 else np.array([])


def _in_order(names: np.ndarray) -> list[str]:
    """Return the distinct names: thirds from the lowest on, others by the alphabet."""
    distinct = [str(name) for name in np.unique(names)]
    return sorted(
        distinct, key=lambda name: (name == UNKNOWN, name.startswith("above "), not name.startswith("below "))
    )


def smallest_judged(rows: Iterable[Mapping[str, Json]]) -> tuple[str, int] | None:
    """Return which is the smallest group of which a gap could be judged, ``COLUMN=GROUP``, and its patients; or None.

    >>> rows = [{"column": "site", "group": g, "n_patients": n, "p": p} for g, n, p in (("a", 9, 0.4), ("b", 7, None))]
    >>> smallest_judged(rows)
    ('site=a', 9)
    """
    judged = [row for row in rows if row.get("p") is not None]
    if not judged:
        return None
    least = min(judged, key=lambda row: int(str(row["n_patients"])))
    return f"{least['column']}={least['group']}", int(str(least["n_patients"]))


def _rows_of_group(
    predictions: Predictions, truth: np.ndarray, inside: np.ndarray, options: EvaluationOptions
) -> list[dict[str, Json]]:
    """Return what the images of a group reach, and by how much that is not what the others reach."""
    clusters = patients_of(predictions)
    parts = [
        samples_of(predictions, np.where(rows[:, None], truth, np.nan), clusters, options) for rows in (inside, ~inside)
    ]
    measures = [{name: MEASURES[one.target.kind](one) for name, one in part.items()} for part in parts]
    resampling = Resampling(clusters, options.n_resamples, options.seed)
    group, rest = (resample({name: one.statistic for name, one in part.items()}, resampling) for part in measures)
    chance = _gaps_by_chance(samples_of(predictions, truth, clusters, options), inside, resampling)
    rows: list[dict[str, Json]] = []
    for name, sample in parts[0].items():
        counts: dict[str, Json] = {"target": name, "n_images": len(sample.truth), "n_patients": _patients(sample)}
        for metric in COMPARED[sample.target.kind]:
            units = [
                part[name].units.get(metric, _patients(one[name])) for part, one in zip(measures, parts, strict=True)
            ]
            reason = measures[0][name].reasons.get(metric, NO_TRUTH)
            reached = bounded_interval(percentile_interval(group[name][metric], reason), units[0])
            gap = _gap(group[name][metric], rest[name][metric], min(units), chance.get(name, {}).get(metric))
            rows.append({**counts, "metric": metric, "n_patients_behind": units[0], **reached.to_dict(), **gap})
    return rows


def _patients(sample: Sample) -> int:
    return sample.clusters.count(np.full(len(sample.truth), True))


def _gaps_by_chance(
    samples: Mapping[str, Sample], inside: np.ndarray, resampling: Resampling
) -> dict[str, dict[str, np.ndarray]]:
    """Return by target and metric the gaps of groups of as many patients, drawn by lot.

    Empty where a patient has images within the group and outside of it.
    """
    clusters = resampling.clusters
    of_group = (clusters.sums(inside[:, None])[0] > 0).astype(np.float64)
    if np.any(of_group * clusters.sums(~inside[:, None])[0]):
        return {}
    draw = np.random.default_rng(resampling.seed)
    drawn = np.column_stack([draw.permutation(of_group) for _ in range(N_LOTS)])
    gaps: dict[str, dict[str, np.ndarray]] = {}
    for name, sample in samples.items():
        statistic = MEASURES[sample.target.kind](sample).statistic
        group, rest = statistic(drawn), statistic(1 - drawn)
        gaps[name] = {metric: group[metric] - rest[metric] for metric in COMPARED[sample.target.kind]}
    return gaps


def _gap(group: Distribution, rest: Distribution, units: int, by_chance: np.ndarray | None) -> dict[str, Json]:
    """Return the difference with its limits, and the two-sided p value of none.

    It is the normal tail beyond the gap among those of groups drawn by lot, so that small p values need no more draws;
    without such groups Student's t over patients, with the spread of the resamples.
    """
    from scipy.stats import norm, t

    difference = Distribution(group.value - rest.value, group.resamples - rest.resamples)
    null = difference.resamples if by_chance is None else by_chance
    null = null[~np.isnan(null)]
    spread = float(np.std(null)) if len(null) > 1 else 0.0
    if units < FEWEST or np.isnan(difference.value) or not spread:
        return {"gap": None, "p": None}
    interval = difference_interval(percentile_interval(difference, NO_TRUTH), units)
    if by_chance is None:
        p = float(2 * t.sf(abs(difference.value) / spread, units - 1))
    else:
        p = float(2 * norm.sf(abs(difference.value - np.mean(null)) / spread))
    return {"gap": {"value": interval.value, "low": interval.low, "high": interval.high}, "p": p}


def _adjusted(rows: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Return the rows with p values adjusted for their number; the two groups of a column are one comparison."""
    groups: dict[Json, set[Json]] = {}
    for row in rows:
        groups.setdefault(row["column"], set()).add(row["group"])

    def look(row: Mapping[str, Json]) -> tuple[Json, ...]:
        return row["column"], row["group"] if len(groups[row["column"]]) > 2 else "", row["target"], row["metric"]

    looks = {look(row): p for row in rows if isinstance(p := row["p"], float)}
    adjusted = dict(zip(looks, holm(list(looks.values())), strict=True))
    judged = []
    for row in rows:
        p = None if row["p"] is None else adjusted[look(row)]
        judged.append({**row, "p_adjusted": p, "is_beyond_chance": p is not None and p < BEYOND_CHANCE})
    return judged
