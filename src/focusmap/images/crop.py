"""The part of an image that is kept: a fixed box, a named part, or what is not background."""

import re
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from focusmap.basics import InputError, suggest
from focusmap.images.image import Image, Pixels

Shares: TypeAlias = tuple[float, float, float, float]
"""Top, left, bottom and right edge, as shares of the image's rows and columns, 0 to 1."""

WHOLE, FOREGROUND = "whole", "foreground"
PARTS: dict[str, Shares] = {
    "left-half": (0.0, 0.0, 1.0, 0.5),
    "right-half": (0.0, 0.5, 1.0, 1.0),
    "top-half": (0.0, 0.0, 0.5, 1.0),
    "bottom-half": (0.5, 0.0, 1.0, 1.0),
}
"""Named parts, as the image is seen: in a chest film, its left half shows the patient's right side."""

FOREGROUND_SIDE = 256
FOREGROUND_LEVEL = 0.1
FOREGROUND_AREA = 0.1


def parse_crop(crop: str) -> Shares | None:
    """Return the edges that a crop stands for; None for `foreground`, which each image decides.

    Parameters
    ----------
    crop
        ``whole``, ``foreground``, the name of a part, or ``TOP,LEFT,BOTTOM,RIGHT`` in shares of the image.

    Raises
    ------
    InputError
        If it is none of these, or the edges do not rise between 0 and 1.

    >>> parse_crop("left-half"), parse_crop("0.1, 0, 0.9, 1")
    ((0.0, 0.0, 1.0, 0.5), (0.1, 0.0, 0.9, 1.0))
    """
    if crop in (WHOLE, FOREGROUND):
        return None if crop == FOREGROUND else (0.0, 0.0, 1.0, 1.0)
    if "," not in crop:
        return part_shares(crop)
    try:
        top, left, bottom, right = (float(edge) for edge in crop.split(","))
    except ValueError:
        raise InputError(f"crop {crop!r}: TOP,LEFT,BOTTOM,RIGHT was expected, such as 0.1,0,0.9,1.") from None
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise InputError(f"crop {crop!r}: TOP,LEFT,BOTTOM,RIGHT are shares that rise from 0 to 1, such as 0.1,0,0.9,1.")
    return top, left, bottom, right


def parse_part(part: str) -> tuple[str, Shares]:
    """Return name and edges of a part: one of `PARTS`, or one that is named ``NAME=TOP,LEFT,BOTTOM,RIGHT``.

    >>> parse_part("top-half"), parse_part("scan=0.1, 0.4, 0.8, 1")
    (('top-half', (0.0, 0.0, 0.5, 1.0)), ('scan', (0.1, 0.4, 0.8, 1.0)))
    """
    name, is_box, box = part.partition("=")
    if not is_box:
        return part, part_shares(part)
    if not re.fullmatch(r"[\w-]+", name) or "," not in box:
        raise InputError(f"part {part!r}: NAME=TOP,LEFT,BOTTOM,RIGHT was expected, such as scan=0.1,0.4,0.8,1.")
    shares = parse_crop(box)
    assert shares is not None, "four edges leave nothing to the image"
    return name, shares


def part_shares(name: str) -> Shares:
    """Return the edges of a named part; `InputError` names those that are known."""
    if name not in PARTS:
        known = (WHOLE, FOREGROUND, *PARTS)
        raise InputError(
            f"crop {name!r} is not one of {', '.join(known)} or TOP,LEFT,BOTTOM,RIGHT.{suggest(name, known)}"
        )
    return PARTS[name]


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: `top` and `left` are the first row and column inside."""

    top: int
    left: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return (rows, columns)."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the rectangle as an index."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def crop_box(image: Image, crop: str) -> Box:
    """Return the box of the image's file that `crop` (see `focusmap.images.crop`) keeps."""
    shares = parse_crop(crop)
    return foreground_box(image.pixels) if shares is None else shares_box(shares, image.source_shape)


def shares_box(shares: Shares, shape: tuple[int, ...]) -> Box:
    """Return the box of an image of `shape` (rows, columns), at least one pixel; halves meet and do not overlap.

    >>> shares_box((0, 0, 1, 0.5), (4, 5)), shares_box((0, 0.5, 1, 1), (4, 5))
    (Box(top=0, left=0, height=4, width=2), Box(top=0, left=2, height=4, width=3))
    """
    (rows, columns), (top, left, bottom, right) = shape, shares
    first = min(round(top * rows), rows - 1), min(round(left * columns), columns - 1)
    last = max(round(bottom * rows), first[0] + 1), max(round(right * columns), first[1] + 1)
    return Box(*first, last[0] - first[0], last[1] - first[1])


def foreground_box(pixels: Pixels) -> Box:
    """Return the box around all that is not dark background; the whole image where nothing stands out.

    Foreground is what lies above a tenth of the way from the 0.5th to the 99.5th percentile. Specks and
    burnt-in letters, less than a tenth of the largest region each, do not count.

    Parameters
    ----------
    pixels : (C, rows, columns)
        White is bright. The brightest channel decides.

    >>> black = np.zeros((1, 100, 100), np.uint8)
    >>> black[:, 20:70, 30:90] = 200
    >>> foreground_box(black)
    Box(top=19, left=29, height=52, width=62)
    """
    import cv2

    rows, columns = pixels.shape[1:]
    shrink = max(1.0, max(rows, columns) / FOREGROUND_SIDE)
    small_shape = (max(1, round(columns / shrink)), max(1, round(rows / shrink)))
    plane = np.max(pixels, axis=0).astype(np.float32)
    small = np.asarray(cv2.resize(plane, small_shape, interpolation=cv2.INTER_AREA))
    low, high = np.percentile(small, (0.5, 99.5))
    bright = (small > low + FOREGROUND_LEVEL * (high - low)).astype(np.uint8)
    opened = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    regions = np.asarray(cv2.connectedComponentsWithStats(opened)[2])[1:]
    if not len(regions):
        return Box(0, 0, rows, columns)
    large = regions[regions[:, cv2.CC_STAT_AREA] >= FOREGROUND_AREA * regions[:, cv2.CC_STAT_AREA].max()]
    left, top = large[:, 0].min(), large[:, 1].min()
    right, bottom = (large[:, 0] + large[:, 2]).max(), (large[:, 1] + large[:, 3]).max()
    return _grown(Box(int(top), int(left), int(bottom - top), int(right - left)), small.shape, (rows, columns))


def _grown(box: Box, small_shape: tuple[int, ...], shape: tuple[int, int]) -> Box:
    """Return a box of a shrunken image in its full size, one shrunken pixel wider on each side."""
    down, across = shape[0] / small_shape[0], shape[1] / small_shape[1]
    top, left = max(0, int((box.top - 1) * down)), max(0, int((box.left - 1) * across))
    bottom = min(shape[0], int(np.ceil((box.top + box.height + 1) * down)))
    right = min(shape[1], int(np.ceil((box.left + box.width + 1) * across)))
    return Box(top, left, bottom - top, right - left)
