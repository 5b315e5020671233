"""Compressed DICOM frames by libjpeg-turbo, CharLS and OpenJPEG: whole, or refused.

What pydicom decodes without further plugins takes 1 to 24 times as long (``benchmarks/dicom_decoding.py``) and leaves
out lossless JPEG, 12-bit JPEG and JPEG-LS. One plugin knows all of JPEG, pylibjpeg-libjpeg, and is under the GPL.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from focusmap.errors import UnreadableImageError
from focusmap.images.content import AGAIN
from focusmap.images.jpeg import (
    END_OF_IMAGE,
    JFIF,
    adobe_transform,
    check_scans,
    decode_whole,
    first_scan,
    frame_header,
    is_ended,
    segments,
    with_transform,
)

if TYPE_CHECKING:
    from focusmap.images.dicom_pixels import Layout

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
SYNTAXES = (*JPEG, *JPEG_LS, *JPEG_2000, uid.RLELossless)

LOSSLESS = 0xC3
J2K_SIZE, J2K_TILE = b"\xff\x4f\xff\x51", b"\xff\x90"

Plane: TypeAlias = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded frame: its values, how many bits of them the stream holds, and whether colour is red, green, blue."""

    plane: Plane
    precision: int
    is_rgb: bool = False


def is_available(syntax: str) -> bool:
    """Return True for the transfer syntaxes that `decode_frame` knows."""
    return syntax in SYNTAXES


def decode_frame(source: bytes, syntax: str, layout: "Layout") -> Decoded:
    """Return the values of an encoded frame.

    Raises
    ------
    UnreadableImageError
        If the frame is damaged, is cut off, or claims another size than the data set; the decoders would reserve memory
        for it.
    """
    try:
        return DECODERS[syntax](source, layout)
    except UnreadableImageError:
        raise
    # A foreign decoder may raise anything; whatever it is, it says that this frame cannot be read.
    except Exception:
        raise UnreadableImageError(
            f"cannot be decoded: its frame in {uid.UID(syntax).name} is damaged or cut off. {AGAIN}"
        ) from None


def _decode_rle(source: bytes, layout: "Layout") -> Decoded:
    dtype = np.dtype(f"<u{layout.allocated // 8}")
    n_bytes = layout.rows * layout.columns * layout.samples * dtype.itemsize
    decoded = bytes(imagecodecs.dicomrle_decode(source, dtype, out=n_bytes))
    if len(decoded) != n_bytes:
        raise UnreadableImageError(f"cannot be decoded: holds {len(decoded)} bytes of pixels; {n_bytes} were expected")
    # PS3.5 G.2: one sample after the other.
    planes = np.frombuffer(decoded, dtype).reshape(layout.samples, layout.rows, layout.columns)
    return Decoded(planes[0] if layout.samples == 1 else np.moveaxis(planes, 0, -1), layout.allocated)


def _decode_jpeg(source: bytes, layout: "Layout") -> Decoded:
    """Return the plane of a JPEG, colour as red, green, blue: libjpeg converts faster than numpy does afterwards."""
    marker, precision, *size = frame_header(source)
    _check_size((size[0], size[1]), layout)
    check_scans(source)
    if not is_ended(source):
        raise UnreadableImageError(f"cannot be decoded: its JPEG data end too early. {AGAIN}")
    is_ybr = layout.samples == 3 and _is_ybr(source, layout)
    if precision == 8:
        return Decoded(_decode_8_bit(source, layout, is_ybr=is_ybr), 8, layout.samples == 3)
    if layout.samples == 3:
        colour = imagecodecs.jpeg8_decode(source, colorspace="YCBCR" if is_ybr else "RGB", outcolorspace="RGB")
        return Decoded(np.asarray(colour), precision, is_rgb=True)
    plane = np.asarray(imagecodecs.jpeg8_decode(source))
    if not (_has_all_bits(plane, source, precision) if marker == LOSSLESS else _has_last_block(plane, precision)):
        raise UnreadableImageError(f"cannot be decoded: its JPEG data end too early. {AGAIN}")
    return Decoded(plane, precision)


def _is_ybr(source: bytes, layout: "Layout") -> bool:
    """Return whether a stream of three colours holds YCbCr, which its own marks know better than the data set."""
    frame = next((part for code, part in segments(source) if code == frame_header(source)[0]), b"")
    if frame[6::3][:3] in (b"RGB", b"rgb"):
        return adobe_transform(source) == 1
    has_jfif = any(code == JFIF and part.startswith(b"JFIF") for code, part in segments(source))
    return has_jfif or "YBR" in layout.photometric or adobe_transform(source) == 1


def _decode_8_bit(source: bytes, layout: "Layout", *, is_ybr: bool) -> Plane:
    import simplejpeg

    if layout.samples == 1:
        return decode_whole(source, "GRAY", strict=True)[..., 0]
    if simplejpeg.decode_jpeg_header(source)[2] != ("YCbCr" if is_ybr else "RGB"):
        source = with_transform(source, int(is_ybr))
    return decode_whole(source, "RGB", strict=True)


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


def _has_last_block(plane: Plane, precision: int) -> bool:
    """Return False where the last block is the mid-grey with which libjpeg fills up missing data."""
    rows, columns = (-(-side // 8) * 8 - 8 for side in plane.shape)
    return bool((plane[rows:, columns:] != 1 << (precision - 1)).any())


def _decode_jpeg_ls(source: bytes, layout: "Layout") -> Decoded:
    _, precision, *size = frame_header(source)
    _check_size((size[0], size[1]), layout)
    return Decoded(np.asarray(imagecodecs.jpegls_decode(source)), precision)


def _decode_jpeg_2000(source: bytes, layout: "Layout") -> Decoded:
    _check_size(jpeg_2000_size(source), layout)
    if not _has_all_tiles(source):
        raise UnreadableImageError(f"cannot be decoded: its JPEG 2000 data end too early. {AGAIN}")
    plane = np.asarray(imagecodecs.jpeg2k_decode(source))
    # OpenJPEG undoes the colour transform that the codestream itself names (PS3.3 C.7.6.3.1.2).
    return Decoded(plane, _jpeg_2000_precision(source), layout.photometric in ("YBR_ICT", "YBR_RCT"))


def _check_size(found: tuple[int, int], layout: "Layout") -> None:
    if found != (layout.rows, layout.columns):
        raise UnreadableImageError(
            f"says {layout.rows} x {layout.columns} pixels and holds a frame of {found[0]} x {found[1]}"
        )


def jpeg_2000_size(source: bytes) -> tuple[int, int]:
    """Return (rows, columns) that a JPEG 2000 stream claims (ITU-T T.800 A.5.1); (0, 0) without its size marker."""
    start = source.find(J2K_SIZE)
    if start < 0 or len(source) < start + 43:
        return 0, 0
    width, height, left, top = struct.unpack(">IIII", source[start + 8 : start + 24])
    return height - top, width - left


def _jpeg_2000_precision(source: bytes) -> int:
    """Return the bits of the first component (Ssiz: the lower seven bits, less 1)."""
    return (source[source.find(J2K_SIZE) + 42] & 0x7F) + 1


def _has_all_tiles(source: bytes) -> bool:
    """Return whether each part of a tile is as long as it says (ITU-T T.800 A.4.2), and the end is marked."""
    place = source.find(J2K_TILE, source.find(J2K_SIZE))
    while place >= 0 and source[place : place + 2] == J2K_TILE:
        length = int.from_bytes(source[place + 6 : place + 10], "big")
        if length == 0:
            return source.rfind(END_OF_IMAGE) > place
        if length < 14:
            return False
        place += length
    return source[place : place + 2] == END_OF_IMAGE if place >= 0 else False


DECODERS: dict[str, Callable[[bytes, "Layout"], Decoded]] = {
    **dict.fromkeys(JPEG, _decode_jpeg),
    **dict.fromkeys(JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(JPEG_2000, _decode_jpeg_2000),
    uid.RLELossless: _decode_rle,
}
