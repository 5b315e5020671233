"""An evaluation as files: metrics, curves and their figures; and what a run's own evaluation is held against."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from focusmap.evaluation import EvaluationOptions, curves, evaluate_predictions
from focusmap.evaluation.predictions import Predictions
from focusmap.files import Json, read_json, read_table, write_json
from focusmap.study.cohort import Cohort
from focusmap.study.run import Run

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"


def write_evaluation(
    predictions: Predictions,
    truth: np.ndarray,
    settings: EvaluationOptions,
    out: Path | None,
    facts: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """Return the metrics with further facts, and write them with the curves and their images to a given folder."""
    metrics = {**evaluate_predictions(predictions, truth, settings), **(facts or {})}
    if out is not None:
        from focusmap.figures.curves import write_curves

        drawn = curves(predictions, truth)
        write_json(out / METRICS, metrics)
        write_json(out / "curves.json", drawn)
        write_curves(metrics, drawn, out)
    return metrics


def frozen_thresholds(run: Run, predictions: Predictions) -> dict[str, float | np.ndarray]:
    """Return the operating points that were frozen on tune; in a run with folds, each image has its own fold's."""
    parts = run.parts()
    if parts == [run]:
        return {**_card_thresholds(run)}
    rows = {image_id: i for i, image_id in enumerate(predictions.ids["image_id"])}
    per_image = {name: np.full(len(predictions), np.nan) for name in _card_thresholds(parts[0])}
    for part in parts:
        members = [rows[image_id] for image_id in read_table(part.predictions("test"))["image_id"]]
        for name, threshold in _card_thresholds(part).items():
            per_image[name][members] = threshold
    return {**per_image}


def _card_thresholds(run: Run) -> dict[str, float]:
    return cast(dict[str, float], read_json(run.model / "model.json")["thresholds"])


def clustering(cohort: Cohort) -> dict[str, Json]:
    """Return what stands for a patient where nobody knows them: the row, or the case."""
    if cohort.study.patients == "column":
        return {}
    return {"clustered_by": "image" if cohort.study.case_column is None else "case"}
