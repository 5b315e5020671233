"""One look for every figure: colours, sizes, small multiples, and figures that share no state with pyplot."""

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ImageFont

from focusmap.basics import atomic, chinese_typeface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito (2008): told apart with every common colour blindness, and in grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
POSITIVE, NEGATIVE = PALETTE[1], PALETTE[0]
INK, MUTED, GRID = "#1b1f24", "#59636e", "#d8dde3"
FAMILY = "DejaVu Sans"
CHINESE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
SMALL, NORMAL = 8.0, 9.0
PNG_DPI = 150
# Resolution at which the width of words is measured.
PIXELS_PER_POINT = 4


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty white figure of that many inches, drawn by Agg and unknown to pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(text: str, limit: int = 0) -> str:
    """Return `text` safe from matplotlib's formula reader, and cut with an ellipsis beyond `limit` characters.

    >>> plain("cost in $", 0)
    'cost in \\\\$'
    >>> plain("a very long name", 8)
    'a very…'
    """
    if limit and len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return " ".join(text.split()).replace("$", r"\$")


def font(pixels: float, words: str = "", *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return a typeface for `words` that are drawn straight onto pixels: matplotlib's own, if that has the letters."""
    return _font(pixels, chinese=bool(CHINESE.search(words)), bold=bold)


@lru_cache(maxsize=8)
def _font(pixels: float, *, chinese: bool, bold: bool) -> ImageFont.FreeTypeFont:
    from matplotlib.font_manager import FontProperties, findfont

    if chinese and (typeface := chinese_typeface()):
        return ImageFont.truetype(typeface.file, round(pixels), index=typeface.index)
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(findfont(FontProperties(family=FAMILY, weight=weight)), round(pixels))


@lru_cache
def families() -> list[str]:
    """Return the typefaces of figures: matplotlib's own and, where the machine has one, one with Chinese letters."""
    from matplotlib.font_manager import fontManager

    typeface = chinese_typeface()
    if typeface is None:
        return [FAMILY]
    n_known = len(fontManager.ttflist)
    fontManager.addfont(typeface.file)
    added = [entry.name for entry in fontManager.ttflist[n_known:]]
    return [FAMILY, typeface.family if typeface.family in added else added[0]]


def _lend_letters(figure: "Figure") -> None:
    """Let Chinese names in a figure borrow the letters that matplotlib's own typeface lacks."""
    from matplotlib.text import Text

    for words in figure.findobj(Text):
        if isinstance(words, Text) and CHINESE.search(words.get_text()):
            # One weight is all that such typefaces surely have.
            words.set(fontfamily=families(), fontweight="normal")


def fitted(words: str, width: int, letters: ImageFont.FreeTypeFont) -> str:
    """Return `words` on one line; an ellipsis stands for their middle where they would be wider than `width` pixels.

    The names of files often differ at their ends alone.
    """
    words = " ".join(words.split())
    if letters.getlength(words) <= width:
        return words
    n_letters = len(words) - 1
    while n_letters and letters.getlength(_shortened(words, n_letters)) > width:
        n_letters -= 1
    return _shortened(words, n_letters)


def _shortened(words: str, kept: int) -> str:
    """Return `kept` letters of the words, as many of their start as of their end."""
    n_last = kept // 2
    return f"{words[: kept - n_last].rstrip()}…{words[len(words) - n_last :].lstrip()}"


def tidy(axes: "Axes") -> None:
    """Give `axes` thin grey lines, small tick labels and no box."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.7)
    axes.tick_params(labelsize=SMALL, colors=MUTED, width=0.7, length=3)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def name_axes(axes: "Axes", x: str, y: str) -> None:
    """Label both axes in the common size and colour."""
    axes.set_xlabel(plain(x), fontsize=SMALL, color=INK)
    axes.set_ylabel(plain(y), fontsize=SMALL, color=INK)


def name_panel(axes: "Axes", title: str, note: str = "") -> None:
    """Write a title above the panel, flush left and cut to its width, with an optional muted second line."""
    width = axes.get_window_extent().width / axes.figure.dpi * 72 * PIXELS_PER_POINT
    letters = font(NORMAL * PIXELS_PER_POINT, title, bold=True)
    title = plain(fitted(title, round(width), letters))
    axes.set_title(title, fontsize=NORMAL, color=INK, loc="left", fontweight="bold", pad=17 if note else 6)
    if note:
        axes.text(0, 1.025, plain(note), transform=axes.transAxes, fontsize=SMALL, color=MUTED, va="bottom")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write the figure as PNG or SVG, by the suffix of `path`; whole or not at all."""
    if path.suffix == ".svg":
        with atomic(path) as temporary:
            temporary.write_text(svg_text(figure), encoding="utf-8")
        return
    _lend_letters(figure)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=PNG_DPI)


def svg_text(figure: "Figure") -> str:
    """Return the figure as SVG; the same figure gives the same text, letters are drawn as outlines."""
    import io

    from matplotlib import rc_context

    _lend_letters(figure)
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "focusmap", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


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
    for row, column in (divmod(position, columns) for position in range(n)):
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
