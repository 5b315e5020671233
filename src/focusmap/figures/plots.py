"""ROC, precision-recall and calibration curves, one small panel per label, and confusion matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from focusmap.figures.panels import grid_of_squares, name_outer_axes
from focusmap.figures.style import INK, MUTED, NEGATIVE, NORMAL, POSITIVE, SMALL, name_panel, new_figure, plain

# In square points.
FULLEST_DOT = 60.0

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """One label's curve.

    Parameters
    ----------
    name
        The label.
    x, y
        ``(n,) float`` between 0 and 1: false and true positive rate, recall and precision, or mean predicted
        probability and observed share of positives.
    note
        The number that belongs to the curve, with its interval, as text; under the name.
    point
        (x, y) of the operating point; None draws none.
    baseline
        Precision of guessing, the share of positives; only for precision-recall.
    counts
        ``(n,)``: answers that each point stands for; only for calibration.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    note: str = ""
    point: tuple[float, float] | None = None
    baseline: float | None = None
    counts: np.ndarray | None = None


def roc_figure(curves: Sequence[Curve]) -> "Figure":
    """Return ROC curves; the dashed line is guessing, the dot the operating point."""
    figure, panels = grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(curve.x, curve.y, color=NEGATIVE, linewidth=1.6, solid_joinstyle="round")
        _finish(axes, curve)
    name_outer_axes(panels, "1 − specificity", "sensitivity")
    return figure


def pr_figure(curves: Sequence[Curve]) -> "Figure":
    """Return precision-recall curves; the dashed line is the share of positives, what guessing would give."""
    figure, panels = grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        if curve.baseline is not None:
            axes.axhline(curve.baseline, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        # A precision holds until the next recall: interpolating between the two would promise too much.
        axes.plot(curve.x, curve.y, color=NEGATIVE, linewidth=1.6, drawstyle="steps-pre")
        _finish(axes, curve)
    name_outer_axes(panels, "sensitivity (recall)", "precision (PPV)")
    return figure


def calibration_figure(curves: Sequence[Curve]) -> "Figure":
    """Return a dot a bin of predicted probabilities, its area the share of the fullest bin; without `counts` all alike.

    No line joins them: between a full bin and a lone image it would show a course that nobody has seen.
    """
    figure, panels = grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        counts = np.ones(len(curve.x)) if curve.counts is None else curve.counts
        areas = FULLEST_DOT * counts / max(counts.max(initial=0), 1)
        axes.scatter(curve.x, curve.y, s=areas, color=NEGATIVE, edgecolor="white", linewidth=0.4, clip_on=False)
        _finish(axes, curve)
    name_outer_axes(panels, "predicted probability", "observed share")
    return figure


def confusion_figure(matrix: np.ndarray, classes: Sequence[str]) -> "Figure":
    """Return a confusion matrix, rows the truth, shaded by the share of each row.

    Parameters
    ----------
    matrix
        ``(K, K) int``: images of true class (row) that were given a class (column).
    """
    slanted = _are_slanted(classes)
    side = max(len(classes) * (0.8 if len(classes) <= 6 else 0.56), 1.7)
    # Room for names of at most 18 letters, and for the words beside and above them.
    names = 0.45 + 0.075 * min(max(map(len, classes)), 18)
    above = 0.35 + (0.6 * names if slanted else 0.2)
    figure = new_figure(side + names + (1.1 if slanted else 0.2), side + above + 0.1)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((names / width, 0.1 / height, side / width, side / height))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(matrix.shape):
        _write_cell(axes, (row, column), int(matrix[row, column]), float(share[row, column]))
    _name_classes(axes, [plain(name, 18) for name in classes], slanted=slanted)
    return figure


def _finish(axes: "Axes", curve: Curve) -> None:
    if curve.point is not None:
        axes.plot(*curve.point, marker="o", color=POSITIVE, markersize=5.5, markeredgecolor="white", clip_on=False)
    name_panel(axes, curve.name, curve.note)


def _write_cell(axes: "Axes", place: tuple[int, int], count: int, share: float) -> None:
    colour = "white" if share > 0.7 else INK
    row, column = place
    axes.text(column, row - 0.08, f"{count:,}", ha="center", va="center", fontsize=NORMAL, color=colour)
    axes.text(column, row + 0.24, f"{100 * share:.0f} %", ha="center", va="center", fontsize=SMALL - 1.5, color=colour)


def _are_slanted(names: Sequence[str]) -> bool:
    return len(names) > 4 or max(map(len, names)) > 10


def _name_classes(axes: "Axes", names: list[str], *, slanted: bool) -> None:
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(names)), names, fontsize=SMALL, color=INK)
    if slanted:
        for name in axes.get_xticklabels():
            name.set(rotation=40, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, fontsize=SMALL, color=INK)
    axes.set_xlabel("predicted", fontsize=SMALL, color=MUTED)
    axes.set_ylabel("truth", fontsize=SMALL, color=MUTED)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
