"""Predictions against the truth: metrics, calibration, operating points, curves."""

from focusmap.evaluation.comparison import compare_predictions
from focusmap.evaluation.curves import curves
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.table import read_prediction_table

__all__ = ["EvaluationOptions", "compare_predictions", "curves", "evaluate_predictions", "read_prediction_table"]
