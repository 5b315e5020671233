"""Predictions against the truth: every metric with its patient-clustered interval, as plain values for JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from focusmap.evaluation.means import means_over_targets
from focusmap.evaluation.measures import MEASURES, NO_TRUTH, Measure, Sample
from focusmap.evaluation.predictions import Predictions
from focusmap.files import Json
from focusmap.statistics.delong import clustered_delong
from focusmap.statistics.intervals import Interval, bounded_interval, percentile_interval
from focusmap.statistics.resampling import Clusters, Distribution, Resampling, resample
from focusmap.study.task import DEFAULT_THRESHOLD


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
    """

    thresholds: Mapping[str, float | np.ndarray] = field(default_factory=dict)
    split: str = "test"
    n_resamples: int = 1000
    seed: int = 0


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
        ``split, n_images, n_patients, clustered_by, targets, mean``. Every metric has ``value, low, high``; an
        undefined one has None and a ``reason``, and the means over targets name it under ``left_out``.
    """
    clusters = patients_of(predictions)
    samples = samples_of(predictions, truth, clusters, options)
    measures = {name: MEASURES[sample.target.kind](sample) for name, sample in samples.items()}
    resampling = Resampling(clusters, options.n_resamples, options.seed)
    found = resample({name: measure.statistic for name, measure in measures.items()}, resampling)
    targets: dict[str, Json] = {}
    for name, measure in measures.items():
        targets[name] = _describe(samples[name], measure, found[name], options)
    return {
        "split": options.split,
        "n_images": len(predictions),
        "n_patients": clusters.n,
        "clustered_by": "patient" if "patient_id" in predictions.ids else "image",
        "targets": targets,
        "mean": means_over_targets(found, {name: measure.units for name, measure in measures.items()}),
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
        given = options.thresholds.get(target.name, DEFAULT_THRESHOLD)
        threshold = np.broadcast_to(np.asarray(given, dtype=np.float64), known.shape)[known]
        shown = predictions.of(target.name)[known]
        assert not np.isnan(shown).any(), "the readers of predictions refuse cells without a number"
        samples[target.name] = Sample(target, truth[known, position], shown, clusters.take(known), threshold)
    return samples


def _describe(
    sample: Sample, measure: Measure, found: Mapping[str, Distribution], options: EvaluationOptions
) -> dict[str, Json]:
    described: dict[str, Json] = {"kind": sample.target.kind, **measure.facts}
    per_class: dict[str, dict[str, Json]] = {name: {} for name in sample.target.classes}
    for metric, distribution in found.items():
        name, _, of_class = metric.rpartition("/")
        place = per_class[name] if name else described
        place[of_class] = _interval(metric, distribution, measure).to_dict()
    if sample.target.kind == "binary":
        described["auroc_delong"] = _delong(sample, measure).to_dict()
        described["threshold_source"] = "tune" if sample.target.name in options.thresholds else "default"
    elif sample.target.classes:
        described["per_class"] = per_class
    return described


def _interval(metric: str, distribution: Distribution, measure: Measure) -> Interval:
    reason = measure.reasons.get(metric, NO_TRUTH)
    interval = percentile_interval(distribution, reason, centred=metric == "ece")
    return bounded_interval(interval, measure.units.get(metric, 0))


def _delong(sample: Sample, measure: Measure) -> Interval:
    interval = clustered_delong(sample.truth, sample.probabilities[:, 0], sample.clusters.codes)
    if interval.value is not None:
        return interval
    return Interval.undefined(measure.reasons.get("auroc", NO_TRUTH), interval.method)
