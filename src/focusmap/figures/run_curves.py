"""How a training went, how far its maps are to be trusted, and what they score: curves and bars of a run's files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from focusmap.basics import Json, branch, items, number, series
from focusmap.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


History = Mapping[str, np.ndarray]
"""Columns of `history.csv`, each ``(epochs,) float``, NaN where an epoch has no value."""

PANELS = (
    ("Loss", (("train_loss", "train", style.NEGATIVE), ("tune_loss", "tune", style.POSITIVE))),
    ("AUROC on tune, mean over labels", (("tune_auroc", "tune", style.POSITIVE),)),
    (
        "Balance of the loss",
        (("positive_loss", "positives", style.POSITIVE), ("negative_loss", "negatives", style.NEGATIVE)),
    ),
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
    filled = [(title, [line for line in lines if np.any(history.get(line[0], 0))]) for title, lines in PANELS]
    filled = [(title, lines) for title, lines in filled if lines]
    figure, panels = style.row_of_panels(len(filled))
    epochs = _epochs(history)
    for axes, (title, lines) in zip(panels, filled, strict=True):
        for key, name, colour in lines:
            axes.plot(epochs, history[key], color=colour, linewidth=1.5, label=name, marker=_marker(epochs), ms=3)
        _mark_best(axes, epochs, history)
        _finish(axes, title)
    return figure


def compared_learning_figure(histories: Mapping[str, History]) -> "Figure":
    """Return loss, on train and on tune, and AUROC on tune of several runs on common axes: a colour a run."""
    filled = [
        (title, known)
        for title, lines in PANELS[:2]
        if (known := [line for line in lines if any(line[0] in history for history in histories.values())])
    ]
    figure, panels = style.row_of_panels(len(filled), height=3.0)
    for axes, (title, lines) in zip(panels, filled, strict=True):
        for position, (name, history) in enumerate(histories.items()):
            _draw_run(axes, [key for key, _, _ in lines if key in history], history, (name, position))
        if len(lines) > 1:
            for key, part, _ in lines:
                axes.plot([], [], STYLES[key], color=style.MUTED, lw=1.2, label=part)
        _finish(axes, title)
    return figure


def _draw_run(axes: "Axes", keys: Sequence[str], history: History, run: tuple[str, int]) -> None:
    """Draw the columns `keys` of a run, given by its name and position, as one entry of the legend."""
    (name, position), epochs = run, _epochs(history)
    marker = ("", "o", "s")[position // len(style.PALETTE) % 3] or _marker(epochs)
    for i, key in enumerate(keys):
        axes.plot(
            epochs,
            history[key],
            STYLES[key],
            color=style.PALETTE[position % len(style.PALETTE)],
            lw=1.5,
            label=style.plain(name, 28) if i == 0 else None,
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
        axes.axvline(epochs[improved[-1]], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))


def _finish(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    style.name_axes(axes, "epoch", "")
    style.name_panel(axes, title)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=style.SMALL - 0.5, frameon=False, handlelength=1.6, borderaxespad=0.2, labelspacing=0.3)


@dataclass(frozen=True)
class TrustPanel:
    """One panel: two lines ``(S,)`` over `x` ``(S,)``, the first of which is the map's."""

    title: str
    x: np.ndarray
    lines: Mapping[str, np.ndarray]
    x_name: str
    y_name: str


def trust_figure(entry: Mapping[str, Json]) -> "Figure | None":
    """Return deletion, insertion, ROAD and randomisation of one method of ``trust.json``; None if it has none."""
    panels = [panel for panel in (*_removal_panels(entry), _randomisation_panel(entry)) if panel.x.size]
    if not panels:
        return None
    figure, all_axes = style.row_of_panels(len(panels), height=2.7)
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw(axes, panel)
    return figure


def _removal_panels(entry: Mapping[str, Json]) -> Sequence[TrustPanel]:
    panels = []
    for name in ("deletion", "insertion"):
        curve, control = (series(branch(entry, name).get(key)) for key in ("curve", "control"))
        x = np.linspace(0, 100, curve.size)
        words = "% removed" if name == "deletion" else "% put back"
        lines = {"map": curve, "misplaced map": control}
        panels.append(TrustPanel(name.capitalize(), x, lines, words, "mean score"))
    road = branch(entry, "road")
    lines = {"most relevant first": series(road.get("most_first")), "least first": series(road.get("least_first"))}
    panels.append(TrustPanel("ROAD", series(road.get("percentiles")), lines, "% imputed", "mean score"))
    return panels


def _randomisation_panel(entry: Mapping[str, Json]) -> TrustPanel:
    cascade = branch(entry, "randomisation")
    steps = items(cascade.get("steps"))
    ssim = [1.0, *series([branch(step, "signed").get("ssim") for step in steps])] if steps else []
    level = series([branch(cascade, "between_images", "signed").get("ssim")])
    lines = {"same image": np.array(ssim), "different images": np.repeat(level, len(ssim))}
    x = np.linspace(0, 100, len(ssim))
    return TrustPanel("Randomisation", x, lines, "% of layers random", "median SSIM")


def _draw(axes: "Axes", panel: TrustPanel) -> None:
    for (name, y), colour, dashes in zip(
        panel.lines.items(), (style.POSITIVE, style.NEGATIVE), ("-", "--"), strict=True
    ):
        axes.plot(panel.x, y, dashes, color=colour, linewidth=1.5, label=name)
    axes.set_xlim(0, 100)
    axes.tick_params(colors=style.MUTED)
    style.name_axes(axes, panel.x_name, panel.y_name)
    style.name_panel(axes, panel.title)
    axes.legend(fontsize=style.SMALL - 0.5, frameon=False, handlelength=1.6, borderaxespad=0.2, labelspacing=0.3)


BASELINE_COLOUR = "#b4bcc5"
# Inches: a bar, the room for names at the left, and what stands above and below the panels.
BAR, NAMES, GAP, ABOVE, BELOW = 0.28, 2.0, 0.22, 0.36, 0.3


@dataclass(frozen=True)
class ScoreRow:
    """A method or a baseline by the name that is shown, and its scores as in ``scores.json``."""

    name: str
    scores: Mapping[str, Json]
    is_baseline: bool


def score_figure(rows: Sequence[ScoreRow], titles: Mapping[str, str], against_chance: Sequence[str] = ()) -> "Figure":
    """Return one panel for each of `titles` (measure to title), a bar for each row, whiskers for the interval.

    Measures of `against_chance` get a dashed line at chance, the lesion's share of the image.
    """
    height = ABOVE + BAR * len(rows) + BELOW
    width = (style.PAGE_WIDTH - NAMES) / len(titles)
    figure = style.new_figure(style.PAGE_WIDTH, height)
    for column, (key, title) in enumerate(titles.items()):
        left = (NAMES + column * width) / style.PAGE_WIDTH
        axes = figure.add_axes((left, BELOW / height, (width - GAP) / style.PAGE_WIDTH, BAR * len(rows) / height))
        _draw_bars(axes, rows, key)
        chance = number(branch(rows[0].scores, "chance").get("value")) if key in against_chance else None
        if chance is not None:
            axes.axvline(chance, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(
            range(len(rows)), [style.plain(row.name, 30) for row in rows] if column == 0 else [""] * len(rows)
        )
        style.name_panel(axes, title)
    return figure


def _draw_bars(axes: "Axes", rows: Sequence[ScoreRow], key: str) -> None:
    style.tidy(axes)
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=style.SMALL, labelcolor=style.INK)
    metrics = [branch(row.scores, key) for row in rows]
    values, low, high = (series([metric.get(name) for metric in metrics]) for name in ("value", "low", "high"))
    places = np.arange(len(rows))
    colours = [BASELINE_COLOUR if row.is_baseline else style.NEGATIVE for row in rows]
    axes.barh(places, np.nan_to_num(values), height=0.62, color=colours)
    axes.hlines(places, low, high, color=style.INK, linewidth=1.4)
