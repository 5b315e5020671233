"""TIFF files that hold one image, of any depth, sign, layout and meaning of channels; several are refused and counted.

Pillow decodes what it gets right. What it lacks or would cut to 8 bits goes through tifffile.
"""

import io
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import AGAIN, check_bytes, check_parts, check_plane_size, read_content
from focusmap.images.image import Image, Pixels, as_image, over_black
from focusmap.images.raster import decode_with_pillow, turned

if TYPE_CHECKING:
    from tifffile import TiffPage

BIG_TIFF = (b"II+\x00", b"MM\x00+")
# Tags of TIFF 6.0 and its supplements, and by which microscopes keep several planes behind one directory.
SUBFILE, OLD_SUBFILE, COLUMNS, ROWS, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
DESCRIPTION, ORIENTATION, N_SAMPLES, TILE_WIDTH, TILE_LENGTH, SUBDIRECTORIES = 270, 274, 277, 322, 323, 330
SOFTWARE, EXTRA, FORMAT = 305, 338, 339
# As is, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard; tifffile has what else there is, as JPEG 2000 and WebP.
OF_PILLOW = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
METAMORPH = 33629
REDUCED, MASK, OLD_REDUCED = 1, 4, 2
NO_IMAGE = REDUCED | MASK
MOST_VALUES = 4096
# TIFF 6.0 section 2 and its supplements: how the values of a tag are stored.
KINDS = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
STACKS = (33628, METAMORPH, 34361, 34412, 50838, 50839, 51123)
HINTS = ("ImageJ=", "shape", "<OME", "SCANIMAGE", "MetaMorph")
UNSIGNED, SIGNED, DECIMAL = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = MEANT = (0, 1, 2, 3)
MEANINGS = {4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIE Lab", 32803: "a colour filter array"}
ASSOCIATED, UNASSOCIATED = 1, 2

Tags: TypeAlias = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class TiffHeader:
    """What the first bytes of a TIFF, and the tags of its image, say."""

    form: bytes
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
    are_truths: bool

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
        if self.compression not in OF_PILLOW or self.photometric == PALETTE or self.form == BIG_TIFF[1]:
            return False
        if self.are_truths:
            return False
        if self.form[:1] == b"M" and self.compression != 1 and self.bits[0] > 8 and self.kind != UNSIGNED:
            # libtiff has turned the bytes already, and Pillow turns them again.
            return False
        if self.kind == UNSIGNED and self.bits[0] <= 8:
            return self.n_samples <= 4
        if self.n_samples > 1 or self.photometric != BLACK_IS_ZERO:
            return False
        return (self.kind, self.bits[0]) in ((UNSIGNED, 16), (SIGNED, 32), (DECIMAL, 32))


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
    directories = dict(_directories(content))
    images = [place for place, tags in directories.items() if not _kind_of_image(tags) & NO_IMAGE]
    place = next(iter(images or directories), 0)
    tags = directories.get(place, {})
    if not images and SUBDIRECTORIES in tags:
        raise UnreadableImageError(
            "begins with a reduced copy, and its image lies in a subdirectory, as cameras keep raw images. Export it "
            "as a plain TIFF"
        )
    content = _beginning_at(place, content)
    header = _header(tags, content)
    n_images = _n_planes(content) if len(images) <= 1 and header.may_be_stack else len(images)
    if n_images > 1:
        raise UnreadableImageError(f"holds {n_images} images; one was expected. Save each as a file of its own")
    plane = decode_with_pillow(content, first=True) if header.suits_pillow else _decode_with_tifffile(content, header)
    return as_image(plane, path)


def _beginning_at(place: int, content: bytes) -> bytes:
    """Return the file with another directory as its first one: before the image may lie a reduced copy or a mask."""
    order, place_of, at = _form(content)
    first = struct.pack(order + place_of, place)
    return content if content[at : at + len(first)] == first else content[:at] + first + content[at + len(first) :]


def _form(content: bytes) -> tuple[str, str, int]:
    """Return byte order, how places in the file are written, and where that of the first directory stands."""
    order = "<" if content[:1] == b"I" else ">"
    return (order, "Q", 8) if content[:4] in BIG_TIFF else (order, "I", 4)


def _header(tags: Tags, content: bytes) -> TiffHeader:
    """Return what the tags of a directory say; `UnreadableImageError` if they claim too much, or nothing."""
    rows, columns = _first(tags, ROWS, 0), _first(tags, COLUMNS, 0)
    check_plane_size(rows, columns)
    n_samples, bits = _first(tags, N_SAMPLES, 1), tags.get(BITS) or (1,)
    check_parts(n_samples, "channels")
    sides = [max(_first(tags, tag, side), side) for tag, side in ((TILE_LENGTH, rows), (TILE_WIDTH, columns))]
    check_bytes(math.prod(sides) * n_samples * max(bits) // 8, len(content))
    kind = _first(tags, FORMAT, UNSIGNED)
    described = bytes(tags.get(DESCRIPTION, ())).decode("latin1")
    # tifffile, and with it scikit-image, writes masks of True and False as images of which 0 is white.
    are_truths = bits == (1,) and bytes(tags.get(SOFTWARE, ())).startswith(b"tifffile")
    return TiffHeader(
        form=content[:4],
        rows=rows,
        columns=columns,
        bits=bits,
        # 4 is "undefined", which is read as whole numbers.
        kind=UNSIGNED if kind == 4 else kind,
        photometric=BLACK_IS_ZERO if are_truths else _first(tags, PHOTOMETRIC, BLACK_IS_ZERO),
        are_truths=are_truths,
        extra=tags.get(EXTRA, ()),
        n_samples=n_samples,
        compression=_first(tags, COMPRESSION, 1),
        orientation=_first(tags, ORIENTATION, 1),
        may_be_stack=any(hint in described for hint in HINTS) or any(tag in tags for tag in STACKS),
    )


def _kind_of_image(tags: Tags) -> int:
    """Return the bits of NewSubfileType, or what the older tag says in its own numbers."""
    return _first(tags, SUBFILE, REDUCED if tags.get(OLD_SUBFILE) == (OLD_REDUCED,) else 0)


def _first(tags: Tags, code: int, default: int) -> int:
    return (tags.get(code) or (default,))[0]


def _directories(content: bytes) -> Iterator[tuple[int, Tags]]:
    """Yield place and tags of each directory; `UnreadableImageError` if there are more than are counted."""
    order, place_of, at = _form(content)
    count_of, entry = ("Q", 20) if place_of == "Q" else ("H", 12)
    place = struct.unpack_from(order + place_of, content, at)[0]
    seen: set[int] = set()
    while place and place not in seen and place + 8 <= len(content):
        seen.add(place)
        check_parts(len(seen), "images")
        n_entries = struct.unpack_from(order + count_of, content, place)[0]
        first = place + struct.calcsize(order + count_of)
        last = first + n_entries * entry
        starts = range(first, min(last, len(content) - entry + 1), entry)
        yield place, dict(_tag(content, start, order, place_of) for start in starts)
        if last + struct.calcsize(place_of) > len(content):
            return
        place = struct.unpack_from(order + place_of, content, last)[0]


def _tag(content: bytes, start: int, order: str, place_of: str) -> tuple[int, tuple[int, ...]]:
    """Return the number of a tag and its first values, whole numbers or letters; none where they are no such."""
    code, kind, n_values = struct.unpack_from(f"{order}HH{place_of}", content, start)
    letter = KINDS.get(kind, "")
    place = start + 4 + struct.calcsize(place_of)
    if not letter or not n_values:
        return code, ()
    if n_values * struct.calcsize(letter) > struct.calcsize(place_of):
        place = struct.unpack_from(order + place_of, content, place)[0]
    n_read = min(n_values, MOST_VALUES)
    if place + n_read * struct.calcsize(letter) > len(content):
        return code, ()
    return code, struct.unpack_from(f"{order}{n_read}{letter.replace('s', 'B')}", content, place)


def _n_planes(content: bytes) -> int:
    """Return how many planes lie behind the one directory of a file, as ImageJ, MetaMorph and others write them."""
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(content)) as file:
        metamorph = file.pages.first.tags.get(METAMORPH)
        n_planes = sum(
            math.prod(size for size, axis in zip(series.shape, series.axes, strict=True) if axis not in "YXS")
            for series in file.series
            if not series.keyframe.subfiletype & NO_IMAGE
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
        samples = samples.astype(np.uint8) if samples.dtype == bool else samples
        is_apart, palette = header.n_samples > 1 and page.planarconfig == 2, page.colormap
    samples = np.moveaxis(samples, 0, -1) if is_apart else samples
    if samples.shape[:2] != (header.rows, header.columns):
        raise UnreadableImageError(f"says {header.rows} x {header.columns} pixels and holds {samples.shape}")
    colours = samples[..., :n_colours] if samples.ndim == 3 else samples[..., np.newaxis]
    if header.photometric == WHITE_IS_ZERO:
        colours = _counted_down(colours, header)
    elif header.photometric == PALETTE:
        colours = _looked_up(colours[..., 0], palette)
    if header.bits[0] < 8 and header.photometric != PALETTE:
        colours = colours * np.uint8(255 // (2 ** header.bits[0] - 1))
    if header.n_samples > n_colours and header.extra[:1] == (UNASSOCIATED,):
        colours = over_black(cast(Pixels, np.concatenate([colours, samples[..., n_colours:]], axis=-1)))
    return _narrow(turned(colours[..., 0] if colours.shape[-1] == 1 else colours, header.orientation))


def _looked_up(
    places: np.typing.NDArray[np.generic], palette: np.typing.NDArray[np.uint16] | None
) -> np.typing.NDArray[np.uint8]:
    """Return the colours of a palette in 8 bits, ``(rows, columns, 3)``; old writers put no more into its 16."""
    if palette is None or places.dtype.kind != "u" or int(places.max(initial=0)) >= palette.shape[1]:
        raise UnreadableImageError(f"says that its colours are in a palette and has none for some. {AGAIN}")
    eight = palette if palette.max(initial=0) < 2**8 else palette // 2**8
    return np.moveaxis(eight.astype(np.uint8)[:, places], 0, -1)


def _refuse_odd_samples(header: TiffHeader, n_colours: int) -> None:
    """Raise `UnreadableImageError` where samples are neither grey nor RGB, with one more or none, all of one type."""
    is_colour = header.photometric in MEANT
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
