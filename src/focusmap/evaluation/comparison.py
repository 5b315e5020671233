"""Two models on the same images, compared by the difference of every metric, from the same resamples of patients."""

from collections.abc import Mapping

import numpy as np

from focusmap.basics import InputError, Json, Reason
from focusmap.evaluation.measures import MEASURES, Sample
from focusmap.evaluation.metrics import EvaluationOptions, means_over_targets, patients_of, samples_of
from focusmap.evaluation.predictions import Predictions
from focusmap.statistics import Distribution, Resampling, intervals, paired_delong, resample

UNDEFINED = Reason("undefined-for-one")


def compare_predictions(
    first: Predictions, second: Predictions, truth: np.ndarray, options: tuple[EvaluationOptions, EvaluationOptions]
) -> dict[str, Json]:
    """Return first - second for every metric of every target, with paired patient-clustered intervals.

    Parameters
    ----------
    first, second
        Predictions of the same task for the same images in the same order.
    truth
        ``(N, T)``, NaN unknown. What one of the two cannot predict, a change without its baseline value, counts for
        neither.
    options
        One for each model, since each has its own thresholds; split, resamples and seed are the first one's.

    Returns
    -------
    dict
        ``split, n_images, n_patients, targets, mean`` as in ``metrics.json``; a binary target's ``auroc_delong`` has
        ``p`` too. Above 0 the first model has the higher value, which is worse for losses and errors.

    Raises
    ------
    InputError
        If the images or the targets differ.
    """
    _refuse_different(first, second)
    clusters, truth = patients_of(first), np.where(_unpredicted(first) | _unpredicted(second), np.nan, truth)
    resampling = Resampling(clusters, options[0].n_resamples, options[0].seed)
    samples = [samples_of(model, truth, clusters, own) for model, own in zip((first, second), options, strict=True)]
    measures = [{name: MEASURES[sample.target.kind](sample) for name, sample in own.items()} for own in samples]
    a, b = (resample({name: one.statistic for name, one in own.items()}, resampling) for own in measures)
    differences = {name: _differences(a[name], b[name]) for name in a}
    units = {
        name: {metric: min(n, measures[1][name].units[metric]) for metric, n in one.units.items()}
        for name, one in measures[0].items()
    }
    targets: dict[str, Json] = {}
    for name, found in differences.items():
        paired = (samples[0][name], samples[1][name])
        delong = _delong_difference(*paired) if paired[0].target.kind == "binary" else {}
        targets[name] = {**_described(found, units[name]), **delong}
    head: dict[str, Json] = {"split": options[0].split, "n_images": len(first), "n_patients": clusters.n}
    return {**head, "targets": targets, "mean": means_over_targets(differences, units, intervals.difference_interval)}


def _refuse_different(first: Predictions, second: Predictions) -> None:
    if first.task != second.task:
        raise InputError("the two models do not predict the same targets, so that their metrics cannot be compared.")
    if first.ids["image_id"].tolist() != second.ids["image_id"].tolist():
        raise InputError("the two models were not evaluated on the same images in the same order.")


def _unpredicted(predictions: Predictions) -> np.ndarray:
    """Return ``(N, T) bool``: where there is no prediction."""
    return np.stack([np.isnan(predictions.of(name)).any(axis=1) for name in predictions.task.names], axis=1)


def _differences(a: Mapping[str, Distribution], b: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Metrics of single classes are left to the two runs' own tables."""
    whole = [metric for metric in a if "/" not in metric]
    return {m: Distribution(a[m].value - b[m].value, a[m].resamples - b[m].resamples) for m in whole}


def _described(differences: Mapping[str, Distribution], units: Mapping[str, int]) -> dict[str, Json]:
    limits = {metric: intervals.percentile_interval(found, UNDEFINED) for metric, found in differences.items()}
    return {
        metric: intervals.difference_interval(found, units.get(metric, 0)).to_dict() for metric, found in limits.items()
    }


def _delong_difference(a: Sample, b: Sample) -> dict[str, Json]:
    delong = paired_delong(a.truth, a.probabilities[:, 0], b.probabilities[:, 0], a.clusters.codes)
    return {"auroc_delong": {**delong.difference.to_dict(), "p": delong.p}}
