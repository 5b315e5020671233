"""Predictions against the truth: every metric with its patient-clustered interval, as plain values for JSON.

Means over targets leave out what is undefined, and name it. An anomaly score is held against labels that it has never
seen: does it rank what they name higher?
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

import numpy as np

from focusmap.basics import InputError, Json, Reason
from focusmap.evaluation.clinical import recalibration
from focusmap.evaluation.measures import MEASURES, NO_TRUTH, Measure, Sample
from focusmap.evaluation.predictions import Predictions
from focusmap.statistics import Clusters, Distribution, Resampling, clustered_delong, intervals, resample
from focusmap.study import DEFAULT_THRESHOLD, Cohort, Task

Resampled: TypeAlias = Mapping[str, Mapping[str, Distribution]]
"""By target, then by metric."""

AVERAGED = ("auroc", "average_precision")  # other metrics depend on each target's own threshold or scale


def means_over_targets(
    found: Resampled,
    units: Mapping[str, Mapping[str, int]],
    bounded: Callable[[intervals.Interval, int], intervals.Interval] = intervals.bounded_interval,
) -> dict[str, Json]:
    """Return the plain mean of AUROC and of average precision over the targets for which they are defined.

    Parameters
    ----------
    found
        Distributions by target and metric, all from the same resamples.
    units
        By target and metric, the patients on which a bounded metric rests; none where it has no bounds.
    bounded
        What becomes of an interval that rests on so many patients.

    Returns
    -------
    dict
        By metric ``value, low, high, n_targets, left_out``; metrics that no target has are absent.
    """
    means: dict[str, Json] = {}
    for metric in AVERAGED:
        having = {name: metrics[metric] for name, metrics in found.items() if metric in metrics}
        if having:
            rests_on = {name: units.get(name, {}).get(metric, 0) for name in having}
            means[metric] = _mean(having, rests_on, bounded)
    return means


def _mean(
    having: Mapping[str, Distribution],
    units: Mapping[str, int],
    bounded: Callable[[intervals.Interval, int], intervals.Interval],
) -> dict[str, Json]:
    """Averaged resample by resample, so that the interval knows how the targets hang together."""
    defined = {name: distribution for name, distribution in having.items() if not np.isnan(distribution.value)}
    left_out: list[Json] = [name for name in having if name not in defined]
    reason = Reason("undefined-for-all")
    if not defined:
        return {**intervals.Interval.undefined(reason).to_dict(), "n_targets": 0, "left_out": left_out}
    value = float(np.mean([distribution.value for distribution in defined.values()]))
    drawn = np.mean([distribution.resamples for distribution in defined.values()], axis=0)
    plain = intervals.percentile_interval(Distribution(value, drawn), reason)
    interval = bounded(plain, min(units[name] for name in defined))
    if interval == plain:
        interval = _widened(plain, defined, units, bounded)
    return {**interval.to_dict(), "n_targets": len(defined), "left_out": left_out}


def _widened(
    mean: intervals.Interval,
    defined: Mapping[str, Distribution],
    units: Mapping[str, int],
    bounded: Callable[[intervals.Interval, int], intervals.Interval],
) -> intervals.Interval:
    """Return the interval of a mean, each perfect target, which no resample changes, at its own limits instead."""
    low, high = mean.low, mean.high
    for name, distribution in defined.items():
        plain = intervals.percentile_interval(distribution, Reason("undefined-for-all"))
        own = bounded(plain, units[name])
        if low is not None and plain.low is not None and own.low is not None:
            low -= (plain.low - own.low) / len(defined)
        if high is not None and plain.high is not None and own.high is not None:
            high += (own.high - plain.high) / len(defined)
    return replace(mean, low=low, high=high)


@dataclass(frozen=True)
class EvaluationOptions:
    """How predictions are evaluated.

    Parameters
    ----------
    thresholds
        For binary targets, chosen on tune: one number, or ``(N,)`` where models of several folds each have their
        own. A target without one is called positive from 0.5 on.
    split
        Name of the images that are evaluated; only written down.
    n_resamples, seed
        Number of bootstrap resamples, and the seed that makes them repeatable.
    prevalence
        By binary target, the share of positives among those for whom predictive values are wanted.
    """

    thresholds: Mapping[str, float | np.ndarray] = field(default_factory=dict)
    split: str = "test"
    n_resamples: int = 1000
    seed: int = 0
    prevalence: Mapping[str, float] = field(default_factory=dict)


def evaluate_predictions(predictions: Predictions, truth: np.ndarray, options: EvaluationOptions) -> dict[str, Json]:
    """Return the content of ``metrics.json``.

    Parameters
    ----------
    predictions
        N rows; patients are told apart by ``patient_id``. Without that column every image counts as a patient, and
        ``clustered_by`` says ``image``.
    truth
        ``(N, T)``, one column per target; rows with NaN are left out of that target.
    options
        Thresholds, split, resamples and seed.

    Returns
    -------
    dict
        ``split, n_images, n_patients, clustered_by, targets, mean``. A target's ``n_patients_rarest`` counts the
        patients of its rarest class, or of a value all. Every metric has ``value, low, high``; an
        undefined one has None and a ``reason``, and the means over targets name it under ``left_out``.
    """
    clusters = patients_of(predictions)
    samples = samples_of(predictions, truth, clusters, options)
    measures = {name: MEASURES[sample.target.kind](sample) for name, sample in samples.items()}
    resampling = Resampling(clusters, options.n_resamples, options.seed)
    distributions = resample({name: measure.statistic for name, measure in measures.items()}, resampling)
    targets: dict[str, Json] = {}
    for name, measure in measures.items():
        targets[name] = _describe(samples[name], measure, distributions[name], options)
    return {
        "split": options.split,
        "n_images": len(predictions),
        "n_patients": clusters.n,
        "clustered_by": "patient" if "patient_id" in predictions.ids else "image",
        "targets": targets,
        "mean": means_over_targets(distributions, {name: measure.units for name, measure in measures.items()}),
    }


def patients_of(predictions: Predictions) -> Clusters:
    """Return the patients of the images, or one cluster an image where there is no ``patient_id`` column."""
    if "patient_id" not in predictions.ids:
        return Clusters.single(len(predictions))
    return Clusters.of(predictions.ids["patient_id"].astype(str).to_numpy(dtype=np.str_))


def samples_of(
    predictions: Predictions, truth: np.ndarray, clusters: Clusters, options: EvaluationOptions
) -> dict[str, Sample]:
    """Return for each target the images whose truth is known."""
    samples = {}
    for position, target in enumerate(predictions.task.targets):
        known = ~np.isnan(truth[:, position])
        stated_threshold = options.thresholds.get(target.name, DEFAULT_THRESHOLD)
        threshold = np.broadcast_to(np.asarray(stated_threshold, dtype=np.float64), known.shape)[known]
        probabilities = predictions.of(target.name)[known]
        assert not np.isnan(probabilities).any(), "the readers of predictions refuse cells without a number"
        stated, of_whom = options.prevalence.get(target.name), clusters.take(known)
        samples[target.name] = Sample(target, truth[known, position], probabilities, of_whom, threshold, stated)
    return samples


def _describe(
    sample: Sample, measure: Measure, found: Mapping[str, Distribution], options: EvaluationOptions
) -> dict[str, Json]:
    n_rarest = measure.units.get("auroc", sample.clusters.count(np.full(len(sample.truth), True)))
    described: dict[str, Json] = {"kind": sample.target.kind, **measure.facts, "n_patients_rarest": n_rarest}
    per_class: dict[str, dict[str, Json]] = {
        name: {"n_patients_rarest": measure.units.get(f"{name}/auroc", 0)} for name in sample.target.classes
    }
    for metric, distribution in found.items():
        name, _, of_class = metric.rpartition("/")
        place = per_class[name] if name else described
        place[of_class] = _interval(metric, distribution, measure).to_dict()
    if sample.target.kind == "binary":
        described["auroc_delong"] = _delong(sample, measure).to_dict()
        for name, interval in recalibration(sample.truth, sample.probabilities[:, 0], sample.clusters).items():
            described[name] = interval.to_dict()
        described["threshold_source"] = "tune" if sample.target.name in options.thresholds else "default"
    elif sample.target.classes:
        described["per_class"] = per_class
    return described


def _interval(metric: str, distribution: Distribution, measure: Measure) -> intervals.Interval:
    reason = measure.reasons.get(metric, NO_TRUTH)
    if metric.rpartition("/")[2] in ("sensitivity", "specificity"):
        return intervals.proportion_interval(distribution, reason, measure.units.get(metric, 0))
    interval = intervals.percentile_interval(distribution, reason, centred=metric == "ece")
    return intervals.bounded_interval(interval, measure.units.get(metric, 0))


def _delong(sample: Sample, measure: Measure) -> intervals.Interval:
    interval = clustered_delong(sample.truth, sample.probabilities[:, 0], sample.clusters.codes)
    if interval.value is not None:
        return interval
    return intervals.Interval.undefined(measure.reasons.get("auroc", NO_TRUTH), interval.method)


# A score is no probability: nothing is said of what depends on an operating point or on calibration.
KEPT = ("kind", "positive", "n", "n_positive", "auroc", "average_precision")


def refuse_other_kinds(task: Task) -> None:
    """Raise `InputError` where a label is not binary."""
    for target in task.targets:
        if target.kind != "binary":
            raise InputError(
                f"target {target.name!r} is {target.kind}; an anomaly score is compared with binary labels. Name the "
                "two classes, or make a column of 0 and 1."
            )


def compare_with_labels(scores: Predictions, labelled: Cohort, seed: int) -> dict[str, Json]:
    """Return how well anomaly scores rank the images of each binary label above the others.

    Raises
    ------
    InputError
        If the table of labels has no row for an image.
    """
    ids = list(scores.ids["image_id"])
    unknown = [image_id for image_id in ids if image_id not in labelled.positions]
    if unknown:
        raise InputError(f"{labelled.study.label_file}: has no row for {unknown[0]}, which the run has predicted.")
    task = labelled.task
    repeated = np.repeat(scores.logits, task.n_logits, axis=1)
    settings = EvaluationOptions(seed=seed)
    metrics = evaluate_predictions(Predictions(task, scores.ids, repeated, repeated), labelled.of(ids).truth, settings)
    targets = cast(dict[str, dict[str, Json]], metrics["targets"])
    return {name: {key: values[key] for key in KEPT} for name, values in targets.items()}
