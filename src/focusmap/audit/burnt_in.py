"""Letters, digits and calipers burnt into images: what is not anatomy, may name the patient, and may tell the label.

No letter is read. A glyph is a small bright part that stands out from an even surrounding. Three in a row of one height
are a line of text; a bright cross is a caliper; a large glyph near the border is a side marker. What is asked is that
few images are named wrongly; in noise and over bright tissue about half of the marks are passed over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Grey = np.typing.NDArray[np.uint8]
Kind = Literal["text", "caliper", "marker"]

LONGEST_SIDE = 512
STANDS_OUT = 70
LOWEST_GLYPH, SMALLEST_GLYPH, GLYPHS_A_SIDE = 4, 5, 9
IN_A_ROW, MOST_GAP, SAME_HEIGHT, SAME_BRIGHTNESS = 3, 1.6, (0.8, 1.25), 45
CONTRAST_OF_TEXT = 60
NEAR_BORDER, MARKERS_A_SIDE, CONTRAST_OF_MARKER, EVEN = 0.2, 50, 70, 15
FILLED = (0.12, 0.8)
ARMS, LIKE_A_CROSS, CONTRAST_OF_CROSS = (3, 4, 5), 0.72, 25


@dataclass(frozen=True)
class Mark:
    """Something burnt in: what it seems to be, and its box in shares of the image, top, left, bottom, right."""

    kind: Kind
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Glyph:
    """A bright part: its box in pixels, and how it differs from its surrounding."""

    top: int
    left: int
    bottom: int
    right: int
    n_pixels: int
    brightest: int
    contrast: float
    over_bright: float
    unevenness: float

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


def marks_in(plane: Grey) -> tuple[Mark, ...]:
    """Return the marks in a grey image ``(rows, columns) uint8``: lines of text first, then calipers, then markers."""
    small = _reduced(plane)
    rows, columns = small.shape
    if min(rows, columns) < 4 * GLYPHS_A_SIDE:
        return ()
    glyphs = list(_glyphs(small))
    boxes: list[tuple[Kind, Sequence[int]]] = [("text", box) for box in _lines(glyphs)]
    boxes += [("caliper", box) for box in _crosses(small)]
    boxes += [("marker", _box([glyph])) for glyph in glyphs if _is_marker(glyph, small.shape)]
    shares = (rows, columns, rows, columns)
    kept: dict[tuple[float, ...], Mark] = {}
    for kind, box in boxes:
        top, left, bottom, right = (side / share for side, share in zip(box, shares, strict=True))
        kept.setdefault((top, left), Mark(kind, (top, left, bottom, right)))
    return tuple(kept.values())


def _reduced(plane: Grey) -> Grey:
    factor = LONGEST_SIDE / max(plane.shape)
    if factor >= 1:
        return np.ascontiguousarray(plane)
    rows, columns = (max(round(side * factor), 1) for side in plane.shape)
    return np.asarray(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _glyphs(plane: Grey) -> Iterator[_Glyph]:
    """Yield the small parts of a white top-hat: what is narrower than a letter and brighter than what lies around."""
    side = max(plane.shape)
    width = max(9, side // 24) | 1
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (width, width))
    bright = cv2.morphologyEx(plane, cv2.MORPH_TOPHAT, square) >= STANDS_OUT
    n, parts, boxes, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    for part, (left, top, columns, rows, n_pixels) in zip(range(1, n), boxes[1:].tolist(), strict=True):
        is_small = LOWEST_GLYPH <= rows <= side / GLYPHS_A_SIDE and columns <= side / GLYPHS_A_SIDE
        if is_small and n_pixels >= SMALLEST_GLYPH:
            around = (slice(max(0, top - 3), top + rows + 3), slice(max(0, left - 3), left + columns + 3))
            own = (parts[around] == part).astype(np.uint8)
            near, far = (cv2.dilate(own, np.ones((size, size), np.uint8)) > 0 for size in (3, 7))
            values, ring = plane[around][own > 0], plane[around][far & ~near]
            middle = float(np.median(values))
            yield _Glyph(
                top, left, top + rows, left + columns, n_pixels, int(values.max()),
                middle - float(np.median(ring)), middle - float(np.percentile(ring, 90)), float(ring.std()),
            )  # fmt: skip


def _box(glyphs: Sequence[_Glyph]) -> tuple[int, int, int, int]:
    tops, lefts = min(glyph.top for glyph in glyphs), min(glyph.left for glyph in glyphs)
    return tops, lefts, max(glyph.bottom for glyph in glyphs), max(glyph.right for glyph in glyphs)


def _lines(glyphs: Sequence[_Glyph]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of glyphs of one height that stand in a row."""
    clear = sorted(
        (glyph for glyph in glyphs if glyph.contrast > CONTRAST_OF_TEXT), key=lambda glyph: (glyph.left, glyph.top)
    )
    used: set[int] = set()
    for first, begin in enumerate(clear):
        row = [first]
        for place in range(first + 1, len(clear) if first not in used else 0):
            gap = clear[place].left - clear[row[-1]].right
            if gap > MOST_GAP * begin.height:
                break
            if gap >= -2 and _go_together(begin, clear[row[-1]], clear[place]):
                row.append(place)
        if len(row) >= IN_A_ROW:
            used |= set(row)
            yield _box([clear[place] for place in row])


def _go_together(first: _Glyph, last: _Glyph, glyph: _Glyph) -> bool:
    is_level = abs(glyph.bottom - last.bottom) <= max(1, 0.15 * first.height)
    is_alike = abs(glyph.brightest - first.brightest) < SAME_BRIGHTNESS
    return is_level and is_alike and SAME_HEIGHT[0] <= glyph.height / first.height <= SAME_HEIGHT[1]


def _is_marker(glyph: _Glyph, shape: tuple[int, ...]) -> bool:
    """Return whether a glyph is a large one near the border, on an even ground that it outshines by far."""
    side = max(shape)
    away = min(glyph.top, glyph.left, shape[0] - glyph.bottom, shape[1] - glyph.right)
    is_large = max(glyph.height, glyph.width) >= side / MARKERS_A_SIDE
    is_stroke = FILLED[0] < glyph.n_pixels / (glyph.height * glyph.width) < FILLED[1]
    is_clear = glyph.over_bright > CONTRAST_OF_MARKER and glyph.unevenness < EVEN
    return away < NEAR_BORDER * side and is_large and is_stroke and is_clear


def _crosses(plane: Grey) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of bright crosses with arms of 3 to 5 pixels, found by correlation."""
    for arm in ARMS:
        size, middle = 2 * arm + 5, arm + 2
        cross = np.zeros((size, size), np.float32)
        cross[middle, 2:-2] = cross[2:-2, middle] = 1
        soft = cv2.GaussianBlur(cross, (3, 3), 0.6)
        alike = cv2.matchTemplate(plane.astype(np.float32), soft, cv2.TM_CCOEFF_NORMED)
        highest = alike == cv2.dilate(alike, np.ones((9, 9), np.uint8))
        for top, left in np.argwhere(highest & (alike > LIKE_A_CROSS)).tolist():
            seen = plane[top : top + size, left : left + size].astype(float)
            if np.percentile(seen[cross > 0], 20) - np.percentile(seen[soft < 0.05], 80) > CONTRAST_OF_CROSS:
                yield top, left, top + size, left + size
