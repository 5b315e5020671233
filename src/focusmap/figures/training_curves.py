"""How a training went: loss, AUROC on tune, and what positives and negatives added to the loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from focusmap.figures.panels import row_of_panels
from focusmap.figures.style import MUTED, NEGATIVE, PALETTE, POSITIVE, SMALL, name_axes, name_panel, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[str, np.ndarray]
"""Columns of `history.csv`, each ``(epochs,) float``, NaN where an epoch has no value."""

PANELS = (
    ("Loss", (("train_loss", "train", NEGATIVE), ("tune_loss", "tune", POSITIVE))),
    ("AUROC on tune, mean over labels", (("tune_auroc", "tune", POSITIVE),)),
    ("Balance of the loss", (("positive_loss", "positives", POSITIVE), ("negative_loss", "negatives", NEGATIVE))),
)


STYLES = {"train_loss": "--", "tune_loss": "-", "tune_auroc": "-"}


def has_curves(history: History) -> bool:
    """Return whether there is anything to draw."""
    return any(key in history for _, lines in PANELS for key, _, _ in lines)


def has_balance(history: History) -> bool:
    """Return whether positives and negatives add to the loss: a column of zeros says nothing."""
    return any(np.any(history.get(key, 0)) for key, _, _ in PANELS[2][1])


def learning_figure(history: History) -> "Figure":
    """Return the panels for which `history` has columns; the dashed line is the best epoch on tune.

    A column of zeros says nothing: only binary targets divide their loss among positives and negatives.
    """
    shown = [(title, [line for line in lines if np.any(history.get(line[0], 0))]) for title, lines in PANELS]
    shown = [(title, lines) for title, lines in shown if lines]
    figure, panels = row_of_panels(len(shown))
    epochs = _epochs(history)
    for axes, (title, lines) in zip(panels, shown, strict=True):
        for key, name, colour in lines:
            axes.plot(epochs, history[key], color=colour, linewidth=1.5, label=name, marker=_marker(epochs), ms=3)
        _mark_best(axes, epochs, history)
        _finish(axes, title)
    return figure


def compared_learning_figure(histories: Mapping[str, History]) -> "Figure":
    """Return loss, on train and on tune, and AUROC on tune of several runs on common axes: a colour a run."""
    shown = [
        (title, found)
        for title, lines in PANELS[:2]
        if (found := [line for line in lines if any(line[0] in history for history in histories.values())])
    ]
    figure, panels = row_of_panels(len(shown), height=3.0)
    for axes, (title, lines) in zip(panels, shown, strict=True):
        for position, (name, history) in enumerate(histories.items()):
            _draw_run(axes, [key for key, _, _ in lines if key in history], history, (name, position))
        if len(lines) > 1:
            for key, part, _ in lines:
                axes.plot([], [], STYLES[key], color=MUTED, lw=1.2, label=part)
        _finish(axes, title)
    return figure


def _draw_run(axes: "Axes", keys: Sequence[str], history: History, run: tuple[str, int]) -> None:
    """Draw the columns `keys` of a run, given by its name and position, as one entry of the legend."""
    (name, position), epochs = run, _epochs(history)
    marker = ("", "o", "s")[position // len(PALETTE) % 3] or _marker(epochs)
    for i, key in enumerate(keys):
        axes.plot(
            epochs,
            history[key],
            STYLES[key],
            color=PALETTE[position % len(PALETTE)],
            lw=1.5,
            label=plain(name, 28) if i == 0 else None,
            ms=3,
            marker=marker,
        )


def _epochs(history: History) -> np.ndarray:
    longest = max(len(column) for column in history.values())
    return np.asarray(history.get("epoch", np.arange(1, longest + 1)))


def _marker(epochs: np.ndarray) -> str:
    # A line through one point is invisible.
    return "o" if len(epochs) < 4 else ""


def _mark_best(axes: "Axes", epochs: np.ndarray, history: History) -> None:
    improved = np.flatnonzero(history.get("improved", np.zeros(0)) == 1)
    if improved.size:
        axes.axvline(epochs[improved[-1]], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))


def _finish(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    name_axes(axes, "epoch", "")
    name_panel(axes, title)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=SMALL - 0.5, frameon=False, handlelength=1.6, borderaxespad=0.2, labelspacing=0.3)
