"""Compressed DICOM frames by libjpeg-turbo, CharLS and OpenJPEG: whole, or refused.

What pydicom decodes without further plugins takes 1 to 24 times as long (``benchmarks/dicom_decoding.py``) and leaves
out lossless JPEG, 12-bit JPEG and JPEG-LS. One plugin knows all of JPEG, pylibjpeg-libjpeg, and is under the GPL.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import imagecodecs
import numpy as np
from pydicom import uid

from focusmap.basics import UnreadableImageError
from focusmap.images import jpeg
from focusmap.images.budget import AGAIN

if TYPE_CHECKING:
    from focusmap.images.dicom_pixels import Layout

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
SYNTAXES = (*JPEG, *JPEG_LS, *JPEG_2000, uid.RLELossless)

J2K_SIZE, J2K_TILE = b"\xff\x4f\xff\x51", b"\xff\x90"

Plane: TypeAlias = np.typing.NDArray[np.generic]


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
    frame = jpeg.frame_header(source)
    _check_size(frame.shape, layout)
    jpeg.check_scans(source, frame)
    if not jpeg.is_ended(source):
        raise UnreadableImageError(f"cannot be decoded: its JPEG data end too early. {AGAIN}")
    is_ybr = layout.samples == 3 and _is_ybr(source, layout)
    if frame.precision == 8:
        return Decoded(_decode_8_bit(source, layout, is_ybr=is_ybr), 8, layout.samples == 3)
    if layout.samples == 3:
        colour = imagecodecs.jpeg8_decode(source, colorspace="YCBCR" if is_ybr else "RGB", outcolorspace="RGB")
        return Decoded(np.asarray(colour), frame.precision, is_rgb=True)
    return Decoded(jpeg.decode_deep(source), frame.precision)


def _is_ybr(source: bytes, layout: "Layout") -> bool:
    """Return whether a stream of three colours holds YCbCr, which its own marks know better than the data set."""
    frame = next((part for code, part in jpeg.segments(source) if code == jpeg.frame_header(source).marker), b"")
    if frame[6::3][:3] in (b"RGB", b"rgb"):
        return jpeg.adobe_transform(source) == 1
    has_jfif = any(code == jpeg.JFIF and part.startswith(b"JFIF") for code, part in jpeg.segments(source))
    return has_jfif or "YBR" in layout.photometric or jpeg.adobe_transform(source) == 1


def _decode_8_bit(source: bytes, layout: "Layout", *, is_ybr: bool) -> Plane:
    import simplejpeg

    if layout.samples == 1:
        return jpeg.decode_whole(source, "GRAY", strict=True)[..., 0]
    if simplejpeg.decode_jpeg_header(source, strict=False)[2] != ("YCbCr" if is_ybr else "RGB"):
        source = jpeg.with_transform(source, int(is_ybr))
    return jpeg.decode_whole(source, "RGB", strict=True)


def _decode_jpeg_ls(source: bytes, layout: "Layout") -> Decoded:
    frame = jpeg.frame_header(source)
    _check_size(frame.shape, layout)
    return Decoded(np.asarray(imagecodecs.jpegls_decode(source)), frame.precision)


def _decode_jpeg_2000(source: bytes, layout: "Layout") -> Decoded:
    _check_size(jpeg_2000_size(source), layout)
    if not _has_all_tiles(source):
        raise UnreadableImageError(f"cannot be decoded: its JPEG 2000 data end too early. {AGAIN}")
    plane = np.asarray(imagecodecs.jpeg2k_decode(source))
    # OpenJPEG undoes the colour transform that the codestream itself names (PS3.3 C.7.6.3.1.2).
    return Decoded(plane, _jpeg_2000_precision(source), layout.photometric in ("YBR_ICT", "YBR_RCT"))


def _check_size(size: tuple[int, int], layout: "Layout") -> None:
    if size == (0, 0):
        raise UnreadableImageError("holds a frame in another encoding than its TransferSyntaxUID says. Export it again")
    if size != (layout.rows, layout.columns):
        raise UnreadableImageError(
            f"says {layout.rows} x {layout.columns} pixels and holds a frame of {size[0]} x {size[1]}"
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
            return source.rfind(jpeg.END_OF_IMAGE) > place
        if length < 14:
            return False
        place += length
    return source[place : place + 2] == jpeg.END_OF_IMAGE if place >= 0 else False


DECODERS: dict[str, Callable[[bytes, "Layout"], Decoded]] = {
    **dict.fromkeys(JPEG, _decode_jpeg),
    **dict.fromkeys(JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(JPEG_2000, _decode_jpeg_2000),
    uid.RLELossless: _decode_rle,
}
