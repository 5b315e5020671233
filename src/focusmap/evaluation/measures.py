"""What is measured of one target, for each kind: a statistic over resamples, and the words around it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from focusmap.basics import Json, Reason
from focusmap.evaluation.clinical import predictive_values
from focusmap.statistics import Clusters, Statistic, formulas, pair_units, rank
from focusmap.study import Target, TargetKind

SMALLEST = float(np.finfo(np.float64).eps)  # probabilities of 0 and 1 are moved by this before a logarithm
NO_TRUTH = Reason("no-truth")


@dataclass(frozen=True)
class Sample:
    """The images of one target whose truth is known.

    Parameters
    ----------
    target
        What is predicted.
    truth
        ``(n,)`` without NaN: 0 to 1, class index, or value.
    probabilities
        ``(n, L)``, one column per label name of the target; the value itself for a continuous one.
    clusters
        Which patient each image is of.
    threshold
        ``(n,)``; binary: called positive from here on.
    prevalence
        Binary: the share of positives for which predictive values are wanted too; None wants none.
    """

    target: Target
    truth: np.ndarray
    probabilities: np.ndarray
    clusters: Clusters
    threshold: np.ndarray
    prevalence: float | None = None


@dataclass(frozen=True)
class Measure:
    """A statistic of one target, and what its intervals have to know.

    Parameters
    ----------
    statistic
        From multiplicities of the patients to named metrics; ``CLASS/METRIC`` belongs to one class.
    facts
        Counts and settings that stand beside the metrics.
    reasons
        Why a metric is undefined, where it is.
    units
        Independent patients, or pairs of them, on which a proportion rests; metrics without an entry have no bounds.
    """

    statistic: Statistic
    facts: Mapping[str, Json]
    reasons: Mapping[str, Reason]
    units: Mapping[str, int] = field(default_factory=dict)


def binary_measure(sample: Sample) -> Measure:
    """Return the measure of a binary target; fractions count as positive from 0.5 on, but whole in the losses."""
    positive, called = sample.truth >= 0.5, sample.probabilities[:, 0] >= sample.threshold
    ranking = rank(positive, sample.probabilities[:, 0], sample.clusters)
    cells = np.stack([positive & called, ~positive & called, positive & ~called, ~positive & ~called], axis=1)
    sums = sample.clusters.sums(cells, *_binary_losses(sample))

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        totals = sums @ multiplicities
        n, counted = totals[:4].sum(axis=0), formulas.confusion_metrics(totals[:4])
        at = sample.prevalence
        elsewhere = {} if at is None else predictive_values(counted["sensitivity"], counted["specificity"], at)
        return {
            **ranking.areas(multiplicities),
            **counted,
            **elsewhere,
            "log_loss": formulas.ratio(totals[4], n),
            "brier": formulas.ratio(totals[5], n),
            "ece": formulas.ratio(np.abs(totals[6:]).sum(axis=0), n),
        }

    units = _binary_units(positive, called, sample.clusters)
    return Measure(statistic, _binary_facts(sample, cells), _binary_reasons(positive), units)


def _binary_facts(sample: Sample, cells: np.ndarray) -> dict[str, Json]:
    tp, fp, fn, tn = (int(count) for count in cells.sum(axis=0))
    return {
        "positive": sample.target.positive,
        "n": len(cells),
        "n_positive": tp + fn,
        "confusion": [[tn, fp], [fn, tp]],
        **({} if sample.prevalence is None else {"prevalence": sample.prevalence}),
        **_threshold_facts(sample.threshold),
    }


def _threshold_facts(threshold: np.ndarray) -> dict[str, Json]:
    """Return the threshold, or where folds have their own the median over images, and each."""
    distinct = np.unique(threshold)
    if len(distinct) <= 1:
        return {"threshold": float(distinct[0]) if len(distinct) else None}
    return {"threshold": float(np.median(threshold)), "fold_thresholds": [float(value) for value in distinct]}


def _binary_losses(sample: Sample) -> tuple[np.ndarray, ...]:
    """Columns of log loss, squared error, and the gap of each calibration bin."""
    y, p = sample.truth, sample.probabilities[:, 0]
    safe = np.clip(p, SMALLEST, 1 - SMALLEST)
    log_loss = -(y * np.log(safe) + (1 - y) * np.log1p(-safe))
    return log_loss[:, None], ((p - y) ** 2)[:, None], formulas.calibration_gaps(y, p)


def _binary_reasons(positive: np.ndarray) -> dict[str, Reason]:
    lacking = Reason("one-class-none-positive" if not positive.any() else "one-class-none-negative")
    reasons = {
        **dict.fromkeys(("auroc", "average_precision", "balanced_accuracy"), lacking),
        "sensitivity": Reason("none-positive"),
        "specificity": Reason("none-negative"),
        "ppv": Reason("none-called-positive"),
        "npv": Reason("none-called-negative"),
        "ppv_at_prevalence": Reason("none-called-positive"),
        "npv_at_prevalence": Reason("none-called-negative"),
        "f1": Reason("none-positive-or-called"),
    }
    return reasons if len(positive) else {}


def _binary_units(positive: np.ndarray, called: np.ndarray, clusters: Clusters) -> dict[str, int]:
    pairs = pair_units(positive.astype(np.float64), clusters)
    return {
        **dict.fromkeys(("auroc", "average_precision", "balanced_accuracy"), pairs),
        "accuracy": clusters.count(np.full(len(positive), True)),
        "sensitivity": clusters.count(positive),
        "specificity": clusters.count(~positive),
        "ppv": clusters.count(called),
        "npv": clusters.count(~called),
        "f1": clusters.count(positive | called),
    }


def multiclass_measure(sample: Sample) -> Measure:
    """Return the measure of a multiclass target; macro means run over the classes that the sample holds."""
    n_classes = len(sample.target.classes)
    truth, called = sample.truth.astype(int), sample.probabilities.argmax(axis=1)
    counts = np.bincount(truth, minlength=n_classes)
    rankings = [rank(truth == c, sample.probabilities[:, c], sample.clusters) for c in range(n_classes)]
    cells = (truth * n_classes + called)[:, None] == np.arange(n_classes**2)
    sums = sample.clusters.sums(cells, *_class_losses(sample))

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        totals = sums @ multiplicities
        confusion = totals[: n_classes**2].reshape(n_classes, n_classes, -1)
        areas = np.stack([ranking.auroc(multiplicities) for ranking in rankings])
        n = confusion.sum(axis=(0, 1))
        return {
            "auroc": areas[counts > 0].mean(axis=0) if counts.any() else areas[0],
            **formulas.class_metrics(confusion, counts > 0),
            "log_loss": formulas.ratio(totals[n_classes**2], n),
            "ece": formulas.ratio(np.abs(totals[n_classes**2 + 1 :]).sum(axis=0), n),
            **_each_class(sample.target, areas, confusion),
        }

    facts = _class_facts(sample.target, cells.sum(axis=0).reshape(n_classes, n_classes))
    return Measure(statistic, facts, _class_reasons(sample.target, counts), _class_units(sample, truth, called))


def _class_facts(target: Target, confusion: np.ndarray) -> dict[str, Json]:
    counts = {name: int(count) for name, count in zip(target.classes, confusion.sum(axis=1), strict=True)}
    facts: dict[str, Json] = {
        "classes": list(target.classes),
        "n": int(confusion.sum()),
        "counts": counts,
        "confusion": [[int(count) for count in row] for row in confusion],
    }
    absent: list[Json] = [name for name, count in counts.items() if not count]
    return {**facts, "left_out": absent} if absent else facts


def _class_losses(sample: Sample) -> tuple[np.ndarray, ...]:
    """Columns of log loss and the gap of each calibration bin of the called class's probability."""
    p, truth = sample.probabilities, sample.truth.astype(int)
    log_loss = -np.log(np.clip(p[np.arange(len(p)), truth], SMALLEST, 1 - SMALLEST))
    right = (p.argmax(axis=1) == truth).astype(np.float64)
    return log_loss[:, None], formulas.calibration_gaps(right, p.max(axis=1))


def _each_class(target: Target, areas: np.ndarray, confusion: np.ndarray) -> dict[str, np.ndarray]:
    metrics: dict[str, np.ndarray] = {}
    for position, name in enumerate(target.classes):
        decision = formulas.confusion_metrics(formulas.one_vs_rest(confusion, position))
        metrics[f"{name}/auroc"] = areas[position]
        for metric in ("sensitivity", "specificity", "ppv", "f1"):
            metrics[f"{name}/{metric}"] = decision[metric]
    return metrics


def _class_reasons(target: Target, counts: np.ndarray) -> dict[str, Reason]:
    if not counts.any():
        return {}
    reasons = {"auroc": Reason("one-class")}
    for name, count in zip(target.classes, counts, strict=True):
        reasons[f"{name}/auroc"] = Reason("one-class-every" if count else "one-class-none", name=name)
        reasons[f"{name}/sensitivity"] = Reason("none", name=name)
        reasons[f"{name}/specificity"] = Reason("every", name=name)
        reasons[f"{name}/ppv"] = Reason("none-called", name=name)
        reasons[f"{name}/f1"] = Reason("none-or-called", name=name)
    return reasons


def _class_units(sample: Sample, truth: np.ndarray, called: np.ndarray) -> dict[str, int]:
    count, names = sample.clusters.count, sample.target.classes
    positives = [count(truth == position) for position in range(len(names))]
    smallest = min((n for n in positives if n), default=0)
    units = dict.fromkeys(("auroc", "balanced_accuracy", "f1"), smallest)
    units["accuracy"] = count(np.full(len(truth), True))
    for position, name in enumerate(names):
        negatives = count(truth != position)
        units[f"{name}/auroc"] = min(positives[position], negatives)
        units[f"{name}/sensitivity"] = positives[position]
        units[f"{name}/specificity"] = negatives
        units[f"{name}/ppv"] = count(called == position)
        units[f"{name}/f1"] = count((truth == position) | (called == position))
    return units


def ordinal_measure(sample: Sample) -> Measure:
    """Return the multiclass measure with what the order of classes adds: quadratic kappa, mean absolute error."""
    measure, n_classes = multiclass_measure(sample), len(sample.target.classes)
    cells = (sample.truth.astype(int) * n_classes + sample.probabilities.argmax(axis=1))[:, None]
    sums = sample.clusters.sums((cells == np.arange(n_classes**2)).astype(np.float64))
    distance = np.abs(np.subtract.outer(np.arange(n_classes), np.arange(n_classes)))

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        confusion = (sums @ multiplicities).reshape(n_classes, n_classes, -1)
        return {
            **measure.statistic(multiplicities),
            "quadratic_kappa": formulas.quadratic_kappa(confusion),
            "mae": formulas.ratio(np.einsum("ij,ijb->b", distance, confusion), confusion.sum(axis=(0, 1))),
        }

    reasons = {**measure.reasons, "quadratic_kappa": Reason("one-class-throughout")}
    return Measure(statistic, measure.facts, reasons if len(sample.truth) else {}, measure.units)


def continuous_measure(sample: Sample) -> Measure:
    """Return the measure of a continuous target."""
    sums = sample.clusters.sums(formulas.moments(sample.truth, sample.probabilities[:, 0]))
    reasons = {"r2": Reason("constant-truth"), "pearson": Reason("constant")}

    def statistic(multiplicities: np.ndarray) -> dict[str, np.ndarray]:
        return formulas.continuous_metrics(sums @ multiplicities)

    return Measure(statistic, {"n": len(sample.truth)}, reasons if len(sample.truth) else {})


MEASURES: dict[TargetKind, Callable[[Sample], Measure]] = {
    "binary": binary_measure,
    "multiclass": multiclass_measure,
    "ordinal": ordinal_measure,
    "continuous": continuous_measure,
}
COMPARED_BY: Mapping[str, str] = {
    "binary": "auroc",
    "multiclass": "auroc",
    "ordinal": "quadratic_kappa",
    "continuous": "mae",
}
"""The metric by which models are compared, for each kind of target."""
JUDGED_BY: Mapping[str, str] = {"binary": "auroc", "multiclass": "auroc", "ordinal": "auroc", "continuous": "r2"}
"""The metric that is held against guessing, for each kind of target."""
LESS_IS_BETTER = ("mae", "rmse", "log_loss", "brier", "ece")
