"""Report: one page from the files of a run, and the same as PDF."""

from pathlib import Path

from focusmap.basics import Language
from focusmap.study import open_run


def report(folder: Path, language: Language = "en", *, pdf: bool = False) -> Path:
    """Write ``report.html`` from the files of a run and, if asked, ``report.pdf``; return the path of the last.

    Beside it stand ``checklists.html`` and ``checklists.json``, and ``model_card.md`` in the model's folder.

    Raises
    ------
    MissingPartError
        If a PDF is asked for and what makes it is not installed; then nothing is written.
    """
    from focusmap.report import render_report, require_pdf, write_checklists, write_model_card, write_pdf

    run = open_run(folder)
    if pdf:
        require_pdf(language)
    write_checklists(run.folder, language)
    page = render_report(run.folder, language)
    write_model_card(run.folder, language)
    return write_pdf(page) if pdf else page
