"""Templates to files: autoescaped, self-contained, written whole or not at all; images as data URIs; and PDF.

A page is one file and asks the network for nothing. As PDF, by WeasyPrint, its text can be searched and copied, its
curves are vectors, its paper is A4.
"""

import base64
import io
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageFile

from focusmap.basics import CHINESE, PANGO, Language, MissingPartError, atomic, chinese_typeface, require, write_text
from focusmap.figures import part_of, svg_text
from focusmap.report.words import Words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure


OPTION = re.compile(r"--[a-z][a-z-]*(?: (?:[0-9]+|none|[A-Z]+)\b)?")
WIDEST = 1800
QUALITY = 84


def figure_uri(figure: "Figure") -> str:
    """Return a figure as an SVG data URI."""
    return data_uri("image/svg+xml", svg_text(figure).encode())


def image_uri(path: Path, part: Literal["whole", "pair", "map"] = "whole") -> str:
    """Return an image file, or a part of an overlay, as a JPEG data URI: a tenth of the PNG's size, at full resolution.

    Parameters
    ----------
    part
        As for `focusmap.figures.overlays.part_of`.
    """
    buffer = io.BytesIO()
    with Image.open(path) as opened:
        image = opened.convert("RGB").crop(part_of(opened.size, part))
        image.thumbnail((WIDEST, 10 * WIDEST))
        image.save(buffer, format="jpeg", quality=QUALITY, subsampling=0)
    return data_uri("image/jpeg", buffer.getvalue())


def image_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image file, which is not decoded for it."""
    with Image.open(path) as image:
        return image.width, image.height


def inside(folder: Path, name: str) -> Path | None:
    """Return the file called `name` in `folder`; None if it is not there or lies outside."""
    path = (folder / name).resolve()
    return path if name and path.is_relative_to(folder.resolve()) and path.is_file() else None


def data_uri(kind: str, content: bytes) -> str:
    """Return a file of a kind, such as ``image/png``, as an address that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_page(
    template: str, context: Mapping[str, object], path: Path, words: Words, folder: Path | None = None
) -> Path:
    """Fill `template` with `context` and `words`, write it to `path` and return that; see `render_page`."""
    write_text(path, render_page(template, context, words, folder))
    return path


def render_page(template: str, context: Mapping[str, object], words: Words, folder: Path | None = None) -> str:
    """Return `template`, of `folder` or of the report's own, filled with `context` and `words`.

    Everything in `context` is escaped: a label or file name may hold HTML.
    """
    return _environment(folder).get_template(template).render(words=words, **context)


def style_sheet() -> str:
    """Return the style of the pages."""
    return _environment().get_template("style.css").render()


@cache
def _environment(folder: Path | None = None) -> "Environment":
    """Return what fills templates; they are compiled once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    own = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader([own] if folder is None else [folder, own]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typed"] = _typed
    return environment


def _typed(sentence: str) -> "Markup":
    """Return a sentence in which what is typed, such as ``--patient none``, is set as code and never parted.

    >>> print(_typed("Say --folds 5 & go"))
    Say <code class="option">--folds 5</code> &amp; go
    """
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<code class="option">\g<0></code>', str(escape(sentence))))


def require_pdf(language: Language) -> None:
    """Raise an error if a PDF in this language cannot be made here.

    Raises
    ------
    MissingPartError
        If WeasyPrint, the Pango library or, for Chinese, a Chinese typeface is missing.
    """
    require("pdf")
    _load_weasyprint()
    if language == "zh" and chinese_typeface() is None:
        raise MissingPartError(
            f"--pdf --language zh: no typeface here has Chinese letters. Get one with: {CHINESE}. "
            "report.html needs none: the reader's browser brings its own."
        )


def write_pdf(page: Path) -> Path:
    """Write an HTML page as PDF beside it and return its path; what the page does not hold itself is not fetched."""
    _load_weasyprint()
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    # It warns of every style rule that is for screens only.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    document = HTML(filename=page, url_fetcher=URLFetcher(allowed_protocols=("data",)))
    path = page.with_suffix(".pdf")
    with atomic(path) as temporary:
        document.write_pdf(temporary)
    return path


def _load_weasyprint() -> None:
    """Import it once; it looks for the shared library then, and tells Pillow to read half images without a word."""
    reads_half_images = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        import weasyprint  # noqa: F401
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingPartError(
            f"--pdf: WeasyPrint cannot load the Pango library ({reason}). Get it with: {PANGO}"
        ) from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = reads_half_images
