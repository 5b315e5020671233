"""Scores of single maps to means with patient-clustered intervals: overall, by label, by size of the lesion.

Beside them stand baselines that know nothing of the label or nothing of the image: what a heat map must be better than.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from focusmap.basics import Json, Reason
from focusmap.statistics import bounded_interval, percentile_interval, ratio
from focusmap.statistics.resampling import Clusters, Distribution, Resampling, Statistic, resample

PICTURE_ONLY = "picture_only"
MEAN_MASK = "mean_mask"
BASELINES = (MEAN_MASK, "centre", "edges", PICTURE_ONLY, "random")
GRID = 64
CENTRE_SIGMA = 0.25  # of the side


def mean_mask(masks: Iterable[np.ndarray]) -> np.ndarray | None:
    """Return the mean of the training masks on a grid of 64 a side; None where every mask is empty.

    On SIIM pneumothorax this alone is as good as Grad-CAM (Arun et al. 2021).

    Parameters
    ----------
    masks
        ``(*spatial) bool`` each, of any size; empty ones are left out.

    >>> mean_mask([np.ones((8, 8), bool), np.zeros((8, 8), bool)]).mean()
    np.float32(1.0)
    """
    total, n = np.zeros(()), 0
    for mask in masks:
        if mask.any():
            total = total + resized(mask.astype(np.float32), (GRID,) * mask.ndim)
            n += 1
    return (total / n).astype(np.float32) if n else None


def centre_map(shape: tuple[int, ...]) -> np.ndarray:
    """Return a Gaussian on the middle of the image, a quarter of each side wide, 1 at its centre.

    >>> centre_map((3, 3)).argmax()
    np.int64(4)
    """
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    squared = sum(x**2 for x in np.meshgrid(*axes, indexing="ij"))
    return np.asarray(np.exp(-squared / (2 * CENTRE_SIGMA**2)), dtype=np.float32)


def edges_map(image: np.ndarray) -> np.ndarray:
    """Return the Sobel gradient magnitude of an image ``(C, *spatial)``, its channels averaged.

    An edge detector looks like a good saliency map (Adebayo et al. 2018).

    >>> edges_map(np.array([[[0, 0, 1, 1]] * 3]))[1].tolist()
    [0.0, 4.0, 4.0, 0.0]
    """
    from scipy.ndimage import sobel

    grey = image.mean(axis=0, dtype=np.float32)
    squared = sum(sobel(grey, axis=axis) ** 2 for axis in range(grey.ndim))
    return np.asarray(np.sqrt(squared), dtype=np.float32)


def random_map(shape: tuple[int, ...], seed: Iterable[int]) -> np.ndarray:
    """Return uniform noise between 0 and 1; the same seed gives the same map."""
    return np.random.default_rng(list(seed)).random(shape, dtype=np.float32)


def resized(heat_map: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the map on a grid of `shape`, linear between the centres of its cells, averaged where it shrinks."""
    from scipy.ndimage import uniform_filter, zoom

    factors = [new / old for new, old in zip(shape, heat_map.shape, strict=True)]
    window = [max(round(1 / factor), 1) for factor in factors]
    smooth = heat_map.astype(np.float32)
    if max(window) > 1:
        smooth = uniform_filter(smooth, window, mode="nearest")
    return np.asarray(zoom(smooth, factors, order=1, mode="nearest", grid_mode=True), dtype=np.float32)


Columns: TypeAlias = Mapping[str, np.ndarray]
"""A measure's name to its values ``(N,)``, one a positive; NaN where it does not count."""

# These are given over all positives too, the missed ones included.
OF_POSITIVES = ("pointing_hit", "auprc", "iou", "dice", "iou_at_cut", "dice_at_cut")
SIZES = ("small", "medium", "large")
# Why a measure has no value.
NO_HITS = Reason("no-hits")
NO_MEAN_MASK = Reason("no-mean-mask")
NO_REGION = Reason("no-region")


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
class Scored:
    """One known positive with a mask, and how well its maps find the mask.

    Parameters
    ----------
    predicted
        False for a positive that the model missed.
    measures
        Method or baseline to measure to value, as `measure` gives them.
    """

    image_id: str
    patient_id: str
    label: str
    predicted: bool
    measures: Mapping[str, Mapping[str, float]]

    @property
    def size(self) -> float:
        """The lesion's share of the image."""
        return next(iter(self.measures.values()))["chance"]


def summarise(scored: Sequence[Scored], options: ScoreOptions = ScoreOptions()) -> dict[str, Json]:
    """Return the means of the measures, each with its 95 % interval, for every method and baseline.

    Returns
    -------
    dict
        ``methods`` (over all labels), ``by_target`` (label name to methods) and ``by_size`` (``small, medium, large``,
        thirds of all lesions by their share of the image: ``from``, ``to``, ``methods``). Each method has the
        measures of `measure` over true positives; those of `OF_POSITIVES` over all positives, ``..._of_positives``, in
        which a missed one is an empty map, to the baselines too, since nothing is shown of it; ``n``,
        ``n_false_negative``, ``n_patients``; and, unless it is a baseline, ``minus_mean_mask``: measure to the paired
        difference, above 0 where the map is better.
    """
    by_target: dict[str, Json] = {
        label: _by_method([one for one in scored if one.label == label], options)
        for label in dict.fromkeys(one.label for one in scored)
    }
    return {"methods": _by_method(scored, options), "by_target": by_target, "by_size": _by_size(scored, options)}


def _by_size(scored: Sequence[Scored], options: ScoreOptions) -> dict[str, Json]:
    sizes = np.array([one.size for one in scored])
    third = np.searchsorted(np.quantile(sizes, [1 / 3, 2 / 3]), sizes)
    strata: dict[str, Json] = {}
    for k in np.unique(third):
        sizes_of_third = sizes[third == k]
        members = [one for one, place in zip(scored, third, strict=True) if place == k]
        strata[SIZES[k]] = {
            "from": float(sizes_of_third.min()),
            "to": float(sizes_of_third.max()),
            "methods": _by_method(members, options),
        }
    return strata


def _by_method(scored: Sequence[Scored], options: ScoreOptions) -> dict[str, Json]:
    methods = list(dict.fromkeys(name for one in scored for name in one.measures))
    columns = {name: _columns(scored, name) for name in methods}
    gains = {name: _gains(columns[name], columns.get(MEAN_MASK, {})) for name in methods if name not in BASELINES}
    resampling = Resampling(Clusters.of([one.patient_id for one in scored]), options.n_resamples, options.seed)
    reasons = {name: _reason(scored, columns[name]) for name in methods}
    of_mean_mask = dict.fromkeys(gains, reasons.get(MEAN_MASK, NO_MEAN_MASK))
    means = _intervals(columns, reasons, resampling, are_shares=True)
    differences = _intervals(gains, of_mean_mask, resampling, are_shares=False)
    return {
        name: {
            **means[name],
            **_counts(scored, name),
            **({"minus_mean_mask": differences[name]} if name in differences else {}),
        }
        for name in methods
    }


def _columns(scored: Sequence[Scored], method: str) -> dict[str, np.ndarray]:
    predicted = np.array([one.predicted for one in scored])
    keys = dict.fromkeys(key for one in scored for key in one.measures.get(method, {}))
    values = {key: np.array([one.measures.get(method, {}).get(key, np.nan) for one in scored]) for key in keys}
    # What an empty map scores: all its pixels tie, so that its average precision is chance.
    empty = {"auprc": values["chance"]}
    columns = {key: np.where(predicted, column, np.nan) for key, column in values.items()}
    for key in OF_POSITIVES:
        if key in values:
            missed = np.where(np.isnan(values[key]), np.nan, empty.get(key, 0.0))
            columns[f"{key}_of_positives"] = np.where(predicted, values[key], missed)
    return columns


def _gains(columns: Columns, mean_mask: Columns) -> dict[str, np.ndarray]:
    return {key: columns[key] - mean_mask[key] for key in columns if key in mean_mask and key != "chance"}


def _reason(scored: Sequence[Scored], columns: Columns) -> Reason:
    """Return why a method's measures are undefined, where one is; of all baselines, the mean mask alone can lack."""
    if not any(one.predicted for one in scored):
        return NO_HITS
    return NO_MEAN_MASK if np.isnan(columns["chance"]).all() else NO_REGION


def _intervals(
    columns: Mapping[str, Columns], reasons: Mapping[str, Reason], resampling: Resampling, *, are_shares: bool
) -> dict[str, dict[str, Json]]:
    """Return the mean of every column with its interval; that of shares has a width where all are 0 or 1.

    `reasons` gives, by name, why a mean is undefined where it is.
    """
    statistics = {
        name: column_means(tuple(of_name), np.stack(list(of_name.values()), axis=1), resampling.clusters)
        for name, of_name in columns.items()
        if of_name
    }

    def described(name: str, key: str, drawn: Distribution) -> Json:
        interval = percentile_interval(drawn, reasons[name])
        if are_shares and key != "energy_ratio":
            interval = bounded_interval(interval, resampling.clusters.count(~np.isnan(columns[name][key])))
        return interval.to_dict()

    return {
        name: {key: described(name, key, drawn) for key, drawn in found.items()}
        for name, found in resample(statistics, resampling).items()
    }


def column_means(names: Sequence[str], table: np.ndarray, clusters: Clusters) -> Statistic:
    """Return the statistic of the means of the columns ``(N, K)``, by name; NaN does not count."""
    sums, counts = clusters.sums(np.nan_to_num(table)), clusters.sums((~np.isnan(table)).astype(np.float64))

    def means(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, ratio(sums @ multiplicities, counts @ multiplicities), strict=True))

    return means


def _counts(scored: Sequence[Scored], method: str) -> dict[str, Json]:
    positives = [one for one in scored if method in one.measures]
    predicted = [one for one in positives if one.predicted]
    n_patients = len({one.patient_id for one in predicted})
    return {"n": len(predicted), "n_false_negative": len(positives) - len(predicted), "n_patients": n_patients}
