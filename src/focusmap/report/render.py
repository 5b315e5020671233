"""The report of a run: one self-contained HTML file."""

from pathlib import Path

from focusmap.reasons import Language
from focusmap.report.page import write_page
from focusmap.report.summary import summarise
from focusmap.report.words import words_in


def render_report(run: Path, language: Language = "en") -> Path:
    """Write ``report.html`` to the run folder, from its files alone, and return its path.

    The page asks the network for nothing, needs no scripts, and prints.

    Raises
    ------
    MissingFileError, InputError
        If the folder is not a run, or a file in it cannot be read.
    """
    words = words_in(language)
    return write_page("report.html", summarise(run, words), run / "report.html", words)
