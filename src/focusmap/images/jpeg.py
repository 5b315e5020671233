"""JPEG streams: what their segments say, and pixels of 8 bits that are whole or refused.

libjpeg goes on after damage, and fills with grey what is missing. It warns, of which this reader tells apart what is
benign (bytes between markers, odd revisions, which every viewer passes over) from what leaves pixels without data.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import AGAIN, check_passes

Space: TypeAlias = Literal["GRAY", "RGB", "CMYK"]
Plane: TypeAlias = NDArray[np.generic]

# Frame headers, SOF0 to SOF15 (ITU-T T.81 table B.1; C4, C8 and CC are no frames) and SOF55 of JPEG-LS (T.87 C.1).
FRAME_MARKERS = (*(code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)), 0xF7)
# Baseline, extended and lossless, by Huffman or arithmetic codes.
LOSSLESS = 0xC3
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


@dataclass(frozen=True)
class Frame:
    """What the frame header of a JPEG or JPEG-LS stream claims; zeros without one."""

    marker: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    n_components: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns."""
        return self.rows, self.columns


def frame_header(source: bytes) -> Frame:
    """Return what the first frame header of a stream claims.

    >>> frame_header(bytes.fromhex("ffd8 ffc0 0012 08 0003 0005 01")).shape
    (3, 5)
    """
    for code, segment in segments(source):
        if code in FRAME_MARKERS and len(segment) >= 6:
            return Frame(code, *struct.unpack(">BHHB", segment[:6]))
    return Frame()


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


def _plain(source: bytes) -> bytes:
    """Return a stream without notes and profiles, and with no revision or colour transform that nobody knows."""
    odd = (ADOBE,) if (adobe_transform(source) or 0) > 2 else ()
    plain = _without(source, (*range(0xE1, ADOBE), 0xEF, 0xFE, *odd))
    place = plain.find(b"JFIF\0", 0, first_scan(plain))
    return plain if place < 0 else plain[: place + 5] + b"\1\1" + plain[place + 7 :]


def first_scan(source: bytes) -> int:
    """Return where the first scan begins; the stream's length if there is none."""
    last = 2
    for _, _, end in _places(source):
        last = end
    start = source.find(b"\xff\xda", last)
    return start if start >= 0 else len(source)


def is_ended(source: bytes) -> bool:
    """Return whether the end of the image is marked behind a scan."""
    return source.rfind(END_OF_IMAGE) > first_scan(source)


def _has_all_scans(source: bytes) -> bool:
    """Return whether the scans of a stream bring each coefficient of each component to its last bit (T.81 G.1.1)."""
    last = np.zeros((256, 64), bool)
    named: set[int] = set()
    place = first_scan(source)
    while place >= 0 and place + 4 < len(source):
        n = source[place + 4]
        components = source[place + 5 : place + 5 + 2 * n : 2]
        parameters = source[place + 5 + 2 * n : place + 8 + 2 * n]
        if len(parameters) < 3:
            return False
        named.update(components)
        last[list(components), parameters[0] : parameters[1] + 1] = parameters[2] & 15 == 0
        place = source.find(b"\xff\xda", place + 4)
    return len(named) == frame_header(source).n_components and bool(last[sorted(named)].all())


def check_scans(source: bytes, frame: Frame) -> None:
    """Refuse a stream of more scans than can be gone through in time.

    Where the first scan holds all components of a sequential frame, decoders stop behind it.
    """
    scan = first_scan(source)
    if frame.marker not in SEQUENTIAL or source[scan + 4 : scan + 5] != bytes([frame.n_components]):
        check_passes(source.count(b"\xff\xda"), frame.rows * frame.columns, "scans")


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
    if not is_ended(source) and _has_all_scans(source):
        # With its mark put back, what lacks more than the mark is told by libjpeg.
        source += END_OF_IMAGE
    try:
        return _decode(source, space, least)
    except ValueError as error:
        if not BENIGN.search(str(error)):
            raise _refusal(str(error)) from None
    # Only the first warning is told, and may hide another one: without what is benign in the header, that is the first.
    clean = _plain(source)
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


def decode_deep(source: bytes) -> Plane:
    """Return the pixels ``(rows, columns) uint16`` of a grey stream of more than 8 bits.

    Its decoder does not tell of warnings; what is missing is told by what it fills in.

    Raises
    ------
    UnreadableImageError
        If it is damaged or ends too early. Of lossy streams, a cut within the last block alone is not seen.
    """
    import imagecodecs

    frame = frame_header(source)
    plane = np.asarray(imagecodecs.jpeg8_decode(source))
    is_whole = _has_all_bits if frame.marker == LOSSLESS else _has_last_block
    if not is_whole(plane, source, frame.precision):
        raise _refusal("premature end")
    return plane


def _has_all_bits(plane: Plane, source: bytes, precision: int) -> bool:
    """Return whether a lossless stream has as many bits as its pixels take (ITU-T T.81 H.1.2).

    Each difference to the pixel on the left is a code of its size and as many bits. What libjpeg fills in for missing
    data, rows of mid-grey and even steps to a row's end, takes bits that are not there; only then are they counted.
    """
    if plane[-1, -1] != 1 << (precision - 1) and len(plane) > 1 and _even_end(plane[-1]) <= _even_end(plane[-2]) + 2:
        return True
    scan = first_scan(source)
    parameters = source[scan + 4 : scan + 2 + int.from_bytes(source[scan + 2 : scan + 4], "big")]
    if len(parameters) != 6 or parameters[3] != 1 or parameters[5] & 15 or b"\xff\xdd" in source[:scan]:
        return True  # several components, another predictor than the pixel on the left, a point transform, or restarts
    lengths = _code_lengths(source, parameters[2] >> 4)
    differences = np.empty(plane.shape, np.uint16)
    np.subtract(plane[:, 1:], plane[:, :-1], out=differences[:, 1:])
    first = np.concatenate([[1 << (precision - 1)], plane[:-1, 0]]).astype(np.uint16)
    np.subtract(plane[:, 0], first, out=differences[:, 0])
    # Of 16 bits, there is one difference only, which takes no more.
    taken = (lengths + np.array([*range(16), 0])).astype(np.uint8)[_sizes_of_differences()]
    n_bits = np.take(taken, differences).sum(dtype=np.uint32)
    entropy = np.frombuffer(source[scan + 4 + len(parameters) : source.rfind(END_OF_IMAGE)], np.uint8)
    # Each byte of ones is followed by a stuffed byte of zeros.
    return int(n_bits) <= 8 * (entropy.size - int(np.count_nonzero(entropy == 0xFF)))


def _even_end(row: Plane) -> int:
    """Return over how many pixels the end of a row goes on in even steps."""
    steps = np.diff(row.astype(np.int64))
    changes = np.flatnonzero(steps != steps[-1:])
    return len(steps) - 1 - int(changes[-1]) if len(changes) else len(steps)


@lru_cache(maxsize=1)
def _sizes_of_differences() -> NDArray[np.int64]:
    """Return how many bits each difference modulo 65536 takes, ``(65536,)``."""
    values = np.arange(65536)
    distances = np.where(values > 32768, 65536 - values, values)
    return np.asarray(np.ceil(np.log2(distances + 1)), np.int64)


def _code_lengths(source: bytes, table: int) -> NDArray[np.int64]:
    """Return the length of the code of each size of difference, ``(17,)``; 64 where there is none."""
    lengths = np.full(17, 64)
    for code, segment in segments(source):
        while code == 0xC4 and len(segment) >= 17:
            counts = np.frombuffer(segment, np.uint8, 16, 1)
            symbols = np.frombuffer(segment, np.uint8, int(counts.sum()), 17)
            if segment[0] == table:
                kept = symbols <= 16
                lengths[symbols[kept]] = np.repeat(np.arange(1, 17), counts)[kept]
            segment = segment[17 + len(symbols) :]
    return lengths


def _has_last_block(plane: Plane, source: bytes, precision: int) -> bool:  # noqa: ARG001  (as the other)
    """Return False where the last block is the mid-grey with which libjpeg fills up missing data."""
    rows, columns = (-(-side // 8) * 8 - 8 for side in plane.shape)
    return bool((plane[rows:, columns:] != 1 << (precision - 1)).any())


def _refusal(message: str) -> UnreadableImageError:
    what = "ends too early" if "remature end" in message else "is damaged"
    return UnreadableImageError(
        f"cannot be decoded: its JPEG data {what.replace('is', 'are').replace('ends', 'end')}. {AGAIN}"
    )
