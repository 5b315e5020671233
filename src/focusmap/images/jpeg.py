"""JPEG streams: what their segments say, and pixels of 8 bits that are whole or refused.

libjpeg goes on after damage, and fills with grey what is missing. It warns, of which this reader tells apart what is
benign (bytes between markers, odd revisions, which every viewer passes over) from what leaves pixels without data.
"""

import re
import struct
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError
from focusmap.images.budget import check_passes
from focusmap.images.content import AGAIN

Space: TypeAlias = Literal["GRAY", "RGB", "CMYK"]

# Frame headers, SOF0 to SOF15 (ITU-T T.81 table B.1; C4, C8 and CC are no frames) and SOF55 of JPEG-LS (T.87 C.1).
FRAME_MARKERS = (*(code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)), 0xF7)
# Baseline, extended and lossless, by Huffman or arithmetic codes.
SEQUENTIAL = (0xC0, 0xC1, 0xC3, 0xC9, 0xCB)
START_OF_SCAN, END_OF_IMAGE, JFIF, ADOBE = 0xDA, b"\xff\xd9", 0xE0, 0xEE
# libjpeg's jerror.h: JWRN_EXTRANEOUS_DATA, _JFIF_MAJOR, _ADOBE_XFORM, _BOGUS_ICC, _NOT_SEQUENTIAL, _BOGUS_PROGRESSION.
BENIGN = re.compile(
    "extraneous bytes|unknown JFIF|Adobe color transform|ICC marker|Invalid SOS|Inconsistent progression"
)
BEFORE_END = re.compile("extraneous bytes before marker 0xd9")


def segments(source: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, content) of the segments before the first scan; bytes between segments are passed over."""
    for code, start, end in _places(source):
        yield code, source[start + 4 : end]


def _places(source: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, first, last byte) of the segments before the first scan."""
    place = 2
    while 0 <= (place := source.find(b"\xff", place)) <= len(source) - 4:
        code = source[place + 1]
        if code in (0x00, 0xFF):
            place += 1
            continue
        if code == START_OF_SCAN:
            return
        length = int.from_bytes(source[place + 2 : place + 4], "big")
        yield code, place, place + 2 + max(length, 2)
        place += 2 + max(length, 2)


def frame_header(source: bytes) -> tuple[int, int, int, int]:
    """Return the marker, precision, rows and columns that a JPEG or JPEG-LS stream claims; zeros without a frame.

    >>> frame_header(bytes.fromhex("ffd8 ffc0 0011 08 0003 0005"))
    (192, 8, 3, 5)
    """
    for code, segment in segments(source):
        if code in FRAME_MARKERS and len(segment) >= 5:
            precision, rows, columns = struct.unpack(">BHH", segment[:5])
            return code, precision, rows, columns
    return 0, 0, 0, 0


def adobe_transform(source: bytes) -> int | None:
    """Return the colour transform of Adobe's marker: 0 none, 1 to YCbCr; None without the marker."""
    for code, segment in segments(source):
        if code == ADOBE and segment.startswith(b"Adobe") and len(segment) >= 12:
            return segment[11]
    return None


def with_transform(source: bytes, transform: int) -> bytes:
    """Return a stream that names its colour transform, whatever it said of it before."""
    named = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
    return _without(source, (JFIF, ADOBE), named)


def _without(source: bytes, codes: tuple[int, ...], start: bytes = b"") -> bytes:
    """Return a stream without some segments and without what lies between segments."""
    places = list(_places(source))
    header = b"".join(source[first:last] for code, first, last in places if code not in codes)
    return source[:2] + start + header + source[first_scan(source) :]


def first_scan(source: bytes) -> int:
    """Return where the first scan begins; the stream's length if there is none."""
    last = 2
    for _, _, end in _places(source):
        last = end
    found = source.find(b"\xff\xda", last)
    return found if found >= 0 else len(source)


def is_ended(source: bytes) -> bool:
    """Return whether the end of the image is marked behind a scan."""
    return source.rfind(END_OF_IMAGE) > first_scan(source)


def check_scans(source: bytes) -> None:
    """Refuse a stream of more scans than can be gone through in time.

    Where the first scan holds all components of a sequential frame, decoders stop behind it.
    """
    marker, _, rows, columns = frame_header(source)
    frame = next((part for code, part in segments(source) if code == marker), b"")
    scan = first_scan(source)
    is_single = marker in SEQUENTIAL and source[scan + 4 : scan + 5] == frame[5:6]
    if not is_single:
        check_passes(source.count(b"\xff\xda"), rows * columns, "scans")


def decode_whole(source: bytes, space: Space, *, strict: bool, least: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """Return the pixels ``(rows, columns, C)`` of a stream of 8 bits.

    Parameters
    ----------
    source
        The stream.
    space
        What is wanted: grey, red, green, blue, or what CMYK holds.
    strict
        Whether only what every decoder agrees on is passed over, as in DICOM: bytes before markers of the header, and
        before the end.
    least
        Rows and columns at least; a stream is decoded at 1/2, 1/4 or 1/8 where that is enough.

    Raises
    ------
    UnreadableImageError
        If it is damaged or ends too early.
    """
    try:
        return _decode(source, space, least)
    except ValueError as error:
        if not BENIGN.search(str(error)):
            raise _refusal(str(error)) from None
    # Only the first warning is told, and may hide another one: without what is benign in the header, that is the first.
    metadata = (*range(0xE1, ADOBE), 0xEF, 0xFE)
    clean = _without(source, metadata)
    try:
        return _decode(clean, space, least)
    except ValueError as error:
        passed = BEFORE_END if strict else BENIGN
        if not passed.search(str(error)) or not is_ended(source):
            raise _refusal(str(error)) from None
    return _decode(clean, space, least, strict=False)


def _decode(source: bytes, space: Space, least: tuple[int, int], *, strict: bool = True) -> NDArray[np.uint8]:
    import simplejpeg

    return np.asarray(simplejpeg.decode_jpeg(source, space, min_height=least[0], min_width=least[1], strict=strict))


def _refusal(said: str) -> UnreadableImageError:
    what = "ends too early" if "remature end" in said else "is damaged"
    return UnreadableImageError(
        f"cannot be decoded: its JPEG data {what.replace('is', 'are').replace('ends', 'end')}. {AGAIN}"
    )
