"""Compressed DICOM frames by imagecodecs (libjpeg-turbo, CharLS, OpenJPEG), as a decoding plugin of pydicom.

Importing this module registers the plugin. What pydicom decodes without further plugins takes 1 to 24 times as long
(``benchmarks/dicom_decoding.py``) and leaves out lossless JPEG, 12-bit JPEG and JPEG-LS. One plugin knows all of
JPEG, pylibjpeg-libjpeg, and is under the GPL.
"""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels import get_decoder

from focusmap.errors import UnreadableImageError

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

PLUGIN = "imagecodecs"
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
SYNTAXES = (*JPEG, *JPEG_LS, *JPEG_2000, uid.RLELossless)
# pydicom asks a plugin for this table, to say what is missing.
DECODER_DEPENDENCIES = dict.fromkeys(SYNTAXES, ("imagecodecs",))

# Frame headers, SOF0 to SOF15 (ITU-T T.81 table B.1; C4, C8 and CC are no frames) and SOF55 of JPEG-LS (T.87 C.1).
FRAME_MARKERS = (*(code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)), 0xF7)
ADOBE = 0xEE
J2K_SIZE = b"\xff\x4f\xff\x51"

Plane: TypeAlias = NDArray[np.generic]


def is_available(syntax: str) -> bool:
    """Return True for the transfer syntaxes that `decode_frame` knows; pydicom asks."""
    return syntax in SYNTAXES


def decode_frame(source: bytes, runner: "DecodeRunner") -> bytes:
    """Return the pixels of an encoded frame, and tell `runner` how they are laid out.

    Raises
    ------
    UnreadableImageError
        If the frame claims another size than the data set; the decoders would reserve memory for it.
    """
    syntax = runner.transfer_syntax
    if syntax == uid.RLELossless:
        return _decode_rle(source, runner)
    _check_size(jpeg_2000_size(source) if syntax in JPEG_2000 else jpeg_size(source), runner)
    plane = DECODERS[syntax](source, runner)
    runner.set_option("planar_configuration", 0)  # imagecodecs gives colour sample by sample, however it was stored
    runner.set_option("bits_allocated", 8 * plane.itemsize)
    return np.ascontiguousarray(plane).tobytes()


def _decode_rle(source: bytes, runner: "DecodeRunner") -> bytes:
    dtype = np.dtype(f"<u{runner.bits_allocated // 8}")
    n_bytes = runner.rows * runner.columns * runner.samples_per_pixel * dtype.itemsize
    runner.set_option("planar_configuration", 1)  # PS3.5 G.2: one sample after the other
    decoded = bytes(imagecodecs.dicomrle_decode(source, dtype, out=n_bytes))
    if len(decoded) != n_bytes:
        raise UnreadableImageError(f"holds {len(decoded)} bytes of pixels; {n_bytes} were expected")
    return decoded


def _decode_jpeg(source: bytes, runner: "DecodeRunner") -> Plane:
    """Return the plane of a JPEG, colour as red, green, blue: libjpeg converts faster than numpy does afterwards."""
    if runner.samples_per_pixel == 1:
        return np.asarray(imagecodecs.jpeg8_decode(source))
    is_ybr = "YBR" in runner.photometric_interpretation or adobe_transform(source) == 1
    runner.set_option("photometric_interpretation", "RGB")
    return np.asarray(imagecodecs.jpeg8_decode(source, colorspace="YCBCR" if is_ybr else "RGB", outcolorspace="RGB"))


def _decode_jpeg_ls(source: bytes, runner: "DecodeRunner") -> Plane:  # noqa: ARG001  (as every decoder)
    return np.asarray(imagecodecs.jpegls_decode(source))


def _decode_jpeg_2000(source: bytes, runner: "DecodeRunner") -> Plane:
    if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        # OpenJPEG undoes the colour transform that the codestream itself names (PS3.3 C.7.6.3.1.2).
        runner.set_option("photometric_interpretation", "RGB")
    return np.asarray(imagecodecs.jpeg2k_decode(source))


def _check_size(found: tuple[int, int], runner: "DecodeRunner") -> None:
    if found != (runner.rows, runner.columns):
        raise UnreadableImageError(
            f"says {runner.rows} x {runner.columns} pixels and holds a frame of {found[0]} x {found[1]}"
        )


def jpeg_size(source: bytes) -> tuple[int, int]:
    """Return (rows, columns) that the frame header of a JPEG or JPEG-LS stream claims; (0, 0) without one.

    >>> jpeg_size(bytes.fromhex("ffd8 ffc0 0011 08 0003 0005"))
    (3, 5)
    """
    for code, segment in _segments(source):
        if code in FRAME_MARKERS and len(segment) >= 5:
            rows, columns = struct.unpack(">HH", segment[1:5])
            return rows, columns
    return 0, 0


def adobe_transform(source: bytes) -> int | None:
    """Return the colour transform of Adobe's marker: 0 none, 1 to YCbCr; None without the marker."""
    for code, segment in _segments(source):
        if code == ADOBE and segment.startswith(b"Adobe") and len(segment) >= 12:
            return segment[11]
    return None


def jpeg_2000_size(source: bytes) -> tuple[int, int]:
    """Return (rows, columns) that a JPEG 2000 stream claims (ITU-T T.800 A.5.1); (0, 0) without its size marker."""
    start = source.find(J2K_SIZE)
    if start < 0 or len(source) < start + 24:
        return 0, 0
    width, height, left, top = struct.unpack(">IIII", source[start + 8 : start + 24])
    return height - top, width - left


def _segments(source: bytes) -> list[tuple[int, bytes]]:
    """Return (marker, content) of the segments before the first scan."""
    segments, place = [], 2
    while place + 4 <= len(source) and source[place] == 0xFF and source[place + 1] != 0xDA:
        length = int.from_bytes(source[place + 2 : place + 4], "big")
        segments.append((source[place + 1], source[place + 4 : place + 2 + length]))
        place += 2 + max(length, 2)
    return segments


DECODERS: dict[str, Callable[[bytes, "DecodeRunner"], Plane]] = {
    **dict.fromkeys(JPEG, _decode_jpeg),
    **dict.fromkeys(JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(JPEG_2000, _decode_jpeg_2000),
}

for _syntax in SYNTAXES:
    get_decoder(_syntax).add_plugin(PLUGIN, (__name__, "decode_frame"))
