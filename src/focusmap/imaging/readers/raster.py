"""PNG and JPEG by the fastest decoders that get them right, everything else by Pillow."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError
from focusmap.values.image import Image, Pixels, as_picture, check_plane_size

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Layout: TypeAlias = Literal["mono", "rgb", "rgba"]

# PNG (third edition) table 12: colour type 0 is grey, 2 is RGB, 6 is RGB with alpha; 3 (palette) goes to Pillow.
FAST_LAYOUTS: dict[int, Layout] = {0: "mono", 2: "rgb", 6: "rgba"}
PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
ORIENTATION_TAG = 0x0112


def read_png(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (PNG cannot be decoded reduced)
    """Return the picture in a PNG file: 1 to 16 bit, grey, colour or palette, alpha laid over black."""
    content = path.read_bytes()
    if len(content) < 29 or content[12:16] != b"IHDR":
        raise UnreadableImageError("is a PNG whose header is damaged")
    columns, rows, depth, colour_type, *_, interlaced = struct.unpack(">IIBBBBB", content[16:29])
    check_plane_size(rows, columns)
    layout = FAST_LAYOUTS.get(colour_type)
    if layout is None or depth < 8 or interlaced or _has_exif(content):
        return as_picture(_decode_with_pillow(content), path)
    return as_picture(_flatten(_decode_png(content, (rows, columns), depth, layout)), path)


def _has_exif(content: bytes) -> bool:
    # The chunk stands before or after the pixels, which are not worth searching.
    return b"eXIf" in content[: content.find(b"IDAT")] or b"eXIf" in content[-65536:]


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
    upright = (columns, rows) if orientation >= 5 else (rows, columns)
    return as_picture(_turn(plane, orientation), path, upright)


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


def _turn(plane: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the plane upright (EXIF 2.32, tag 0x0112): first transposed, then flipped."""
    if orientation >= 5:
        plane = np.swapaxes(plane, 0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def read_other_raster(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the picture in a TIFF, BMP, GIF or WebP file that holds exactly one."""
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
        return _flatten(_pillow_array(ImageOps.exif_transpose(opened)))


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


def _flatten(plane: Pixels) -> Pixels:
    """Return the plane without its alpha channel, laid over black as padding is."""
    if plane.ndim == 2 or plane.shape[-1] not in (2, 4):
        return plane
    colour, alpha = plane[..., :-1], plane[..., -1:]
    opaque = 255 if plane.dtype == np.uint8 else 65535
    if alpha.min() == opaque:
        return colour
    return cast(Pixels, np.rint(colour * (alpha / opaque)).astype(plane.dtype))
