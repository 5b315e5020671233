"""Curves find their numbers, for binary targets and for classes, of the right label."""

from pathlib import Path

import numpy as np

from focusmap.basics import Json
from focusmap.evaluation.writing import pr_points
from focusmap.figures.plots import KINDS, calibration_figure, curves_of, write_curves

ROC: dict[str, Json] = {"fpr": [0, 0.5, 1], "tpr": [0, 0.9, 1]}
BINARY: dict[str, Json] = {
    "n": 10, "n_positive": 4, "auroc": {"value": 0.8, "low": 0.7, "high": 0.9},
    "sensitivity": {"value": 0.9}, "specificity": {"value": 0.5}, "ppv": {"value": None, "reason": "none predicted"},
}  # fmt: skip


def test_binary_curve_carries_number_and_operating_point() -> None:
    (curve,) = curves_of(KINDS["roc"], {"targets": {"a": BINARY}}, {"a": {"roc": ROC}})
    assert curve.note == "AUROC 0.800 (0.700 to 0.900)"
    assert curve.point == (0.5, 0.9)


def test_a_class_finds_its_numbers_under_its_target() -> None:
    metrics: dict[str, Json] = {"targets": {"label": {"per_class": {"x": BINARY}}}}
    first, second = curves_of(KINDS["roc"], metrics, {"label=x": {"roc": ROC}, "label=y": {"roc": ROC}})
    assert (first.name, second.name) == ("label=x", "label=y")
    assert first.note
    assert not second.note


def test_undefined_curves_are_left_out_and_undefined_points_not_drawn() -> None:
    pr: Json = {"recall": [1, 0], "precision": [0.4, 1]}
    curves: dict[str, Json] = {"a": {"pr": pr, "roc": {"fpr": [], "tpr": []}}, "b": {"pr": None}}
    metrics: dict[str, Json] = {"targets": {"a": BINARY}}
    assert curves_of(KINDS["roc"], metrics, curves) == []
    (curve,) = curves_of(KINDS["precision_recall"], metrics, curves)
    assert curve.point is None
    assert curve.baseline == 0.4


def test_a_dot_is_as_large_as_its_bin_is_full() -> None:
    points: Json = {"mean_predicted": [0.1, 0.4, 0.9], "observed": [0.0, 0.5, 1.0], "n": [80, 40, 1]}
    (curve,) = curves_of(KINDS["calibration"], {"targets": {"a": BINARY}}, {"a": {"calibration": points}})
    (axes,) = calibration_figure([curve]).axes
    (dots,) = axes.collections
    areas = dots.get_sizes()
    np.testing.assert_allclose(areas / areas.max(), [1, 1 / 2, 1 / 80])
    assert [len(line.get_xdata()) for line in axes.lines] == [2], "the diagonal alone is a line"


def test_images_are_written_for_what_exists(tmp_path: Path) -> None:
    metrics: dict[str, Json] = {"targets": {"a": BINARY, "l": {"classes": ["x", "y"], "confusion": [[3, 1], [0, 2]]}}}
    written = write_curves(metrics, {"a": {"roc": ROC}}, tmp_path)
    assert sorted(path.name for path in written) == ["confusion_1.png", "roc.png"]
    assert all(path.is_file() for path in written)


def test_guessing_is_right_in_the_share_of_positives_of_a_class_too() -> None:
    positive, score = np.arange(8) < 2, np.array([0.9, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1])
    points = {key: values.tolist() for key, values in pr_points(positive, score).items()}
    (curve,) = curves_of(KINDS["precision_recall"], {"targets": {}}, {"label=x": {"pr": points}})
    assert curve.baseline == 0.25
