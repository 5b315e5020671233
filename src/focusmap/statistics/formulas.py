"""Metrics from counts and sums, each for many resamples at once; NaN marks what is undefined.

All arrays end in an axis of b resamples. Higher is better except for errors and losses.
"""

import numpy as np

N_BINS = 10
"""Of the calibration."""


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return numerator / denominator, NaN where the denominator is not positive.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    undefined = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    quotient: np.ndarray = np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return quotient


def confusion_metrics(table: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics of a two-class decision from ``(4, b)`` counts: true and false positives, then negatives.

    >>> counts = np.array([[8.0], [1.0], [2.0], [9.0]])  # tp, fp, fn, tn
    >>> {name: round(float(value[0]), 3) for name, value in confusion_metrics(counts).items()}["ppv"]
    0.889
    """
    tp, fp, fn, tn = table
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    return {
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
    }


def one_vs_rest(confusion: np.ndarray, position: int) -> np.ndarray:
    """Return ``(4, b)`` tp, fp, fn, tn of one class from a ``(C, C, b)`` confusion (truth, prediction)."""
    tp = confusion[position, position]
    fp = confusion[:, position].sum(axis=0) - tp
    fn = confusion[position].sum(axis=0) - tp
    return np.stack([tp, fp, fn, confusion.sum(axis=(0, 1)) - tp - fp - fn])


def class_metrics(confusion: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, and balanced accuracy and F1 as plain means over the classes that are `present`.

    Parameters
    ----------
    confusion
        ``(C, C, b)`` counts, truth by prediction.
    present
        ``(C,) bool``, the classes that the sample holds; a resample without one of them gives NaN.
    """
    correct = np.einsum("ccb->cb", confusion)
    truth, called = confusion.sum(axis=1), confusion.sum(axis=0)
    recall, f1 = ratio(correct, truth), ratio(2 * correct, truth + called)
    undefined = np.full(confusion.shape[2], np.nan)
    return {
        "accuracy": ratio(correct.sum(axis=0), truth.sum(axis=0)),
        "balanced_accuracy": recall[present].mean(axis=0) if present.any() else undefined,
        "f1": f1[present].mean(axis=0) if present.any() else undefined,
    }


def quadratic_kappa(confusion: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa with quadratic weights (Cohen 1968) of ``(C, C, b)`` counts of ordered classes.

    1 is perfect, 0 chance; NaN where truth and prediction are one and the same class throughout.
    """
    positions = np.arange(len(confusion))
    weight = (positions[:, None] - positions[None, :]) ** 2
    truth, called = confusion.sum(axis=1), confusion.sum(axis=0)
    observed = np.einsum("ij,ijb->b", weight, confusion)
    expected = np.einsum("ij,ib,jb->b", weight, truth, called)
    return 1 - ratio(observed * truth.sum(axis=0), expected)


def moments(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``(N, 8)`` columns whose sums `continuous_metrics` needs, taken about the median of the truth.

    The shift changes no metric; without it large values of little spread would cancel.
    """
    centre = np.median(truth) if len(truth) else 0.0
    y, p = truth - centre, predicted - centre
    return np.stack([np.ones(len(y)), y, p, y * y, p * p, y * p, np.abs(p - y), (p - y) ** 2], axis=1)


def continuous_metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return mean absolute error, root mean squared error, R2 and Pearson's r from ``(8, b)`` sums of `moments`.

    R2 is NaN where the truth is constant, r where the truth or the prediction is.
    """
    n, y, p, yy, pp, yp, absolute, squared = sums
    spread_y, spread_p = _spread(yy, y, n), _spread(pp, p, n)
    pearson = ratio(yp - ratio(y * p, n), np.sqrt(spread_y * spread_p))
    return {
        "mae": ratio(absolute, n),
        "rmse": np.sqrt(ratio(squared, n)),
        "r2": 1 - ratio(squared, spread_y),
        "pearson": np.clip(pearson, -1, 1),
    }


def _spread(squares: np.ndarray, total: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Sum of squares about the mean, exactly 0 where only rounding is left."""
    spread = squares - ratio(total**2, n)
    return np.where(spread > 1e-12 * squares, spread, 0.0)


def calibration_bins(probability: np.ndarray) -> np.ndarray:
    """Return ``(N,) int``, the bin of each probability among `N_BINS` of equal mass; equal ones share a bin.

    >>> calibration_bins(np.array([0.1, 0.2, 0.9, 0.9]))
    array([1, 3, 7, 7])
    """
    ordered = np.sort(probability)
    left, right = (np.searchsorted(ordered, probability, side=side) for side in ("left", "right"))
    middle = (left + right) / 2
    return np.minimum(middle * N_BINS / max(len(probability), 1), N_BINS - 1).astype(int)


def calibration_gaps(outcome: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return ``(N, N_BINS)``: outcome - probability in the column of the image's bin, 0 elsewhere.

    The expected calibration error is the sum over bins of the absolute column sums, divided by N (Naeini et al.,
    AAAI 2015; equal-mass bins).
    """
    bins = calibration_bins(probability)
    return np.where(bins[:, None] == np.arange(N_BINS), (outcome - probability)[:, None], 0.0)
