"""Contact sheets: many small images on one page, so that a person has looked before a net is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from focusmap.figures.overlays import as_shown
from focusmap.figures.style import INK, MUTED, fitted, font
from focusmap.files import atomic

TILE, GAP, WORDS, COLUMNS = 150, 10, 22, 6


@dataclass(frozen=True)
class Tile:
    """One image of a sheet: ``(rows, columns)`` or ``(3, rows, columns)``, and a short line under it."""

    image: np.ndarray
    caption: str


def write_sheet(path: Path, tiles: Sequence[Tile], columns: int = COLUMNS) -> None:
    """Write a PNG of the tiles, as `sheet_of` lays them."""
    sheet = sheet_of(tiles, columns)
    with atomic(path) as temporary:
        sheet.save(temporary, format="png", compress_level=3)


def sheet_of(tiles: Sequence[Tile], columns: int = COLUMNS, side: int = TILE) -> Image.Image:
    """Return the tiles, row by row; aspect is kept, and each image is shown on its own grey scale.

    `side` is that of the square that an image fits in, in pixels.
    """
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    size = columns * (side + GAP) + GAP, rows * (side + WORDS + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    for position, tile in enumerate(tiles):
        row, column = divmod(position, columns)
        _place(sheet, tile, (GAP + column * (side + GAP), GAP + row * (side + WORDS + GAP)), side)
    return sheet


def write_thumbnail(path: Path, image: np.ndarray, longest: int) -> None:
    """Write a PNG of one image, ``(rows, columns)`` or ``(3, rows, columns)``, no side above `longest` pixels."""
    shown = Image.fromarray(np.rint(as_shown(image) * 255).astype(np.uint8))
    shown.thumbnail((longest, longest))
    with atomic(path) as temporary:
        shown.save(temporary, format="png", compress_level=3)


def _place(sheet: Image.Image, tile: Tile, corner: tuple[int, int], side: int) -> None:
    left, top = corner
    image = Image.fromarray(np.rint(as_shown(tile.image) * 255).astype(np.uint8))
    scale = side / max(image.size)
    small = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline="#e4e8ec")
    sheet.paste(image.resize(small, how), (left + (side - small[0]) // 2, top + (side - small[1]) // 2))
    letters = font(9.5, tile.caption)
    said = fitted(tile.caption, side, letters)
    draw.text((left, top + side + 5), said, fill=INK if tile.caption else MUTED, font=letters)
