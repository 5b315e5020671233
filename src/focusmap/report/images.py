"""Images as data URIs, so that a page is one file and asks the network for nothing."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.figures.style import svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 1800
QUALITY = 84


def figure_uri(figure: "Figure") -> str:
    """Return a figure as an SVG data URI."""
    return data_uri("image/svg+xml", svg_text(figure).encode())


def image_uri(path: Path) -> str:
    """Return an image file as a JPEG data URI: a tenth of the PNG's size, at full resolution."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as opened:
        image = opened.convert("RGB")
        image.thumbnail((WIDEST, 10 * WIDEST))
        image.save(buffer, format="jpeg", quality=QUALITY, subsampling=0)
    return data_uri("image/jpeg", buffer.getvalue())


def image_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image file, which is not decoded for it."""
    from PIL import Image

    with Image.open(path) as image:
        return image.width, image.height


def inside(folder: Path, name: str) -> Path | None:
    """Return the file called `name` in `folder`; None if it is not there or lies outside."""
    path = (folder / name).resolve()
    return path if name and path.is_relative_to(folder.resolve()) and path.is_file() else None


def data_uri(kind: str, content: bytes) -> str:
    """Return a file of a kind, such as ``image/png``, as an address that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
