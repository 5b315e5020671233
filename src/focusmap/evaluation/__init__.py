"""Predictions against the truth: metrics, calibration, operating points, curves."""

from focusmap.evaluation.metrics import EvaluationOptions, compare_predictions, evaluate_predictions
from focusmap.evaluation.predictions import read_prediction_table
from focusmap.evaluation.writing import curves

__all__ = ["EvaluationOptions", "compare_predictions", "curves", "evaluate_predictions", "read_prediction_table"]
