"""One look for every figure: colours, sizes, and figures that share no state with pyplot."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ImageFont

from focusmap.values.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with every common colour blindness, and in grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
POSITIVE, NEGATIVE = PALETTE[1], PALETTE[0]
INK, MUTED, GRID = "#1b1f24", "#59636e", "#d8dde3"
SMALL, NORMAL, LARGE = 8.0, 9.0, 10.5
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


@lru_cache(maxsize=8)
def font(pixels: float, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own typeface for words that are drawn straight onto pixels."""
    from matplotlib.font_manager import FontProperties, findfont

    weight = "bold" if bold else "normal"
    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight=weight)), round(pixels))


def fitted(words: str, width: int, letters: ImageFont.FreeTypeFont) -> str:
    """Return `words` on one line, cut with an ellipsis where it would be wider than `width` pixels."""
    words = " ".join(words.split())
    if letters.getlength(words) <= width:
        return words
    while words and letters.getlength(words + "…") > width:
        words = words[:-1]
    return words.rstrip() + "…"


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
    letters = font(NORMAL * PIXELS_PER_POINT, bold=True)
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
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=PNG_DPI)


def svg_text(figure: "Figure") -> str:
    """Return the figure as SVG; the same figure gives the same text, letters are drawn as outlines."""
    import io

    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "focusmap", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
