"""An image beside the same image under its heat map, with a colour bar in the map's own unit."""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from focusmap.basics import atomic
from focusmap.figures.style import INK, MUTED, fitted, font, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Share of vmax below which a map is invisible, and from which on it is as opaque as it gets.
TRANSPARENT_BELOW, OPAQUE_FROM, OPACITY = 0.05, 0.55, 0.72
# Pixels. The longer side of an image is LONG; room around the panels is for caption, legends and colour bar.
LONG, LEAST, TOP, BOTTOM, GAP, EDGE, BAR_SPACE, BAR_WIDTH = 400, 280, 46, 36, 14, 10, 132, 18
DPI = 120
# Large enough to be read where two overlays share the width of a page; the caption's size is in pixels.
WORDS, CAPTION = 10.8, 20.0
# How bright a grey map is that nobody should rely on.
GREYED = 0.6


@dataclass(frozen=True)
class Layout:
    """Where the parts of an overlay stand, in pixels; hashable, so that equal frames are drawn once.

    ``panel`` and ``image`` are (width, height); the image is centred in its panel, which has a least size
    so that the legends of a flat or narrow image fit.
    """

    panel: tuple[int, int]
    image: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole."""
        return 2 * (EDGE + self.panel[0]) + GAP + BAR_SPACE, TOP + self.panel[1] + BOTTOM

    def corner(self, position: int) -> tuple[int, int]:
        """Left and top of the image in panel 0 or 1."""
        left = EDGE + position * (self.panel[0] + GAP) + (self.panel[0] - self.image[0]) // 2
        return left, TOP + (self.panel[1] - self.image[1]) // 2


@dataclass(frozen=True)
class Scale:
    """What the colour bar says: where the colours end, whether the map goes beyond, and the unit."""

    vmax: float
    exceeded: bool
    unit: str


@dataclass(frozen=True)
class Overlay:
    """What one overlay shows.

    Parameters
    ----------
    image
        ``(rows, columns)`` or ``(3, rows, columns)``, any number type; shown from its least to its greatest value,
        8-bit images from 0 to 255.
    heat_map
        ``(rows, columns) float`` on an absolute scale; negative values are shown as none. None: nothing to show.
    caption
        One line above both panels.
    vmax
        The value at which the colours end; the same for every overlay that is compared.
    outline
        ``(rows, columns) bool``: reference mask or filled box, drawn as a line around it. None: nothing is drawn.
    unit
        What the values of the map are, in words.
    long
        Pixels of the longer side of a panel.
    absent
        What is said where the map shows nothing.
    withheld
        Why nobody should rely on the map, which is then grey; empty where there is no such reason.
    """

    image: np.ndarray
    heat_map: np.ndarray | None
    caption: str
    vmax: float
    outline: np.ndarray | None = None
    unit: str = "evidence (logit units)"
    long: int = LONG
    absent: str = "no evidence"
    withheld: str = ""


def draw_overlay(path: Path, overlay: Overlay) -> None:
    """Write a PNG: the untouched image, the image under its map, and a colour bar.

    The frame is drawn by matplotlib once a scale and kept; images and captions are pasted in, since explaining
    a cohort draws hundreds of overlays.
    """
    # zlib's lowest level: three times as fast as the usual one, and 15 % larger.
    save_png(overlay_image(overlay), path, level=1)


def save_png(image: Image.Image, path: Path, level: int) -> None:
    """Write an image as PNG, packed at a level of zlib's; whole or not at all."""
    with atomic(path) as temporary:
        image.save(temporary, format="png", compress_level=level)


def overlay_image(overlay: Overlay) -> Image.Image:
    """Return what `draw_overlay` writes."""
    layout = layout_of(overlay.image.shape[-2], overlay.image.shape[-1], overlay.long)
    shown = _resized_image(as_shown(overlay.image), layout.image)
    scale = _scale_of(overlay)
    outlined = overlay.outline is not None and bool(overlay.outline.any())
    with _DRAWING:
        sheet = _frame(layout, scale, outlined).copy()
    sheet.paste(as_image(shown), layout.corner(0))
    if scale is not None and overlay.heat_map is not None:
        shown = blend(shown, _resized_map(overlay.heat_map, layout.image), overlay.vmax)
    second = as_image(shown)
    if outlined and overlay.outline is not None:
        _draw_outline(second, overlay.outline)
    sheet.paste(second, layout.corner(1))
    if overlay.withheld:
        right = (EDGE + layout.panel[0] + GAP, 0, *layout.size)
        sheet.paste(ImageEnhance.Brightness(ImageOps.grayscale(sheet.crop(right))).enhance(GREYED), right)
    if overlay.withheld or scale is None:
        _say(sheet, layout, overlay.withheld or overlay.absent)
    _write_caption(sheet, overlay.caption)
    return sheet


def part_of(size: tuple[int, int], part: Literal["whole", "pair", "map"]) -> tuple[int, int, int, int]:
    """Return the box of a part of an overlay of that width and height: all, without caption and bar, or the map alone.

    >>> part_of((966, 482), "map")
    (424, 46, 824, 446)
    """
    width, height = size
    panel = (width - BAR_SPACE - GAP - 2 * EDGE) // 2
    left = {"whole": 0, "pair": EDGE, "map": EDGE + panel + GAP}[part]
    if part == "whole" or panel <= 0:
        return 0, 0, width, height
    return left, TOP, EDGE + 2 * panel + GAP, height - BOTTOM


def layout_of(rows: int, columns: int, long: int = LONG) -> Layout:
    """Return the layout for an image of that shape; its longer side becomes `long` pixels."""
    scale = long / max(rows, columns)
    width, height = max(round(columns * scale), 1), max(round(rows * scale), 1)
    return Layout((max(width, LEAST), max(height, LEAST)), (width, height))


def as_shown(image: np.ndarray) -> np.ndarray:
    """Return an image ``(rows, columns)`` or ``(C, rows, columns)``, of 1 or 3 channels, as it is drawn.

    It is ``(rows, columns, 3) float32`` between 0 and 1; a constant image that is not 8-bit becomes black.

    >>> as_shown(np.array([[0, 255]], np.uint8))[0, :, 0].tolist()
    [0.0, 1.0]
    """
    colour = np.moveaxis(image, 0, -1) if image.ndim == 3 else image[..., None]
    colour = np.broadcast_to(colour, (*colour.shape[:2], 3)).astype(np.float32)
    if image.dtype == np.uint8:
        return colour / np.float32(255)
    low, high = float(np.nanmin(colour)), float(np.nanmax(colour))
    scaled = (colour - low) / (high - low) if high > low else np.zeros_like(colour)
    return np.nan_to_num(scaled).astype(np.float32)


def blend(shown: np.ndarray, heat_map: np.ndarray, vmax: float) -> np.ndarray:
    """Return ``(rows, columns, 3) float32``: the image, coloured where the map is high and untouched where it is low.

    Parameters
    ----------
    shown
        ``(rows, columns, 3) float`` between 0 and 1.
    heat_map
        ``(rows, columns) float``; NaN counts as none.
    """
    level = np.nan_to_num(np.clip(heat_map / max(vmax, 1e-12), 0, 1))
    index = np.rint(level * 255).astype(np.intp)
    opacity = _opacity()[index][..., None]
    return np.asarray(shown * (1 - opacity) + _colours()[index] * opacity, dtype=np.float32)


@lru_cache(maxsize=1)
def _colours() -> np.ndarray:
    # Plasma is perceptually uniform and never grey or black, so a colour is not mistaken for tissue.
    from matplotlib import colormaps

    return np.asarray(colormaps["plasma"](np.linspace(0, 1, 256))[:, :3], dtype=np.float32)


@lru_cache(maxsize=1)
def _opacity() -> np.ndarray:
    level = np.linspace(0, 1, 256, dtype=np.float32)
    ramp = np.clip((level - TRANSPARENT_BELOW) / (OPAQUE_FROM - TRANSPARENT_BELOW), 0, 1)
    return np.asarray(ramp * OPACITY, dtype=np.float32)


def as_image(colour: np.ndarray) -> Image.Image:
    """Return ``(rows, columns, 3)`` between 0 and 1 as an image of 8 bits."""
    return Image.fromarray(np.rint(colour * 255).astype(np.uint8))


def _resized_image(shown: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # Nearest: the pixels of a small image are shown as they are.
    how = Image.Resampling.NEAREST if max(shown.shape) < LONG / 2 else Image.Resampling.BILINEAR
    return np.asarray(as_image(shown).resize(size, how), dtype=np.float32) / np.float32(255)


def _resized_map(heat_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    finite = np.nan_to_num(heat_map).astype(np.float32)
    return np.asarray(Image.fromarray(finite).resize(size, Image.Resampling.BILINEAR))


def _scale_of(overlay: Overlay) -> Scale | None:
    if overlay.heat_map is None or not np.any(overlay.heat_map > 0):
        return None
    return Scale(overlay.vmax, bool(np.any(overlay.heat_map > overlay.vmax)), overlay.unit)


def _draw_outline(image: Image.Image, outline: np.ndarray) -> None:
    mask = Image.fromarray(outline.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
    # One pixel of background around it closes the line of a mask that touches the border.
    framed = Image.new("L", (image.width + 2, image.height + 2))
    framed.paste(mask, (1, 1))
    line = ImageChops.subtract(framed, framed.filter(ImageFilter.MinFilter(3)))
    for colour, width in (("black", 5), ("white", 3)):
        image.paste(colour, (-1, -1), line.filter(ImageFilter.MaxFilter(width)))


def _write_caption(sheet: Image.Image, caption: str) -> None:
    letters = font(CAPTION, caption, bold=True)
    words = fitted(caption, sheet.width - 2 * EDGE, letters)
    ImageDraw.Draw(sheet).text((EDGE, TOP // 2), words, fill=INK, font=letters, anchor="lm")


def _say(sheet: Image.Image, layout: Layout, words: str) -> None:
    """Write words over the foot of the second panel."""
    draw, (left, top), letters = ImageDraw.Draw(sheet), layout.corner(1), font(CAPTION, words)
    middle = (left + layout.image[0] // 2, top + layout.image[1] - 28)
    x0, y0, x1, y1 = draw.textbbox(middle, words, font=letters, anchor="mm")
    draw.rounded_rectangle((x0 - 9, y0 - 7, x1 + 9, y1 + 7), radius=6, fill="white", outline=MUTED)
    draw.text(middle, words, fill=INK, font=letters, anchor="mm")


# Fonts of matplotlib are not for several threads.
_DRAWING = Lock()


@lru_cache(maxsize=64)
def _frame(layout: Layout, scale: Scale | None, outlined: bool) -> Image.Image:
    width, height = layout.size
    figure = new_figure(width / DPI, height / DPI)
    second = "no heat map" if scale is None else "heat map"
    for position, note in enumerate(("image", second + (", reference outlined" if outlined else ""))):
        left, top = layout.corner(position)
        x, y = (left + layout.image[0] / 2) / width, 1 - (top + layout.image[1] + 7) / height
        figure.text(x, y, note, ha="center", va="top", fontsize=WORDS, color=MUTED)
    if scale is not None:
        start = width - BAR_SPACE + 4
        box = (start / width, BOTTOM / height, BAR_WIDTH / width, layout.panel[1] / height)
        _draw_bar(figure.add_axes(box), scale)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer).convert("RGB")


def _draw_bar(axes: "Axes", scale: Scale) -> None:
    from matplotlib.ticker import MaxNLocator

    vmax = scale.vmax
    level = np.repeat(np.linspace(vmax, 0, 256)[:, None], 2, axis=1)
    middle_grey = np.full((256, 2, 3), 0.5, np.float32)
    axes.imshow(blend(middle_grey, level, vmax), extent=(0, 1, 0, vmax), aspect="auto", interpolation="nearest")
    inner = [tick for tick in MaxNLocator(4).tick_values(0, vmax) if 0 <= tick < 0.93 * vmax]
    axes.set_yticks(
        [*inner, vmax], [*(f"{tick:g}" for tick in inner), ("≥ " if scale.exceeded else "") + f"{vmax:.3g}"]
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=WORDS, colors=INK, width=0.6, length=2.5, pad=2)
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(scale.unit, fontsize=WORDS, color=INK)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
        spine.set_color(MUTED)
