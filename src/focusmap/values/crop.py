"""How the part of a picture that counts is written down: a word, or four shares of its rows and columns."""

import re
from typing import TypeAlias

from focusmap.errors import InputError, suggest

Shares: TypeAlias = tuple[float, float, float, float]
"""Top, left, bottom and right edge, as shares of the picture's rows and columns, 0 to 1."""

WHOLE, FOREGROUND = "whole", "foreground"
PARTS: dict[str, Shares] = {
    "left-half": (0.0, 0.0, 1.0, 0.5),
    "right-half": (0.0, 0.5, 1.0, 1.0),
    "top-half": (0.0, 0.0, 0.5, 1.0),
    "bottom-half": (0.5, 0.0, 1.0, 1.0),
}
"""Named parts, as the picture is seen: in a chest film, its left half shows the patient's right side."""


def parse_crop(crop: str) -> Shares | None:
    """Return the edges that a crop stands for; None for `foreground`, which each picture decides.

    Parameters
    ----------
    crop
        ``whole``, ``foreground``, the name of a part, or ``TOP,LEFT,BOTTOM,RIGHT`` in shares of the picture.

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
    assert shares is not None, "four edges leave nothing to the picture"
    return name, shares


def part_shares(name: str) -> Shares:
    """Return the edges of a named part; `InputError` names those that are known."""
    if name not in PARTS:
        known = (WHOLE, FOREGROUND, *PARTS)
        raise InputError(
            f"crop {name!r} is not one of {', '.join(known)} or TOP,LEFT,BOTTOM,RIGHT.{suggest(name, known)}"
        )
    return PARTS[name]
