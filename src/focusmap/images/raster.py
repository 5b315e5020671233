"""PNG and JPEG by the fastest decoders that get them right, BMP, GIF and WebP by Pillow, one image, upright."""

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import AGAIN, check_bytes, check_parts, check_plane_size, read_content
from focusmap.images.image import Image, Pixels, as_image, over_black
from focusmap.images.jpeg import check_scans, decode_deep, decode_whole, frame_header, is_ended, segments

if TYPE_CHECKING:
    from PIL import Image as PillowImage


PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
ORIENTATION_TAG = 0x0112


def decode_with_pillow(content: bytes, *, first: bool = False) -> Pixels:
    """Return the image in the bytes of a file, alpha laid over black; the `first` of several or none."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    # Its own limit lies below ours, which has been asked.
    Pillow.MAX_IMAGE_PIXELS = None
    with Pillow.open(io.BytesIO(content), formats=PILLOW_FORMATS) as opened:
        check_plane_size(opened.height, opened.width)
        check_bytes(opened.height * opened.width * len(opened.getbands()), len(content))
        if not first:
            _refuse_several(opened)
        return over_black(_pixels(ImageOps.exif_transpose(opened)))


def _refuse_several(opened: "PillowImage.Image") -> None:
    """Raise `UnreadableImageError` if a file holds several images."""
    n_frames = 1
    while getattr(opened, "is_animated", False):
        try:
            opened.seek(n_frames)
        except EOFError:
            break
        n_frames += 1
        check_parts(n_frames, "images")
    if n_frames > 1:
        raise UnreadableImageError(f"holds {n_frames} images; one was expected. Save each as a file of its own")


def _pixels(image: "PillowImage.Image") -> Pixels:
    """Return the pixels in their own depth; palettes are looked up, two-level images become 0 and 255."""
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode == "PA":
        image = image.convert("RGBA")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.dtype == np.dtype(">u2"):
        return pixels.astype(np.uint16)
    return pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)


def orientation_of(content: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 is upright and what a file without a readable one means."""
    if not content.startswith(b"\x89PNG") and not any(part.startswith(b"Exif\0") for _, part in segments(content)):
        return 1
    from PIL import Image as Pillow

    Pillow.MAX_IMAGE_PIXELS = None
    try:
        with Pillow.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
            value = opened.getexif().get(ORIENTATION_TAG, 1)
    # Pillow fails on damaged EXIF in each of its own ways; whatever it is, it says nothing of the orientation.
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(plane: Pixels, orientation: int) -> Pixels:
    """Return the plane upright (EXIF 2.32, tag 0x0112): first transposed, then flipped."""
    if orientation >= 5:
        plane = np.swapaxes(plane, 0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


Layout: TypeAlias = Literal["mono", "rgb", "rgba"]

# PNG (third edition) table 12: colour type 0 is grey, 2 is RGB, 4 is grey with alpha, 6 is RGB with alpha; 3 (palette)
# goes to Pillow.
FAST_LAYOUTS: dict[int, Layout] = {0: "mono", 2: "rgb", 6: "rgba"}
PALETTE = 3
SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}


def read_png(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (PNG cannot be decoded reduced)
    """Return the image in a PNG file: 1 to 16 bit, grey, colour or palette, alpha laid over black."""
    content = read_content(path)
    columns, rows, depth, colour_type, *_, interlaced = _png_header(content)
    check_bytes(rows * columns * SAMPLES.get(colour_type, 4) * max(depth, 8) // 8, len(content))
    before = _chunks(content)
    _refuse_animation(before)
    if colour_type == PALETTE and not before.get(b"PLTE"):
        raise UnreadableImageError(f"says that its colours are in a palette and has none. {AGAIN}")
    layout = FAST_LAYOUTS.get(colour_type)
    if layout is None or depth < 8 or interlaced or _has_exif(content, before) or b"tRNS" in before:
        plane = _decode_deep_png(content) if depth == 16 else decode_with_pillow(content)
        return as_image(
            _without_clear(plane, before, depth, SAMPLES[colour_type]) if colour_type in (0, 2) else plane, path
        )
    return as_image(over_black(_decode_png(content, (rows, columns), depth, layout)), path)


def png_shape(path: Path) -> tuple[int, ...]:
    """Return rows and columns of the image in a PNG file, upright; from its header alone where no EXIF turns it."""
    content = read_content(path)
    columns, rows, *_ = _png_header(content)
    if _has_exif(content, _chunks(content)):
        return read_png(path).source_shape
    return rows, columns


def _png_header(content: bytes) -> tuple[int, ...]:
    """Return columns, rows, bit depth, colour type, compression, filter and whether lines are interlaced."""
    if len(content) < 29 or content[12:16] != b"IHDR":
        raise UnreadableImageError("is a PNG whose header is damaged")
    header = struct.unpack(">IIBBBBB", content[16:29])
    check_plane_size(header[1], header[0])
    return header


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """Return the chunks before the pixels by their type (PNG 5.3: length, type, data, checksum)."""
    chunks: dict[bytes, bytes] = {}
    place = 8
    while (kind := content[place + 4 : place + 8]) not in (b"IDAT", b""):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks[kind] = content[place + 8 : place + 8 + length]
        place += 12 + length
    return chunks


def _without_clear(plane: Pixels, before: Mapping[bytes, bytes], depth: int, n_values: int) -> Pixels:
    """Return grey or colour whose one clear value (PNG 11.3.2.1: two bytes a channel) is black, as padding is."""
    if len(before.get(b"tRNS", b"")) < 2 * n_values:
        return plane
    stored = np.frombuffer(before[b"tRNS"], ">u2", n_values).astype(int)
    clear = stored if depth >= 8 else stored * 255 // (2**depth - 1)
    is_clear = (np.atleast_3d(plane) == clear).all(axis=-1)
    return cast(Pixels, np.where(is_clear if plane.ndim == 2 else is_clear[..., None], plane.dtype.type(0), plane))


def _refuse_animation(before: Mapping[bytes, bytes]) -> None:
    """Raise `UnreadableImageError` if a chunk before the pixels says that several images follow."""
    n_images = int.from_bytes(before.get(b"acTL", b"\0\0\0\1")[:4], "big")
    if n_images > 1:
        raise UnreadableImageError(f"holds {n_images} images; one was expected. Save each as a file of its own")


def _has_exif(content: bytes, before: Mapping[bytes, bytes]) -> bool:
    # The chunk stands before or after the pixels, which are not worth searching.
    return b"eXIf" in before or b"eXIf" in content[-65536:]


def _decode_png(content: bytes, shape: tuple[int, int], depth: int, layout: Layout) -> Pixels:
    # kornia_rs takes a third of the time of OpenCV and Pillow, and refuses whatever is cut off or fails its CRC.
    from kornia_rs import io

    decode = io.decode_image_png_u16 if depth == 16 else io.decode_image_png_u8
    return cast(Pixels, np.asarray(decode(content, shape, layout)))


def _decode_deep_png(content: bytes) -> Pixels:
    """Return what a PNG of 16 bits holds, which Pillow would cut to 8; the colour that stands for clear is black."""
    import imagecodecs

    if b"IEND" not in content[-65536:]:
        raise UnreadableImageError(f"cannot be decoded: its PNG data end too early. {AGAIN}")
    plane = over_black(cast(Pixels, np.asarray(imagecodecs.png_decode(content))))
    plane = plane[..., 0] if plane.ndim == 3 and plane.shape[-1] == 1 else plane
    return turned(plane, orientation_of(content))


def read_jpeg(path: Path, at_least: int | None = None) -> Image:
    """Return the image in a JPEG file, upright; decoded at 1/2, 1/4 or 1/8 if `at_least` allows it.

    What every viewer passes over, as bytes between markers, is passed over; what ends too early is refused.
    """
    import simplejpeg

    content = read_content(path)
    frame = frame_header(content)
    if not frame.marker:
        raise UnreadableImageError(f"cannot be decoded: it has no JPEG frame. {AGAIN}")
    check_plane_size(*frame.shape)
    check_scans(content, frame)
    orientation = orientation_of(content)
    shape = _upright(frame.shape, orientation)
    if frame.precision != 8:
        if not is_ended(content):
            raise UnreadableImageError(f"cannot be decoded: its JPEG data end too early. {AGAIN}")
        return as_image(turned(cast(Pixels, decode_deep(content)), orientation), path, shape)
    colours = simplejpeg.decode_jpeg_header(content, strict=False)[2]
    check_bytes(frame.rows * frame.columns * (1 if colours == "Gray" else 3), len(content))
    if colours not in ("Gray", "YCbCr", "RGB"):
        decode_whole(content, "CMYK", strict=False)
        return as_image(decode_with_pillow(content), path)
    factor = 1 if at_least is None else _reduction(frame.shape, at_least)
    least = (-(-frame.rows // factor), -(-frame.columns // factor))
    plane = decode_whole(content, "GRAY" if colours == "Gray" else "RGB", strict=False, least=least)
    return as_image(turned(plane, orientation), path, shape)


def jpeg_shape(path: Path) -> tuple[int, ...]:
    """Return rows and columns of the image in a JPEG file, upright, from its header alone."""
    content = read_content(path)
    shape = frame_header(content).shape
    check_plane_size(*shape)
    return _upright(shape, orientation_of(content))


def _upright(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (shape[1], shape[0]) if orientation >= 5 else shape


def _reduction(shape: tuple[int, int], at_least: int) -> int:
    """Return 8, 4, 2 or 1: by how much a JPEG may be reduced.

    A reduced image covers whole blocks and so may reach past the edge; this may not come to more than half a
    pixel of the size asked for. Other factors than these are no faster.
    """
    longer = max(shape)
    for factor in (8, 4, 2):
        overhang = max(-side % factor for side in shape)
        if longer >= factor * at_least and overhang * at_least <= 0.5 * longer:
            return factor
    return 1


def read_other_raster(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the image in a BMP, GIF or WebP file that holds exactly one."""
    return as_image(decode_with_pillow(read_content(path)), path)
