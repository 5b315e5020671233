"""TIFF files that hold one image, of any depth, sign, layout and meaning of channels; several are refused and counted.

Pillow decodes what it gets right. What it lacks or would cut to 8 bits goes through tifffile.
"""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import AGAIN, check_bytes, check_parts, check_plane_size, read_content
from focusmap.images.image import Image, Pixels, as_image, over_black
from focusmap.images.raster import decode_with_pillow, turned

if TYPE_CHECKING:
    from tifffile import TiffPage

BIG_TIFF = (b"II+\x00", b"MM\x00+")
# Tags of TIFF 6.0 and its supplements, and by which microscopes keep several planes behind one directory.
SUBFILE, COMPRESSION, DESCRIPTION, EXTRA, FORMAT, TILE_WIDTH, TILE_LENGTH = 254, 259, 270, 338, 339, 322, 323
# As is, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard; tifffile has what else there is, as JPEG 2000 and WebP.
OF_PILLOW = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
METAMORPH = 33629
REDUCED, MASK = 1, 4
NO_IMAGE = REDUCED | MASK
STACKS = (33628, METAMORPH, 34361, 34412, 50838, 50839, 51123)
HINTS = ("ImageJ=", "shape", "<OME", "SCANIMAGE", "MetaMorph")
UNSIGNED, SIGNED, DECIMAL = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3
MEANINGS = {3: "a palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIE Lab", 32803: "a colour filter array"}
ASSOCIATED, UNASSOCIATED = 1, 2


@dataclass(frozen=True)
class TiffHeader:
    """What the tags of a TIFF say of its first image."""

    rows: int
    columns: int
    bits: tuple[int, ...]
    kind: int
    photometric: int
    extra: tuple[int, ...]
    n_samples: int
    compression: int
    orientation: int
    may_be_stack: bool

    @property
    def depth(self) -> str:
        """Return what a sample is, as messages say it."""
        name = {UNSIGNED: "uint", SIGNED: "int", DECIMAL: "float"}.get(self.kind, f"sample format {self.kind}, ")
        return f"{name}{self.bits[0]}"

    @property
    def suits_pillow(self) -> bool:
        """Return whether Pillow gives the samples as they are stored."""
        if len(set(self.bits)) > 1 or (
            self.extra and (self.extra, self.bits[0], self.n_samples) != ((UNASSOCIATED,), 8, 4)
        ):
            return False
        if self.compression not in OF_PILLOW:
            return False
        if self.kind == UNSIGNED and self.bits[0] <= 8:
            return self.n_samples <= 4
        if self.n_samples > 1 or self.photometric != BLACK_IS_ZERO:
            return False
        return (self.kind, self.bits[0]) in ((UNSIGNED, 16), (SIGNED, 16), (SIGNED, 32), (DECIMAL, 32))


def read_tiff(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the image in a TIFF file that holds exactly one.

    Associated alpha is multiplied in already and left off, as extra samples without a meaning are; other alpha is laid
    over black. What is signed or of 32 bits or more keeps its values.

    Raises
    ------
    UnreadableImageError
        If it holds several images or is cut off; if its samples are nothing that is read, with their depth and number.
    """
    content = read_content(path)
    header = _header(content)
    n_images = _n_directories(content)
    if n_images == 1 and header.may_be_stack:
        n_images = _n_planes(content)
    if n_images > 1:
        raise UnreadableImageError(f"holds {n_images} images; one was expected. Save each as a file of its own")
    plane = decode_with_pillow(content, first=True) if header.suits_pillow else _decode_with_tifffile(content, header)
    return as_image(plane, path)


def _header(content: bytes) -> TiffHeader:
    from PIL import TiffImagePlugin as Tiff

    tags = Tiff.ImageFileDirectory_v2(content[: 16 if content[:4] in BIG_TIFF else 8])
    file = io.BytesIO(content)
    file.seek(tags.next)
    tags.load(file)
    rows, columns = int(tags.get(Tiff.IMAGELENGTH, 0)), int(tags.get(Tiff.IMAGEWIDTH, 0))
    check_plane_size(rows, columns)
    n_samples = int(tags.get(Tiff.SAMPLESPERPIXEL, 1))
    check_parts(n_samples, "channels")
    bits = tuple(int(one) for one in tags.get(Tiff.BITSPERSAMPLE, (1,))) or (1,)
    sides = [max(int(tags.get(tag, side)), side) for tag, side in ((TILE_LENGTH, rows), (TILE_WIDTH, columns))]
    check_bytes(math.prod(sides) * n_samples * max(bits) // 8, len(content))
    kinds = tuple(tags.get(FORMAT, (UNSIGNED,))) or (UNSIGNED,)
    described = str(tags.get(DESCRIPTION, ""))[:4096]
    return TiffHeader(
        rows=rows,
        columns=columns,
        bits=bits,
        # 4 is "undefined", which is read as whole numbers.
        kind=UNSIGNED if kinds[0] == 4 else int(kinds[0]),
        photometric=int(tags.get(Tiff.PHOTOMETRIC_INTERPRETATION, BLACK_IS_ZERO)),
        extra=tuple(int(one) for one in tags.get(EXTRA, ())),
        n_samples=n_samples,
        compression=int(tags.get(COMPRESSION, 1)),
        orientation=int(tags.get(0x0112, 1)),
        may_be_stack=any(hint in described for hint in HINTS) or any(tag in tags for tag in STACKS),
    )


def _n_directories(content: bytes) -> int:
    """Return how many images the chain of directories has; reduced copies and masks of the first are none."""
    return sum(1 for number, subfile in enumerate(_subfiles(content)) if number == 0 or not subfile & NO_IMAGE)


def _subfiles(content: bytes) -> Iterator[int]:
    """Yield what kind of image each directory holds; `UnreadableImageError` if there are more than are counted."""
    order, is_big = "<" if content[:1] == b"I" else ">", content[:4] in BIG_TIFF
    place_of, count_of, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    place = struct.unpack_from(order + place_of, content, 8 if is_big else 4)[0]
    seen: set[int] = set()
    while place and place not in seen and place + 8 <= len(content):
        seen.add(place)
        check_parts(len(seen), "images")
        n_entries = struct.unpack_from(order + count_of, content, place)[0]
        first = place + struct.calcsize(order + count_of)
        last = first + n_entries * entry
        subfile = 0
        for start in range(first, min(first + 4 * entry, last, len(content) - entry + 1), entry):
            tag, kind = struct.unpack_from(f"{order}HH", content, start)
            if tag == SUBFILE:
                value = start + (12 if is_big else 8)
                subfile = struct.unpack_from(order + ("H" if kind == 3 else "I"), content, value)[0]
        yield subfile
        if last + struct.calcsize(place_of) > len(content):
            return
        place = struct.unpack_from(order + place_of, content, last)[0]


def _n_planes(content: bytes) -> int:
    """Return how many planes lie behind the one directory of a file, as ImageJ, MetaMorph and others write them."""
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(content)) as file:
        metamorph = file.pages.first.tags.get(METAMORPH)
        n_planes = sum(
            math.prod(size for size, axis in zip(series.shape, series.axes, strict=True) if axis not in "YXS")
            for number, series in enumerate(file.series)
            if number == 0 or not series.keyframe.subfiletype & NO_IMAGE
        )
    # The tag has a value for each plane.
    return max(n_planes, 1 if metamorph is None else int(metamorph.count))


def _decode_with_tifffile(content: bytes, header: TiffHeader) -> Pixels:
    """Return the samples ``(rows, columns)`` or ``(rows, columns, 3)``, turned upright."""
    from tifffile import TiffFile

    n_colours = 3 if header.photometric == RGB else 1
    _refuse_odd_samples(header, n_colours)
    with TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        _check_segments(page, len(content))
        # TIFF 6.0 section 18: tags say in which order channels lie, and tifffile gives them as they lie.
        samples = page.asarray()
        is_apart = header.n_samples > 1 and page.planarconfig == 2
    samples = np.moveaxis(samples, 0, -1) if is_apart else samples
    if samples.shape[:2] != (header.rows, header.columns):
        raise UnreadableImageError(f"says {header.rows} x {header.columns} pixels and holds {samples.shape}")
    colours = samples[..., :n_colours] if samples.ndim == 3 else samples[..., np.newaxis]
    if header.photometric == WHITE_IS_ZERO:
        colours = _counted_down(colours, header)
    if header.n_samples > n_colours and header.extra[:1] == (UNASSOCIATED,):
        colours = over_black(cast(Pixels, np.concatenate([colours, samples[..., n_colours:]], axis=-1)))
    return _narrow(turned(colours[..., 0] if n_colours == 1 else colours, header.orientation))


def _refuse_odd_samples(header: TiffHeader, n_colours: int) -> None:
    """Raise `UnreadableImageError` where samples are neither grey nor RGB, with one more or none, all of one type."""
    is_colour = header.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
    is_number = header.kind in (UNSIGNED, SIGNED, DECIMAL)
    if not is_colour or not is_number or header.n_samples - n_colours not in (0, 1) or len(set(header.bits)) > 1:
        meaning = MEANINGS.get(header.photometric, f"photometric interpretation {header.photometric}")
        what = "" if is_colour else f" as {meaning}"
        raise UnreadableImageError(
            f"holds {header.n_samples} channels of {header.depth}{what}; grey or RGB, with or without alpha, was "
            "expected. Save it so"
        )


def _counted_down(colours: np.typing.NDArray[np.generic], header: TiffHeader) -> np.typing.NDArray[np.generic]:
    """Return samples of which 0 is white as ones of which it is black: the greatest of their bits, or 1, less each.

    Of more than 16 bits the greatest is that of 16 where no sample is above it, which float32 could not tell apart.
    """
    if header.kind == DECIMAL:
        return np.asarray(1 - colours.astype(np.float64))
    # The stored bits need not fill their words.
    n_bits = header.bits[0] - (header.kind == SIGNED)
    n_bits = 16 if n_bits > 16 and colours.max(initial=0) < 2**16 else n_bits
    turned_round = 2**n_bits - 1 - colours.astype(np.float64 if n_bits > 31 else np.int64)
    fits = turned_round.max(initial=0) <= np.iinfo(colours.dtype.str).max
    return np.asarray(turned_round.astype(colours.dtype) if fits and n_bits <= 16 else turned_round)


def _check_segments(page: "TiffPage", n_bytes: int) -> None:
    """Refuse an image of which a strip or tile lies outside the file; tifffile would fill it with zeros."""
    for place, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        if not place or not length or place + length > n_bytes:
            raise UnreadableImageError(f"cannot be decoded: it is cut off, or lacks a strip or tile. {AGAIN}")


def _narrow(plane: np.typing.NDArray[np.generic]) -> Pixels:
    """Return samples as uint8, uint16 or int16 where these are their types or hold them all, else as decimals."""
    if plane.dtype in (np.uint8, np.uint16, np.int16):
        return cast(Pixels, plane.astype(plane.dtype.newbyteorder("=")))
    return cast(Pixels, plane.astype(np.int16 if plane.dtype == np.int8 else np.float32))
