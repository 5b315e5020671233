"""The stored values of a frame (PS3.3 C.7.6.3, PS3.5 8): which bits of which bytes they are, whatever the encoding."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import AGAIN, check_plane_size
from focusmap.images.dicom_attributes import count, quotable, word

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset
    from pydicom.uid import UID

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
BITS = {"PixelData": 0, "FloatPixelData": 32, "DoubleFloatPixelData": 64}
GREY, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")
KNOWN = (*GREY, PALETTE, "RGB", *YBR, "YBR_ICT", "YBR_RCT")
ITEM = b"\xfe\xff\x00\xe0"
STREAMS = (b"\xff\xd8", b"\xff\x4f")
"""How streams of JPEG and JPEG-LS, and of JPEG 2000, begin."""
# PS3.3 C.7.6.3.1.2: from YCbCr to red, green, blue; of the full range, and of 16 to 235.
FULL = np.array([[1, 1, 1], [0, -0.114 * 1.772 / 0.587, 1.772], [1.402, -0.299 * 1.402 / 0.587, 0]], np.float32)
PARTIAL = np.array([[1.1644, 1.1644, 1.1644], [0, -0.3917, 2.0173], [1.5960, -0.8129, 0]], np.float32)

Plane = np.typing.NDArray[np.generic]


@dataclass(frozen=True)
class Layout:
    """How the values of a frame are stored.

    Parameters
    ----------
    rows, columns, samples, n_frames
        Of the file.
    allocated, stored, high
        Bits of a value: those that are reserved, those that count, and the place of the highest of them, from 0.
    signed
        Whether values are two's complement.
    photometric
        What they mean.
    planes_apart
        Whether one colour follows another.
    keyword
        Which attribute holds them.
    """

    rows: int
    columns: int
    samples: int
    n_frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planes_apart: bool
    keyword: str

    @property
    def is_float(self) -> bool:
        """Return whether values are decimal numbers, of which no bits are counted."""
        return self.keyword != "PixelData"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a frame's values."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Return the type of a frame's values."""
        return np.dtype(f"{'i' if self.signed else 'u'}{max(self.allocated // 8, 1)}")


def layout_of(dataset: "Dataset") -> Layout:
    """Return how the values of a data set are stored.

    Raises
    ------
    UnreadableImageError
        If there are none, or an attribute leaves no reading; the message names it and its value.
    """
    keyword = _pixel_keyword(dataset)
    rows, columns = _size(dataset)
    samples = count(dataset, "SamplesPerPixel", 1) or 1
    if samples not in (1, 3):
        raise UnreadableImageError(f"SamplesPerPixel is {samples}; 1 or 3 was expected. Export it as grey or RGB")
    n_frames = count(dataset, "NumberOfFrames", 1) or 1
    allocated = BITS[keyword] or _allocated(dataset, rows * columns * samples * n_frames)
    if not count(dataset, "NumberOfFrames", 0):
        _refuse_several(dataset[keyword].value, rows * columns * samples * allocated)
    stored = min(count(dataset, "BitsStored", allocated) or allocated, allocated)
    high = count(dataset, "HighBit", stored - 1)
    signed, apart = _flag(dataset, "PixelRepresentation"), _flag(dataset, "PlanarConfiguration")
    return Layout(
        rows, columns, samples, n_frames, allocated, stored, high if stored <= high + 1 <= allocated else stored - 1,
        signed and keyword == "PixelData" and allocated > 1, _photometric(dataset, samples),
        samples == 3 and apart, keyword,
    )  # fmt: skip


def _pixel_keyword(dataset: "Dataset") -> str:
    """Return the attribute that holds the pixels; `UnreadableImageError` names the modality of a file without any."""
    keyword = next((name for name in PIXEL_KEYWORDS if _has_value(dataset, name)), None)
    if keyword is None:
        kind = quotable(dataset, word(dataset, "Modality")).strip("'")
        is_known = re.fullmatch("[A-Z0-9]{2,16}", kind) is not None
        what = f"a DICOM file without pixels (modality {kind})" if is_known else "no DICOM file, or one without pixels"
        raise UnreadableImageError(f"is {what}")
    return keyword


def _size(dataset: "Dataset") -> tuple[int, int]:
    """Return rows and columns of a frame."""
    rows, columns = count(dataset, "Rows", 0), count(dataset, "Columns", 0)
    if not rows or not columns:
        name = "Columns" if rows else "Rows"
        raise UnreadableImageError(f"{name} is {'0' if _has_value(dataset, name) else 'missing or empty'}. {AGAIN}")
    check_plane_size(rows, columns)
    return rows, columns


def _flag(dataset: "Dataset", keyword: str) -> bool:
    """Return an attribute that is 0 or 1; it is 0 where it is absent."""
    value = count(dataset, keyword, 0)
    if value > 1:
        raise UnreadableImageError(f"{keyword} is {value}; 0 or 1 was expected")
    return bool(value)


def _refuse_several(content: bytes, n_bits: int) -> None:
    """Raise `UnreadableImageError` where pixels of several frames are there and NumberOfFrames is not."""
    packed = content.startswith(ITEM)
    if packed:
        content = _with_table(content)
        length = int.from_bytes(content[4:8], "little")
        offsets = np.frombuffer(content[8 : 8 + length // 4 * 4], "<u4").tolist() or list(_fragments(content))
        # Offsets of mere fragments lead to bytes that begin no stream.
        begins = [content[16 + length + offset : 18 + length + offset] for offset in offsets]
        n_frames = max(begins.count(begins[0]) if begins and (length or begins[0] in STREAMS) else 1, 1)
    else:
        n_frames = 8 * len(content) // max(n_bits, 1)
    if n_frames > 1 and (packed or 8 * len(content) == n_frames * n_bits):
        raise UnreadableImageError(
            f"NumberOfFrames is missing, and its pixels are those of {n_frames} frames. Export it again"
        )


def _with_table(content: bytes) -> bytes:
    """Return packed pixels with a table of offsets before them; some writers begin with the first frame."""
    return ITEM + bytes(4) + content if content[8:10] in STREAMS else content


def _fragments(content: bytes) -> Iterator[int]:
    """Yield where each fragment behind an empty table of offsets begins, counted from the first."""
    place = 8
    while content[place : place + 4] == ITEM:
        yield place - 8
        place += 8 + int.from_bytes(content[place + 4 : place + 8], "little")


def _has_value(dataset: "Dataset", keyword: str) -> bool:
    return keyword in dataset and bool(dataset.get_item(keyword).value)


def _allocated(dataset: "Dataset", n_values: int) -> int:
    """Return BitsAllocated, or what the number of bytes says where that is absent."""
    from_length = 8 * len(dataset.PixelData) // n_values
    bits = count(dataset, "BitsAllocated", 0) or (from_length if from_length in (8, 16, 32) else 0)
    if bits not in (1, 8, 16, 32, 64):
        raise UnreadableImageError(f"BitsAllocated is {bits}; 1, 8, 16, 32 or 64 was expected")
    return bits


def _photometric(dataset: "Dataset", samples: int) -> str:
    photometric = word(dataset, "PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    if photometric not in KNOWN:
        raise UnreadableImageError(
            f"PhotometricInterpretation is {quotable(dataset, photometric)}; one of {', '.join(KNOWN)} was expected"
        )
    return photometric


def stored_frame(dataset: "FileDataset", layout: Layout, index: int) -> Plane:
    """Return the stored values of a frame, ``(rows, columns)`` or ``(rows, columns, 3)``, before any look-up table.

    Only the stored bits count, wherever they lie among those allocated. Colour is red, green, blue.

    Raises
    ------
    UnreadableImageError
        If pixels are missing, or cannot be decoded as the file says.
    """
    syntax = _syntax(dataset)
    content = dataset[layout.keyword].value
    if syntax.is_encapsulated and not _is_native(content, layout):
        return _encapsulated(dataset, layout, index)
    if content.startswith(ITEM) and len(content) < _n_bytes(layout, layout.n_frames):
        raise UnreadableImageError(
            f"TransferSyntaxUID is {syntax} (pixels as they are), but its pixels are packed. Export it again"
        )
    big = not syntax.is_little_endian and not syntax.is_encapsulated
    return _native(content, layout, index, "><"[not big], str(dataset[layout.keyword].VR))


def _syntax(dataset: "FileDataset") -> "UID":
    """Return the encoding of the pixels; of data that came without file meta information, as pydicom found it."""
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    named = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if named:
        syntax = UID(named)
        if not syntax.is_transfer_syntax or syntax.is_private:
            raise UnreadableImageError(
                "TransferSyntaxUID names no encoding that is read. Export it as explicit VR little endian"
            )
        return syntax
    implicit, little = dataset.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _is_native(content: bytes, layout: Layout) -> bool:
    """Return whether pixels that should be packed are not: some writers unpack them and keep the name."""
    return not content.startswith(ITEM) and len(content) >= _n_bytes(layout, layout.n_frames)


def _n_bytes(layout: Layout, n_frames: int, *, halved: bool = False) -> int:
    """Return the bytes of frames that are not packed; of colour, 2 values a pixel where it is halved in width."""
    n_samples = 2 if halved else layout.samples
    return math.ceil(n_frames * layout.rows * layout.columns * n_samples * layout.allocated / 8)


def _native(content: bytes, layout: Layout, index: int, order: str, kind: str) -> Plane:
    halved = layout.photometric in HALVED and len(content) < _n_bytes(layout, layout.n_frames)
    wanted = _n_bytes(layout, index + 1, halved=halved)
    if len(content) < wanted or index >= layout.n_frames:
        raise UnreadableImageError(
            f"cannot be decoded: {layout.keyword} has {len(content)} bytes, and frame {index + 1} of {layout.rows} x "
            f"{layout.columns} pixels ends at {wanted}. {AGAIN}"
        )
    if order == ">" and layout.allocated == 8 and kind == "OW":
        # PS3.5 8.1.2: words of two values each, and so the second comes first.
        content = np.frombuffer(content[: len(content) & ~1], "<u2").byteswap().tobytes()
    n_values = layout.rows * layout.columns * (2 if halved else layout.samples)
    if layout.allocated == 1:
        first = index * n_values
        bits = np.frombuffer(content, np.uint8, (first % 8 + n_values + 7) // 8, first // 8)
        return np.unpackbits(bits, bitorder="little")[first % 8 : first % 8 + n_values].reshape(layout.shape)
    letter = "f" if layout.is_float else "u"
    dtype = np.dtype(f"{order}{letter}{layout.allocated // 8}")
    values = np.frombuffer(content, dtype, n_values, index * n_values * dtype.itemsize)
    values = values.astype(dtype.newbyteorder("="))
    if layout.is_float:
        return values.reshape(layout.shape)
    plane = _widened(values, layout) if halved else _arranged(values, layout)
    plane = significant(plane, layout, layout.allocated)
    return _as_rgb(plane, layout)


def _arranged(values: Plane, layout: Layout) -> Plane:
    if not layout.planes_apart:
        return values.reshape(layout.shape)
    return np.moveaxis(values.reshape(layout.samples, layout.rows, layout.columns), 0, -1)


def _widened(values: Plane, layout: Layout) -> Plane:
    """Return all three values of each pixel of ``Y1 Y2 Cb Cr``, which two pixels share."""
    pairs = values.reshape(-1, 4)
    plane = np.empty((len(pairs), 2, 3), values.dtype)
    plane[:, :, 0], plane[:, :, 1:] = pairs[:, :2], pairs[:, np.newaxis, 2:]
    return plane.reshape(layout.shape)


def significant(plane: Plane, layout: Layout, precision: int, *, whole: bool = False) -> Plane:
    """Return the stored bits as numbers.

    Parameters
    ----------
    plane
        Values as decoded.
    layout
        Which bits count.
    precision
        Bits that the decoder knows of; a stream of as many as are stored has them at its lower end already.
    whole
        Whether all bits of `precision` count, as JPEG-LS and JPEG 2000 have it.
    """
    words = plane.view(f"u{plane.itemsize}")
    container = 8 * plane.itemsize
    shift = layout.high + 1 - layout.stored
    if shift and precision > layout.high:
        words, whole = words >> shift, False
    bits = min(precision if whole else layout.stored, container)
    if layout.signed:
        spare = container - bits
        signed = words.view(f"i{plane.itemsize}")
        words = (signed << spare) >> spare if spare else signed
    elif bits < container:
        words = words & np.array(2**bits - 1, words.dtype)
    return words.astype(layout.dtype, copy=False)


def _encapsulated(dataset: "FileDataset", layout: Layout, index: int) -> Plane:
    from focusmap.images import dicom_codecs as codecs

    syntax = str(_syntax(dataset))
    if not codecs.is_available(syntax):
        raise UnreadableImageError(
            f"TransferSyntaxUID is {syntax} ({_syntax(dataset).name}), which is not read. Export it as explicit VR "
            "little endian"
        )
    decoded = codecs.decode_frame(_packed(dataset, layout, index), syntax, layout)
    if decoded.plane.shape != layout.shape:
        raise UnreadableImageError(
            f"says {layout.rows} x {layout.columns} pixels of {layout.samples} samples and holds {decoded.plane.shape}"
        )
    if decoded.plane.dtype.kind == "i" and not layout.signed and int(decoded.plane.min()) < 0:
        raise UnreadableImageError("PixelRepresentation is 0, and its pixels are below 0. Export it again")
    # Two's complement of the stored bits alone may lie in a stream of more bits that knows no sign.
    is_masked = layout.signed and decoded.plane.dtype.kind == "u" and int(decoded.plane.max()) < 2**layout.stored
    whole = syntax in (*codecs.JPEG_LS, *codecs.JPEG_2000) and not is_masked
    plane = significant(decoded.plane, layout, decoded.precision, whole=whole)
    return plane if decoded.is_rgb else _as_rgb(plane, layout)


def _packed(dataset: "FileDataset", layout: Layout, index: int) -> bytes:
    """Return the encoded bytes of a frame: by the table of offsets, or else by their own marks."""
    from pydicom.encaps import get_frame

    content = _with_table(dataset.PixelData)
    table = 8 + int.from_bytes(content[4:8], "little")
    bare = ITEM + bytes(4) + content[table:]
    extended = [words_of(dataset, name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    offsets = (extended[0], extended[1]) if all(extended) and len(extended[0]) == len(extended[1]) else None
    for source, known in ((content, offsets), (content, None), (bare, None)):
        try:
            frame = get_frame(source, index, extended_offsets=known, number_of_frames=layout.n_frames)
        # pydicom fails in each of its own ways; the next attempt, or the message below, says what follows.
        except Exception:
            continue
        if frame:
            return bytes(frame)
    raise UnreadableImageError(f"cannot be decoded: frame {index + 1} is not among its packed pixels. {AGAIN}")


def words_of(dataset: "Dataset", keyword: str) -> bytes:
    """Return the bytes of an attribute of 64-bit numbers; empty where it is absent."""
    value = dataset.get(keyword)
    return value if isinstance(value, bytes) else b""


def _as_rgb(plane: Plane, layout: Layout) -> Plane:
    """Return colour as red, green, blue; grey and palettes as they are."""
    if plane.ndim == 2 or layout.photometric not in YBR:
        return plane
    partial = "PARTIAL" in layout.photometric
    half, top = 2 ** (layout.stored - 1), 2**layout.stored - 1
    offset = np.array([half / 8 if partial else 0, half, half], np.float32)
    colour = (plane.astype(np.float32) - offset) @ (PARTIAL if partial else FULL)
    return np.clip(np.floor(colour + np.float32(0.5)), 0, top).astype(plane.dtype)
