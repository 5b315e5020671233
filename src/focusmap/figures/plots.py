"""ROC, precision-recall, calibration and decision curves, one small panel per label, and confusion matrices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focusmap.basics import Json, branch, items, number, series, text
from focusmap.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FULLEST_DOT = 60.0  # in square points
FEWEST_CALIBRATED = 10


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
    beside
        Further columns: the smooth course of calibration (``predicted, observed, low, high``), or what stands beside
        the net benefit at each x (``low, high, act_on_all, gain_low``).
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    note: str = ""
    point: tuple[float, float] | None = None
    baseline: float | None = None
    counts: np.ndarray | None = None
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)


def roc_figure(curves: Sequence[Curve]) -> "Figure":
    """Return ROC curves; the dashed line is guessing, the dot the operating point."""
    figure, panels = style.grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(curve.x, curve.y, color=style.NEGATIVE, linewidth=1.6, solid_joinstyle="round")
        _finish(axes, curve)
    style.name_outer_axes(panels, "1 − specificity", "sensitivity")
    return figure


def pr_figure(curves: Sequence[Curve]) -> "Figure":
    """Return precision-recall curves; the dashed line is the share of positives, what guessing would give."""
    figure, panels = style.grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        if curve.baseline is not None:
            axes.axhline(curve.baseline, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        # A precision holds until the next recall: interpolating between the two would promise too much.
        axes.plot(curve.x, curve.y, color=style.NEGATIVE, linewidth=1.6, drawstyle="steps-pre")
        _finish(axes, curve)
    style.name_outer_axes(panels, "sensitivity (recall)", "precision (PPV)")
    return figure


def calibration_figure(curves: Sequence[Curve]) -> "Figure":
    """Return a dot a bin of predicted probabilities, its area the share of the fullest bin; without `counts` all alike.

    No line joins them: between a full bin and a lone image it would show a course that nobody has seen. Where there
    are patients enough, the smooth course is drawn with its limits.
    """
    figure, panels = style.grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        counts = np.ones(len(curve.x)) if curve.counts is None else curve.counts
        # Of a rare label all that happens lies near 0.
        reach = min(max(1.15 * float(np.max([curve.x, curve.y])), 0.1), 1.02)
        if reach < 0.75:
            axes.set_xlim(-0.02 * reach, reach)
            axes.set_ylim(-0.02 * reach, reach)
            ticks = [0.0, reach / 2, reach]
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])
        areas = FULLEST_DOT * counts / max(counts.max(initial=0), 1)
        if curve.beside:
            x, y, low, high = (curve.beside[name] for name in ("predicted", "observed", "low", "high"))
            axes.fill_between(x, low, high, color=style.NEGATIVE, alpha=0.15, linewidth=0)
            axes.plot(x, y, color=style.NEGATIVE, linewidth=1.2)
        axes.scatter(curve.x, curve.y, s=areas, color=style.NEGATIVE, edgecolor="white", linewidth=0.4, clip_on=False)
        _finish(axes, curve)
    style.name_outer_axes(panels, "predicted probability", "observed share")
    return figure


def decision_figure(curves: Sequence[Curve]) -> "Figure":
    """Return decision curves with their limits; dashed is acting on all, grey acting on none.

    The note says from where to where the model beats both, its whole interval above the better of them.
    """
    from matplotlib.ticker import MaxNLocator

    figure, panels = style.grid_of_squares(len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        low, high, of_all = (curve.beside[name] for name in ("low", "high", "act_on_all"))
        axes.fill_between(curve.x, low, high, color=style.NEGATIVE, alpha=0.15, linewidth=0)
        axes.axhline(0, color=style.MUTED, linewidth=0.8)
        axes.plot(curve.x, of_all, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(curve.x, curve.y, color=style.NEGATIVE, linewidth=1.6)
        top = max(float(np.nanmax(curve.y)), float(of_all[0]), 0.02)
        axes.set_ylim(-0.25 * top, 1.1 * top)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter("{x:g}")
        _finish(axes, replace(curve, note=_range_of_benefit(curve)))
    style.name_outer_axes(panels, "probability from which one acts", "net benefit")
    return figure


def _range_of_benefit(curve: Curve) -> str:
    above = curve.x[curve.beside["gain_low"] > 0]
    if not len(above):
        return "never shown above acting on all or none"
    gap = "" if len(above) == ((curve.x >= above[0]) & (curve.x <= above[-1])).sum() else ", with gaps"
    return f"above both from {100 * above[0]:.0f} % to {100 * above[-1]:.0f} %{gap}"


def agreement_figure(truth: np.ndarray, predicted: np.ndarray, name: str) -> "Figure":
    """Return predicted against true values, and their differences with the limits of agreement.

    Bland and Altman, Lancet 1986: the mean difference, and 1.96 standard deviations either side of it.
    """
    figure = style.new_figure(9.2, 3.9)
    scatter, apart = (figure.add_axes((left, 0.15, 0.36, 0.72)) for left in (0.09, 0.6))
    for axes in (scatter, apart):
        style.tidy(axes)
    ends = [float(f(np.concatenate([truth, predicted]))) for f in (np.min, np.max)]
    scatter.plot(ends, ends, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    scatter.scatter(truth, predicted, s=13, color=style.NEGATIVE, edgecolor="white", linewidth=0.4)
    difference = predicted - truth
    middle, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    apart.scatter((truth + predicted) / 2, difference, s=13, color=style.NEGATIVE, edgecolor="white", linewidth=0.4)
    for level, dashes in ((middle, "-"), (middle - spread, (0, (4, 3))), (middle + spread, (0, (4, 3)))):
        apart.axhline(level, color=style.POSITIVE, linewidth=1.1, linestyle=dashes)
    style.name_axes(scatter, "reference", "predicted")
    style.name_axes(apart, "mean of both", "predicted − reference")
    style.name_panel(scatter, name)
    limits = f"limits of agreement {middle - spread:.4g} to {middle + spread:.4g}".replace("-", "−")
    style.name_panel(apart, f"mean difference {middle:.3g}".replace("-", "−"), limits)
    return figure


def abstention_figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> "Figure":
    """Return the share of right answers against the share of rows that are answered, a line per target."""
    figure = style.new_figure(6.4, 3.6)
    axes = figure.add_axes((0.11, 0.15, 0.55, 0.78))
    style.tidy(axes)
    for position, (name, (answered, right)) in enumerate(curves.items()):
        colour = style.PALETTE[position % len(style.PALETTE)]
        axes.plot(answered, right, marker="o", markersize=3.5, linewidth=1.4, color=colour, label=style.plain(name, 26))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(min([0.5, *(float(right.min()) - 0.03 for _, right in curves.values())]), 1.01)
    style.name_axes(axes, "share answered with one class", "share of these that are right")
    axes.legend(fontsize=style.SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.0))
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
    figure = style.new_figure(side + names + (1.1 if slanted else 0.2), side + above + 0.1)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((names / width, 0.1 / height, side / width, side / height))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(matrix.shape):
        _write_cell(axes, (row, column), int(matrix[row, column]), float(share[row, column]))
    _name_classes(axes, [style.plain(name, 18) for name in classes], slanted=slanted)
    return figure


def _finish(axes: "Axes", curve: Curve) -> None:
    if curve.point is not None:
        axes.plot(
            *curve.point, marker="o", color=style.POSITIVE, markersize=5.5, markeredgecolor="white", clip_on=False
        )
    style.name_panel(axes, curve.name, curve.note)


def _write_cell(axes: "Axes", place: tuple[int, int], count: int, share: float) -> None:
    colour = "white" if share > 0.7 else style.INK
    row, column = place
    axes.text(column, row - 0.08, f"{count:,}", ha="center", va="center", fontsize=style.NORMAL, color=colour)
    axes.text(
        column, row + 0.24, f"{100 * share:.0f} %", ha="center", va="center", fontsize=style.SMALL - 1.5, color=colour
    )


def _are_slanted(names: Sequence[str]) -> bool:
    return len(names) > 4 or max(map(len, names)) > 10


def _name_classes(axes: "Axes", names: list[str], *, slanted: bool) -> None:
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(names)), names, fontsize=style.SMALL, color=style.INK)
    if slanted:
        for name in axes.get_xticklabels():
            name.set(rotation=40, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, fontsize=style.SMALL, color=style.INK)
    axes.set_xlabel("predicted", fontsize=style.SMALL, color=style.MUTED)
    axes.set_ylabel("truth", fontsize=style.SMALL, color=style.MUTED)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


Tree = Mapping[str, Json]


@dataclass(frozen=True)
class CurveKind:
    """One kind of curve: its keys in `curves.json`, how it is drawn and annotated, and the key of what is beside it."""

    key: str
    x: str
    y: str
    metric: str
    heading: str
    draw: Callable[[Sequence[Curve]], "Figure"]
    beside: str = ""


KINDS: dict[str, CurveKind] = {
    "roc": CurveKind("roc", "fpr", "tpr", "auroc", "AUROC", roc_figure),
    "precision_recall": CurveKind("pr", "recall", "precision", "average_precision", "AP", pr_figure),
    "calibration": CurveKind(
        "calibration", "mean_predicted", "observed", "ece", "ECE", calibration_figure, "calibration_curve"
    ),
    "decision": CurveKind("decision", "acted_on", "net_benefit", "", "", decision_figure, "decision"),
}


def write_curves(metrics: Tree, curves: Tree, folder: Path) -> list[Path]:
    """Write a PNG for each of `KINDS`, such as ``roc.png``, and ``confusion_N.png``; return their paths.

    Parameters
    ----------
    metrics
        As in ``metrics.json``.
    curves
        As in ``curves.json``: for each label name (``NAME``, or ``NAME=CLASS``) ``roc``, ``pr``, ``calibration``,
        ``decision``.
    """
    written = []
    for name, kind in KINDS.items():
        drawn = curves_of(kind, metrics, curves)
        if drawn:
            written.append(folder / f"{name}.png")
            style.save_figure(kind.draw(drawn), written[-1])
    for position, (_, figure) in enumerate(confusion_figures(metrics)):
        written.append(folder / f"confusion_{position + 1}.png")
        style.save_figure(figure, written[-1])
    return written


def curves_of(kind: CurveKind, metrics: Tree, curves: Tree) -> list[Curve]:
    """Return one curve per label, in the order of the file; labels whose curve is undefined are left out.

    Calibration is left out below ten positives, too: its dots would be single images.
    """
    drawn = []
    for label, entry in curves.items():
        points = branch(entry, kind.key)
        x, y = series(points.get(kind.x)), series(points.get(kind.y))
        if x.size and x.size == y.size and np.isfinite(x).any():
            counts = series(points.get("n"))
            beside = (
                {name: series(values) for name, values in branch(entry, kind.beside).items()} if kind.beside else {}
            )
            curve = Curve(label, x, y, counts=counts if counts.size == x.size else None, beside=beside)
            if kind.key == "calibration" and curve.counts is not None and float(counts @ y) < FEWEST_CALIBRATED:
                continue
            drawn.append(_annotated(curve, kind, numbers_of(metrics, label)))
    return drawn


def numbers_of(metrics: Tree, label: str) -> Tree:
    """Return the metrics of a target, or of the class that a label ``NAME=CLASS`` stands for."""
    targets = branch(metrics, "targets")
    if label in targets:
        return branch(targets, label)
    owner = next((name for name in targets if label.startswith(f"{name}=")), "")
    return branch(targets, owner, "per_class", label.removeprefix(f"{owner}="))


def confusion_figures(metrics: Tree) -> Iterator[tuple[str, "Figure"]]:
    """Yield target and figure of each confusion matrix in the metrics."""
    for target, entry in branch(metrics, "targets").items():
        values = branch(entry)
        rows = [series(row) for row in items(values.get("confusion"))]
        classes = [text(name) for name in items(values.get("classes"))]
        if rows and len(rows) == len(classes):
            yield target, confusion_figure(np.array(rows).astype(int), classes)


def interval_text(metric: Json) -> str:
    """Return a metric with its 95 % interval as text; an empty string where it is undefined.

    >>> interval_text({"value": 0.8123, "low": 0.7, "high": 0.9})
    '0.812 (0.700 to 0.900)'
    """
    value, low, high = (number(branch(metric).get(key)) for key in ("value", "low", "high"))
    if value is None:
        return ""
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _annotated(curve: Curve, kind: CurveKind, numbers: Tree) -> Curve:
    words = interval_text(numbers.get(kind.metric))
    curve = replace(curve, note=f"{kind.heading} {words}" if words else "")
    sensitivity, specificity, ppv = (
        number(branch(numbers, key).get("value")) for key in ("sensitivity", "specificity", "ppv")
    )
    if kind.key == "roc" and sensitivity is not None and specificity is not None:
        return replace(curve, point=(1 - specificity, sensitivity))
    if kind.key == "pr":
        point = (sensitivity, ppv) if sensitivity is not None and ppv is not None else None
        # Whoever calls all images positive is right in the share of positives: the lowest point of full recall.
        return replace(curve, point=point, baseline=float(curve.y[curve.x == np.nanmax(curve.x)].min()))
    return curve
