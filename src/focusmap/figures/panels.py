"""Small multiples: a grid of equal panels in which only the outer ones name their axes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from focusmap.figures.style import new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_WIDTH = 10.0
COLUMNS = 4
# Inches around a panel: room for tick labels, axis names and a two-line title.
LEFT, RIGHT, ABOVE, BELOW = 0.52, 0.12, 0.52, 0.46
SIDE_OF_FEW = 2.55


def grid_of_squares(n: int) -> tuple["Figure", list["Axes"]]:
    """Return a figure with `n` square panels for values from 0 to 1, at most four beside each other.

    The figure is never wider than a page; one to three panels are not stretched to fill it.
    """
    columns = min(n, COLUMNS)
    side = min(SIDE_OF_FEW, PAGE_WIDTH / columns - LEFT - RIGHT)
    rows = -(-n // columns)
    width, height = columns * (LEFT + side + RIGHT), rows * (ABOVE + side + BELOW)
    figure = new_figure(width, height)
    panels = []
    for row, column in _places(n, columns):
        left = column * (LEFT + side + RIGHT) + LEFT
        bottom = height - (row + 1) * (ABOVE + side + BELOW) + BELOW
        panels.append(figure.add_axes((left / width, bottom / height, side / width, side / height)))
    for axes in panels:
        tidy(axes)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
    return figure, panels


def name_outer_axes(panels: list["Axes"], x: str, y: str) -> None:
    """Name the y axis of the first column and the x axis of each column's last panel."""
    from focusmap.figures.style import name_axes

    columns = min(len(panels), COLUMNS)
    for position, axes in enumerate(panels):
        has_panel_below = position + columns < len(panels)
        name_axes(axes, "" if has_panel_below else x, y if position % columns == 0 else "")


def row_of_panels(n: int, height: float = 2.6) -> tuple["Figure", list["Axes"]]:
    """Return a figure of the page's width with `n` panels beside each other, at least three to the page."""
    width = PAGE_WIDTH / max(n, 3)
    figure = new_figure(width * n, height)
    box = (0.32, BELOW + 0.02)
    panels = []
    for column in range(n):
        left, wide = (column * width + LEFT + 0.06) / (width * n), (width - LEFT - RIGHT - 0.1) / (width * n)
        panels.append(figure.add_axes((left, box[1] / height, wide, (height - sum(box)) / height)))
    for axes in panels:
        tidy(axes)
    return figure, panels


def _places(n: int, columns: int) -> Iterator[tuple[int, int]]:
    for position in range(n):
        yield divmod(position, columns)
