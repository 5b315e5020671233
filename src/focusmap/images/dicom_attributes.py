"""Attributes of a DICOM data set as writers leave them: absent, empty, of another type, several, or text for numbers.

Values are taken from the bytes of the file, so that one odd attribute is told by its name instead of by whatever a
library makes of it.
"""

import math
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from focusmap.basics import UnreadableImageError

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset

# PS3.5 table 6.2-1: how numbers of a fixed size are stored. What may be signed or not is read unsigned.
BINARY = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q", "OW": "H", "OB": "B",
    "OF": "f", "OD": "d",
}  # fmt: skip
AMBIGUOUS = ("US or SS", "US or OW", "US or SS or OW", "OB or OW")
LARGEST_SHORT = 65535
# What says who, and what says when, where and by whom.
PATIENT_GROUPS = (0x0010,)
IDENTIFYING_GROUPS = (0x0008, 0x0010, 0x0020, 0x0032, 0x0038, 0x0040)


def attribute_numbers(dataset: "Dataset", keyword: str) -> tuple[float, ...]:
    """Return the numbers of an attribute; none where it is absent or empty.

    Raises
    ------
    UnreadableImageError
        If a value is no finite number; the message names attribute and value.
    """
    stored, _ = _stored(dataset, keyword)
    values = _split(str(stored)) if isinstance(stored, str) or not isinstance(stored, Sequence) else tuple(stored)
    return tuple(_number(dataset, keyword, value) for value in values)


def number(dataset: "Dataset", keyword: str, default: float) -> float:
    """Return the one number of an attribute, or `default`; `UnreadableImageError` if there are several that differ."""
    values = attribute_numbers(dataset, keyword)
    if len(set(values)) > 1:
        several = ", ".join(f"{value:g}" for value in values)
        raise UnreadableImageError(f"{keyword} has the values {several}; one was expected")
    return values[0] if values else default


def count(dataset: "Dataset", keyword: str, default: int) -> int:
    """Return the whole number of an attribute, or `default`; errors as of `number`, and if it is negative or broken."""
    n = number(dataset, keyword, default)
    if n != int(n) or n < 0:
        raise UnreadableImageError(f"{keyword} is {n:g}; a whole number of at least 0 was expected")
    if n > LARGEST_SHORT and _stands_in(dataset, PATIENT_GROUPS, f"{n:.0f}"):
        raise UnreadableImageError(f"{keyword} is a number of {len(f'{n:.0f}')} digits, which is no such number")
    return int(n)


def word(dataset: "Dataset", keyword: str) -> str:
    """Return the first code of an attribute in capitals; empty where it is absent or empty."""
    stored, _ = _stored(dataset, keyword)
    values = _split(stored) if isinstance(stored, str) else tuple(map(str, stored))
    return values[0].strip(" \0").upper() if values else ""


def word_bytes(dataset: "Dataset", keyword: str) -> tuple[bytes, str]:
    """Return the bytes of an attribute, and ``<`` or ``>`` for the order of those of a number; empty where absent."""
    from pydicom.dataelem import RawDataElement

    element = _element(dataset, keyword)
    value = None if element is None else element.value
    order = "<" if not isinstance(element, RawDataElement) or element.is_little_endian else ">"
    if isinstance(value, bytes):
        return value, order
    if value is None or isinstance(value, str):
        return b"", order
    several = list(value) if isinstance(value, Sequence) else [value]
    return struct.pack(f"<{len(several)}H", *(int(one) & 0xFFFF for one in several)), "<"


def sequence_items(dataset: "Dataset", keyword: str) -> list["Dataset"]:
    """Return the items of a sequence; none where it is absent, empty, or no sequence."""
    from pydicom.sequence import Sequence as Items

    value = dataset.get(keyword)
    return list(value) if isinstance(value, Items) else []


def quotable(dataset: "Dataset", value: str) -> str:
    """Return a value as a message may quote it: what could name a patient is described, not quoted."""
    text = value.strip(" \0")
    is_number = re.fullmatch(r"[\d.,+\-eE \\]{1,24}", text)
    groups = PATIENT_GROUPS if is_number else IDENTIFYING_GROUPS
    is_short = is_number or re.fullmatch(r"[A-Za-z0-9_ .,]{1,16}", text)
    return repr(text) if is_short and not _stands_in(dataset, groups, text) else f"text of {len(text)} letters"


def _stands_in(dataset: "Dataset", groups: tuple[int, ...], text: str) -> bool:
    """Return whether a part of the text stands in these groups of attributes."""
    parts = [part.lower() for part in re.findall(r"[A-Za-z0-9]{3,}", text)]
    for tag in dataset.keys() if parts else ():
        if tag.group in groups:
            value = dataset.get_item(tag).value
            known = value.decode("latin1") if isinstance(value, bytes) else str(value)
            if len(known) <= 4096 and any(part in known.lower() for part in parts):
                return True
    return False


def _element(dataset: "Dataset", keyword: str) -> "DataElement | RawDataElement | None":
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    return dataset.get_item(tag) if tag in dataset else None


def _stored(dataset: "Dataset", keyword: str) -> tuple[str | Sequence[object], str]:
    """Return what an attribute holds, as text or numbers, and its type; empty where it is absent or empty."""
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import RawDataElement

    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return "", ""
    if not isinstance(element, RawDataElement):
        return (element.value, element.VR) if isinstance(element.value, str) else (_several(element.value), element.VR)
    kind = element.VR if element.VR not in (None, "UN") else dictionary_VR(element.tag)
    letter = "H" if kind in AMBIGUOUS else BINARY.get(kind)
    if letter is None:
        return element.value.decode("latin1"), kind
    size = struct.calcsize(letter)
    order = "<" if element.is_little_endian else ">"
    n_values = len(element.value) // size
    return struct.unpack(f"{order}{n_values}{letter}", element.value[: n_values * size]), kind


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, Sequence) and not isinstance(value, bytes) else (value,)


def _split(text: str) -> tuple[str, ...]:
    """Return the values of a text that are not empty (PS3.5 6.4: a backslash separates them)."""
    return tuple(part.strip(" \0") for part in text.split("\\") if part.strip(" \0"))


def _number(dataset: "Dataset", keyword: str, value: object) -> float:
    text = str(value)
    try:
        # Python's own numbers may have underscores, those of DICOM may not.
        parsed = math.nan if "_" in text else float(text)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise UnreadableImageError(
            f"{keyword} is {quotable(dataset, text)}, which is no number. Write one with a decimal point, or "
            "take it out"
        )
    return parsed
