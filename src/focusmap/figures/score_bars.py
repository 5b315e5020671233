"""Scores of heat maps as bars with their intervals, the baselines under them: one panel per measure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from focusmap.figures.json_tree import branch, number
from focusmap.figures.panels import PAGE_WIDTH
from focusmap.figures.style import INK, MUTED, NEGATIVE, SMALL, name_panel, new_figure, plain, tidy
from focusmap.files import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    width = (PAGE_WIDTH - NAMES) / len(titles)
    figure = new_figure(PAGE_WIDTH, height)
    for column, (key, title) in enumerate(titles.items()):
        left = (NAMES + column * width) / PAGE_WIDTH
        axes = figure.add_axes((left, BELOW / height, (width - GAP) / PAGE_WIDTH, BAR * len(rows) / height))
        _draw_bars(axes, rows, key)
        chance = number(branch(rows[0].scores, "chance").get("value")) if key in against_chance else None
        if chance is not None:
            axes.axvline(chance, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), [plain(row.name, 30) for row in rows] if column == 0 else [""] * len(rows))
        name_panel(axes, title)
    return figure


def _draw_bars(axes: "Axes", rows: Sequence[ScoreRow], key: str) -> None:
    tidy(axes)
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=SMALL, labelcolor=INK)
    metrics = [branch(row.scores, key) for row in rows]
    values, low, high = (_series(metrics, name) for name in ("value", "low", "high"))
    places = np.arange(len(rows))
    colours = [BASELINE_COLOUR if row.is_baseline else NEGATIVE for row in rows]
    axes.barh(places, np.nan_to_num(values), height=0.62, color=colours)
    axes.hlines(places, low, high, color=INK, linewidth=1.4)


def _series(metrics: Sequence[Mapping[str, Json]], name: str) -> np.ndarray:
    return np.array([np.nan if (x := number(metric.get(name))) is None else x for metric in metrics])
