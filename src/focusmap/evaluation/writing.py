"""An evaluation as files: metrics, the points of its curves and their figures; and what a run's own is held against."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from focusmap.basics import Json, read_json, read_table, write_json
from focusmap.evaluation.clinical import decision_points, smooth_calibration
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions, patients_of
from focusmap.evaluation.predictions import Predictions
from focusmap.evaluation.verdict import Evidence, with_verdict
from focusmap.statistics import Clusters, formulas
from focusmap.study import Cohort, Run

Points: TypeAlias = Mapping[str, np.ndarray]
MOST_POINTS = 500  # more cannot be told apart on a page


def roc_points(positive: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``fpr`` and ``tpr`` from (0, 0) to (1, 1), one point a distinct score; NaN where a class is absent.

    >>> roc_points(np.array([False, True]), np.array([0.2, 0.7]))["tpr"]
    array([0., 1., 1.])
    """
    tp, fp = _cumulative(positive, score)
    return {"fpr": formulas.ratio(fp, fp[-1:]), "tpr": formulas.ratio(tp, tp[-1:])}


def pr_points(positive: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``recall`` (rising) and ``precision``, one point a distinct score; recall is NaN without positives."""
    tp, fp = (counts[1:] for counts in _cumulative(positive, score))
    return {"recall": formulas.ratio(tp, tp[-1:]), "precision": formulas.ratio(tp, tp + fp)}


def calibration_bins(truth: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``mean_predicted``, ``observed`` (share positive) and ``n`` of the equal-mass bins that are not empty."""
    bins = formulas.calibration_bins(probability)
    n, predicted, observed = (np.bincount(bins, weights=w) for w in (np.ones(len(bins)), probability, truth))
    filled = n > 0
    return {"mean_predicted": predicted[filled] / n[filled], "observed": observed[filled] / n[filled], "n": n[filled]}


def curves(predictions: Predictions, truth: np.ndarray) -> dict[str, Json]:
    """Return the content of ``curves.json``: by label name ``roc``, ``pr``, ``calibration`` and ``decision``, as lists.

    Where there are patients enough, ``calibration_curve`` is the smooth course of calibration with its limits.

    A multiclass target has one entry per class, called ``NAME=CLASS``, class against the rest. Continuous targets and
    labels with one class only have none. At most 500 points a curve.
    """
    drawn: dict[str, Json] = {}
    label_truth, clusters = predictions.task.label_truth(truth), patients_of(predictions)
    for target in predictions.task.targets:
        columns = predictions.task.slice_of(target.name)
        for column, label in zip(range(columns.start, columns.stop), target.label_names, strict=True):
            known = ~np.isnan(label_truth[:, column])
            outcome = label_truth[known, column]
            if not target.is_number and 0 < (outcome >= 0.5).sum() < len(outcome):
                drawn[label] = _curves_of(outcome, predictions.probabilities[known, column], clusters.take(known))
    return drawn


def _curves_of(outcome: np.ndarray, probability: np.ndarray, clusters: Clusters) -> dict[str, Json]:
    positive = outcome >= 0.5
    smooth = smooth_calibration(outcome, probability, clusters)
    return {
        "roc": _listed(roc_points(positive, probability)),
        "pr": _listed(pr_points(positive, probability)),
        "calibration": _listed(calibration_bins(outcome, probability)),
        **({"calibration_curve": _listed(smooth)} if smooth else {}),
        "decision": _listed(decision_points(outcome, probability, clusters)),
    }


def _cumulative(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true and false positives, ``(K + 1,)``, as the threshold falls past each of K distinct scores."""
    levels, at = np.unique(score, return_inverse=True)
    tp, fp = (np.bincount(at, weights=w, minlength=len(levels))[::-1].cumsum() for w in (positive, ~positive))
    return np.append(0.0, tp), np.append(0.0, fp)


def _listed(points: Points) -> dict[str, Json]:
    n = len(next(iter(points.values())))
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))
    return {
        name: [round(float(value), 6) if np.isfinite(value) else None for value in values[chosen]]
        for name, values in points.items()
    }


METRICS, PREDICTIONS, ACCEPTANCE, CHALLENGE = "metrics.json", "predictions.csv", "acceptance.json", "challenge.json"


def write_evaluation(
    predictions: Predictions,
    truth: np.ndarray,
    settings: EvaluationOptions,
    out: Path | None,
    facts: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """Return the metrics with further facts and a verdict, and write the curves to a given folder.

    The verdict is that of a model beside which no simpler one stands. ``metrics.json`` is the caller's to write, last:
    an earlier one is removed, so that an evaluation that was ended midway is not taken for one.
    """
    metrics = with_verdict(Evidence({**evaluate_predictions(predictions, truth, settings), **(facts or {})}))
    if out is not None:
        from focusmap.figures import write_curves

        (out / METRICS).unlink(missing_ok=True)
        drawn = curves(predictions, truth)
        write_json(out / "curves.json", drawn, sealed=True)
        write_curves(metrics, drawn, out)
    return metrics


def folds_of(run: Run, predictions: Predictions) -> np.ndarray | None:
    """Return which fold has tested each row of a run's predictions, ``(N,) int``; None of a run without folds."""
    parts = run.parts()
    if parts == [run]:
        return None
    tested = [read_table(part.predictions("test"))["image_id"] for part in parts]
    fold_of = {image_id: k for k, image_ids in enumerate(tested) for image_id in image_ids}
    return np.array([fold_of[image_id] for image_id in predictions.ids["image_id"]], dtype=int)


def frozen_thresholds(run: Run, folds: np.ndarray | None) -> dict[str, float | np.ndarray]:
    """Return the operating points that were frozen on tune; where there are `folds_of` rows, of each row its fold's."""
    if folds is None:
        return {**_card_thresholds(run)}
    by_part = [_card_thresholds(part) for part in run.parts()]
    return {name: np.array([thresholds[name] for thresholds in by_part])[folds] for name in by_part[0]}


def _card_thresholds(run: Run) -> dict[str, float]:
    return cast(dict[str, float], read_json(run.model / "model.json")["thresholds"])


def clustering(cohort: Cohort) -> dict[str, Json]:
    """Return by what intervals are clustered in place of patients, image or case; empty where patients are known."""
    if cohort.study.patients == "column":
        return {}
    return {"clustered_by": "image" if cohort.study.case_column is None else "case"}
