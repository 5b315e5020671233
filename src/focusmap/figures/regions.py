"""Drawn masks beside the truth: a picture a case, the outlines of both on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from focusmap.figures.overlays import as_shown
from focusmap.figures.sheets import Tile, write_sheet

# Of Okabe and Ito, between 0 and 1: what was drawn, and what is true.
DRAWN, TRUE = np.array([0.90, 0.62, 0.0]), np.array([0.0, 0.75, 0.55])


@dataclass(frozen=True)
class DrawnCase:
    """One case: a picture ``(rows, columns)`` or ``(3, rows, columns)``, masks of its shape, and a caption."""

    picture: np.ndarray
    drawn: np.ndarray
    truth: np.ndarray
    caption: str


def draw_cases(path: Path, cases: Sequence[DrawnCase]) -> None:
    """Write a PNG: of each case the bare picture and, below it, the outline of the mask (orange) and truth (green)."""
    above = [Tile(case.picture, case.caption) for case in cases]
    below = [Tile(outlined(case), "") for case in cases]
    write_sheet(path, [*above, *below], columns=len(cases))


def outlined(case: DrawnCase) -> np.ndarray:
    """Return the picture ``(3, rows, columns)`` with the outlines of both masks on it, the drawn one on top."""
    shown = np.moveaxis(np.asarray(as_shown(case.picture)), -1, 0).copy()
    for mask, colour in ((case.truth, TRUE), (case.drawn, DRAWN)):
        shown[:, border_of(mask)] = colour[:, None]
    return shown


def border_of(mask: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of a mask ``(rows, columns) bool``.

    >>> border_of(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    from scipy.ndimage import binary_erosion

    return np.asarray(mask & ~binary_erosion(mask))
