"""A page of ours as PDF, by WeasyPrint: text that can be searched and copied, vector curves, A4."""

import logging
from pathlib import Path

from focusmap.errors import MissingPartError
from focusmap.files import atomic
from focusmap.installation import CHINESE, PANGO, chinese_typeface, require
from focusmap.reasons import Language


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
    from PIL import ImageFile

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
