"""Templates to files: autoescaped, self-contained, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.files import write_text
from focusmap.report.words import Words

if TYPE_CHECKING:
    from jinja2 import Environment


def write_page(template: str, context: Mapping[str, object], path: Path, words: Words) -> Path:
    """Fill `template` with `context` and `words`, write it to `path` and return that.

    Everything in `context` is escaped: a label or file name may hold HTML.
    """
    page = _environment().get_template(template).render(words=words, **context)
    write_text(path, page)
    return path


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
