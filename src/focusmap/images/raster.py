"""PNG and JPEG by the fastest decoders that get them right, everything else by Pillow."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np

from focusmap.errors import UnreadableImageError
from focusmap.images.budget import check_plane_size
from focusmap.images.image import Image, Pixels, as_picture, over_black

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Layout: TypeAlias = Literal["mono", "rgb", "rgba"]

# PNG (third edition) table 12: colour type 0 is grey, 2 is RGB, 6 is RGB with alpha; 3 (palette) goes to Pillow.
FAST_LAYOUTS: dict[int, Layout] = {0: "mono", 2: "rgb", 6: "rgba"}
PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
ORIENTATION_TAG = 0x0112
BIG_TIFF = (b"II+\x00", b"MM\x00+")


def read_png(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (PNG cannot be decoded reduced)
    """Return the picture in a PNG file: 1 to 16 bit, grey, colour or palette, alpha laid over black."""
    content = path.read_bytes()
    columns, rows, depth, colour_type, *_, interlaced = _png_header(content)
    layout = FAST_LAYOUTS.get(colour_type)
    if layout is None or depth < 8 or interlaced or _has_exif(content) or (depth == 8 and _has_colour_key(content)):
        return as_picture(_decode_with_pillow(content), path)
    return as_picture(over_black(_decode_png(content, (rows, columns), depth, layout)), path)


def png_shape(path: Path) -> tuple[int, ...]:
    """Return rows and columns of the picture in a PNG file, upright; from its header alone where no EXIF turns it."""
    content = path.read_bytes()
    columns, rows, *_ = _png_header(content)
    return read_png(path).source_shape if _has_exif(content) else (rows, columns)


def _png_header(content: bytes) -> tuple[int, ...]:
    """Return columns, rows, bit depth, colour type, compression, filter and whether lines are interlaced."""
    if len(content) < 29 or content[12:16] != b"IHDR":
        raise UnreadableImageError("is a PNG whose header is damaged")
    header = struct.unpack(">IIBBBBB", content[16:29])
    check_plane_size(header[1], header[0])
    return header


def _has_exif(content: bytes) -> bool:
    # The chunk stands before or after the pixels, which are not worth searching.
    return b"eXIf" in content[: content.find(b"IDAT")] or b"eXIf" in content[-65536:]


def _has_colour_key(content: bytes) -> bool:
    """Return True if one colour stands for what is transparent."""
    return b"tRNS" in content[: content.find(b"IDAT")]


def _decode_png(content: bytes, shape: tuple[int, int], depth: int, layout: Layout) -> Pixels:
    # kornia_rs takes a third of the time of OpenCV and Pillow, and refuses whatever is cut off or fails its CRC.
    from kornia_rs import io

    decode = io.decode_image_png_u16 if depth == 16 else io.decode_image_png_u8
    return cast(Pixels, np.asarray(decode(content, shape, layout)))


def read_jpeg(path: Path, at_least: int | None = None) -> Image:
    """Return the picture in a JPEG file, upright; decoded at 1/2, 1/4 or 1/8 if `at_least` allows it."""
    import simplejpeg

    content = path.read_bytes()
    rows, columns, colours, _ = simplejpeg.decode_jpeg_header(content)
    check_plane_size(rows, columns)
    if colours not in ("Gray", "YCbCr", "RGB"):
        return as_picture(_decode_with_pillow(content), path)
    factor = 1 if at_least is None else _reduction((rows, columns), at_least)
    plane = simplejpeg.decode_jpeg(
        content, "GRAY" if colours == "Gray" else "RGB", min_height=-(-rows // factor), min_width=-(-columns // factor)
    )
    orientation = _orientation(content)
    return as_picture(_turn(plane, orientation), path, _upright((rows, columns), orientation))


def jpeg_shape(path: Path) -> tuple[int, ...]:
    """Return rows and columns of the picture in a JPEG file, upright, from its header alone."""
    import simplejpeg

    content = path.read_bytes()
    rows, columns, *_ = simplejpeg.decode_jpeg_header(content)
    check_plane_size(rows, columns)
    return _upright((rows, columns), _orientation(content))


def _upright(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (shape[1], shape[0]) if orientation >= 5 else shape


def _reduction(shape: tuple[int, int], at_least: int) -> int:
    """Return 8, 4, 2 or 1: by how much a JPEG may be reduced.

    A reduced picture covers whole blocks and so may reach past the edge; this may not come to more than half a
    pixel of the size asked for. Other factors than these are no faster.
    """
    longer = max(shape)
    for factor in (8, 4, 2):
        overhang = max(-side % factor for side in shape)
        if longer >= factor * at_least and overhang * at_least <= 0.5 * longer:
            return factor
    return 1


def _orientation(content: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 is upright and what a file without one means."""
    if b"Exif\x00\x00" not in content[:65536]:
        return 1
    import io

    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(content), formats=("JPEG", "MPO")) as opened:
        value = opened.getexif().get(ORIENTATION_TAG, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(plane: Pixels, orientation: int) -> Pixels:
    """Return the plane upright (EXIF 2.32, tag 0x0112): first transposed, then flipped."""
    if orientation >= 5:
        plane = np.swapaxes(plane, 0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


@dataclass(frozen=True)
class TiffHeader:
    """What the tags of a TIFF say of its first picture; `alone` if there is no second one."""

    bits: int
    n_samples: int
    white_is_zero: bool
    planes_apart: bool
    orientation: int
    alone: bool

    @property
    def needs_libtiff(self) -> bool:
        """True for 16-bit pixels that Pillow would cut to 8 bits, or show as their negative."""
        return self.bits == 16 and (self.n_samples > 1 or self.white_is_zero)


def read_tiff(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the picture in a TIFF file that holds exactly one."""
    content = path.read_bytes()
    header = _tiff_header(content)
    plane = _decode_deep_tiff(content, header) if header.needs_libtiff else _decode_with_pillow(content)
    return as_picture(plane, path)


def _tiff_header(content: bytes) -> TiffHeader:
    import io

    from PIL import TiffImagePlugin as Tiff

    tags = Tiff.ImageFileDirectory_v2(content[: 16 if content[:4] in BIG_TIFF else 8])
    file = io.BytesIO(content)
    file.seek(tags.next)
    tags.load(file)
    check_plane_size(tags.get(Tiff.IMAGELENGTH, 0), tags.get(Tiff.IMAGEWIDTH, 0))
    return TiffHeader(
        bits=tags.get(Tiff.BITSPERSAMPLE, (1,))[0],
        n_samples=tags.get(Tiff.SAMPLESPERPIXEL, 1),
        white_is_zero=tags.get(Tiff.PHOTOMETRIC_INTERPRETATION) == 0,
        planes_apart=tags.get(Tiff.PLANAR_CONFIGURATION, 1) == 2,
        orientation=tags.get(ORIENTATION_TAG, 1),
        alone=tags.next == 0,
    )


def _decode_deep_tiff(content: bytes, header: TiffHeader) -> Pixels:
    import imagecodecs

    if not header.alone or header.n_samples > 4:
        raise UnreadableImageError(f"holds several pictures, or one of {header.n_samples} channels; one was expected")
    plane = np.asarray(imagecodecs.tiff_decode(content))
    if header.planes_apart and header.n_samples > 1:
        plane = np.moveaxis(plane, 0, -1)
    if header.white_is_zero:
        plane = np.invert(plane)
    return over_black(_turn(plane, header.orientation))


def read_other_raster(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the picture in a BMP, GIF or WebP file that holds exactly one."""
    return as_picture(_decode_with_pillow(path.read_bytes()), path)


def _decode_with_pillow(content: bytes) -> Pixels:
    import io

    from PIL import Image as Pillow
    from PIL import ImageOps

    with Pillow.open(io.BytesIO(content), formats=PILLOW_FORMATS) as opened:
        check_plane_size(opened.height, opened.width)
        n_frames = getattr(opened, "n_frames", 1)
        if n_frames > 1:
            raise UnreadableImageError(f"holds {n_frames} pictures; one was expected")
        return over_black(_pillow_array(ImageOps.exif_transpose(opened)))


def _pillow_array(picture: "PillowImage.Image") -> Pixels:
    """Return the pixels in their own depth; palettes are looked up, two-level pictures become 0 and 255."""
    if picture.mode == "P" or "transparency" in picture.info:
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    return pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)
