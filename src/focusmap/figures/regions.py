"""Drawn masks, beside the truth where it is known: an image a case, the outlines on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from focusmap.figures.overlays import as_shown
from focusmap.figures.sheets import GAP, WORDS, Tile, sheet_of
from focusmap.figures.style import INK, font
from focusmap.files import atomic

# Of Okabe and Ito, between 0 and 1: what was drawn, and what is true.
DRAWN, TRUE = np.array([0.90, 0.62, 0.0]), np.array([0.0, 0.75, 0.55])
OF_DRAWN = "drawn mask"
LEGEND = {OF_DRAWN: DRAWN, "true mask": TRUE}
LETTERS, SWATCH = 13, 24
# Outlines are to be seen, and there are few cases.
SIDE = 300


@dataclass(frozen=True)
class DrawnCase:
    """One case: an image ``(rows, columns)`` or ``(3, rows, columns)``, masks of its shape, and a caption.

    Parameters
    ----------
    truth
        None where there is no true mask.
    """

    image: np.ndarray
    drawn: np.ndarray
    truth: np.ndarray | None
    caption: str


def draw_cases(path: Path, cases: Sequence[DrawnCase]) -> None:
    """Write a PNG: of each case the bare image and, below it, the outlines of its masks, with a legend."""
    above = [Tile(case.image, case.caption) for case in cases]
    below = [Tile(outlined(case), "") for case in cases]
    sheet = sheet_of([*above, *below], columns=len(cases), side=SIDE)
    _add_legend(sheet, LEGEND if any(case.truth is not None for case in cases) else {OF_DRAWN: DRAWN})
    with atomic(path) as temporary:
        sheet.save(temporary, format="png", compress_level=3)


def _add_legend(sheet: Image.Image, legend: Mapping[str, np.ndarray]) -> None:
    """Write under the lower tiles, which have no captions, whose line has which colour."""
    draw, letters, left, middle = ImageDraw.Draw(sheet), font(LETTERS), GAP, sheet.height - GAP - WORDS // 2
    for words, colour in legend.items():
        shade = tuple(round(255 * part) for part in colour)
        draw.line((left, middle, left + SWATCH, middle), fill=shade, width=4)
        draw.text((left + SWATCH + 6, middle), words, fill=INK, font=letters, anchor="lm")
        left += SWATCH + 6 + round(letters.getlength(words)) + 2 * GAP


def outlined(case: DrawnCase) -> np.ndarray:
    """Return the image ``(3, rows, columns)`` with the outlines of its masks on it, the drawn one on top."""
    shown = np.moveaxis(np.asarray(as_shown(case.image)), -1, 0).copy()
    for mask, colour in ((case.truth, TRUE), (case.drawn, DRAWN)):
        if mask is not None:
            shown[:, border_of(mask)] = colour[:, None]
    return shown


def border_of(mask: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of a mask ``(rows, columns) bool``.

    >>> border_of(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    from scipy.ndimage import binary_erosion

    return np.asarray(mask & ~binary_erosion(mask))
