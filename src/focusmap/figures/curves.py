"""The images of an evaluation, from `metrics.json` and `curves.json` as dicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focusmap.figures.json_tree import branch, items, number, series, text
from focusmap.figures.plots import Curve, calibration_figure, confusion_figure, pr_figure, roc_figure
from focusmap.figures.style import save_figure
from focusmap.files import Json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tree = Mapping[str, Json]


@dataclass(frozen=True)
class CurveKind:
    """One kind of curve: its keys in `curves.json`, and how it is drawn and annotated."""

    key: str
    x: str
    y: str
    metric: str
    heading: str
    draw: Callable[[Sequence[Curve]], "Figure"]


KINDS: dict[str, CurveKind] = {
    "roc": CurveKind("roc", "fpr", "tpr", "auroc", "AUROC", roc_figure),
    "precision_recall": CurveKind("pr", "recall", "precision", "average_precision", "AP", pr_figure),
    "calibration": CurveKind("calibration", "mean_predicted", "observed", "ece", "ECE", calibration_figure),
}


def write_curves(metrics: Tree, curves: Tree, folder: Path) -> list[Path]:
    """Write ``roc.png``, ``precision_recall.png``, ``calibration.png`` and ``confusion_N.png``; return their paths.

    Parameters
    ----------
    metrics
        As in ``metrics.json``.
    curves
        As in ``curves.json``: for each label name (``NAME``, or ``NAME=CLASS``) ``roc``, ``pr``, ``calibration``.
    """
    written = []
    for name, kind in KINDS.items():
        found = curves_of(kind, metrics, curves)
        if found:
            written.append(folder / f"{name}.png")
            save_figure(kind.draw(found), written[-1])
    for position, (_, figure) in enumerate(confusion_figures(metrics)):
        written.append(folder / f"confusion_{position + 1}.png")
        save_figure(figure, written[-1])
    return written


def curves_of(kind: CurveKind, metrics: Tree, curves: Tree) -> list[Curve]:
    """Return one curve per label, in the order of the file; labels whose curve is undefined are left out."""
    found = []
    for label, entry in curves.items():
        points = branch(entry, kind.key)
        x, y = series(points.get(kind.x)), series(points.get(kind.y))
        if x.size and x.size == y.size and np.isfinite(x).any():
            counts = series(points.get("n"))
            curve = Curve(label, x, y, counts=counts if counts.size == x.size else None)
            found.append(_annotated(curve, kind, numbers_of(metrics, label)))
    return found


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
