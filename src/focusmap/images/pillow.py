"""What Pillow decodes: one image, in its own depth, upright."""

import io
from typing import TYPE_CHECKING

import numpy as np

from focusmap.errors import UnreadableImageError
from focusmap.images.budget import check_bytes, check_parts, check_plane_size
from focusmap.images.image import Pixels, over_black

if TYPE_CHECKING:
    from PIL import Image as PillowImage

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
ORIENTATION_TAG = 0x0112


def decode_with_pillow(content: bytes, *, first: bool = False) -> Pixels:
    """Return the image in the bytes of a file, alpha laid over black; the `first` of several or none."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    # Its own limit lies below ours, which has been asked.
    Pillow.MAX_IMAGE_PIXELS = None
    with Pillow.open(io.BytesIO(content), formats=FORMATS) as opened:
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
    if b"Exif\x00\x00" not in content[:65536] and not content.startswith(b"\x89PNG"):
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
