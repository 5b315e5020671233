"""Slices of a volume side by side, and as the one image that a report steps through."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from focusmap.figures.overlays import as_shown, blend
from focusmap.figures.style import font
from focusmap.files import atomic

N_MONTAGE, COLUMNS = 12, 4
N_STEPS = 48
SIDE, WORDS = 240, 12.0


@dataclass(frozen=True)
class SliceStrip:
    """Slices under each other, each beside itself under its heat map.

    Parameters
    ----------
    slices
        ``(n, rows, columns) uint8``.
    maps
        The same shape, or None for no evidence.
    numbers
        Of the slices in their volume.
    vmax
        The value at which the colours end.
    """

    slices: np.ndarray
    maps: np.ndarray | None
    numbers: Sequence[int]
    vmax: float


def spread(n_slices: int, most: int, strongest: int) -> list[int]:
    """Return at most `most` slices, evenly spread, with the strongest among them, in order.

    >>> spread(24, 4, 9)
    [0, 9, 15, 23]
    """
    if n_slices <= most:
        return list(range(n_slices))
    chosen = np.rint(np.linspace(0, n_slices - 1, most)).astype(int)
    chosen[np.abs(chosen - strongest).argmin()] = strongest
    return [int(i) for i in chosen]


def montage(stack: np.ndarray) -> np.ndarray:
    """Return slices ``(n, rows, columns)`` as one image, row by row; what is left over is 0.

    >>> montage(np.ones((5, 2, 3))).shape
    (4, 12)
    """
    n, rows, columns = stack.shape
    across = min(COLUMNS, n)
    down = -(-n // across)
    filled = np.concatenate([stack, np.zeros((down * across - n, rows, columns), stack.dtype)])
    return filled.reshape(down, across, rows, columns).swapaxes(1, 2).reshape(down * rows, across * columns)


def write_strip(path: Path, strip: SliceStrip) -> None:
    """Write a PNG of the slices under each other, all of one height."""
    scale = SIDE / max(strip.slices.shape[1:])
    size = tuple(max(round(n * scale), 1) for n in strip.slices.shape[:0:-1])
    width, height = size[0], size[1]
    sheet = Image.new("RGB", (2 * width, height * len(strip.slices)))
    for k, (image, number) in enumerate(zip(strip.slices, strip.numbers, strict=True)):
        sheet.paste(_image(image, None, strip.vmax, (width, height)), (0, k * height))
        heat_map = None if strip.maps is None else strip.maps[k]
        sheet.paste(_image(image, heat_map, strip.vmax, (width, height)), (width, k * height))
        ImageDraw.Draw(sheet).text((6, k * height + 4), str(number), fill="#ffffff", font=font(WORDS, str(number)))
    with atomic(path) as temporary:
        sheet.save(temporary, format="png", compress_level=1)


def _image(image: np.ndarray, heat_map: np.ndarray | None, vmax: float, size: tuple[int, int]) -> Image.Image:
    shown = as_shown(image)
    if heat_map is not None:
        shown = blend(shown, heat_map, vmax)
    return Image.fromarray(np.rint(shown * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
