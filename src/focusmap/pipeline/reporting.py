"""Report: one page from the files of a run."""

from pathlib import Path

from focusmap.pipeline.runs import open_run


def report(folder: Path) -> Path:
    """Write ``report.html`` from the files of a run and return its path."""
    from focusmap.reporting.render import render_report

    return render_report(open_run(folder).folder)
