"""Predictions against the truth: metrics, calibration, operating points, curves."""

from focusmap.evaluation.curves import curves
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.table import read_prediction_table

__all__ = ["EvaluationOptions", "curves", "evaluate_predictions", "read_prediction_table"]
