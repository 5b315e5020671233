"""``focusmap report``: one page from the files of a run."""

import argparse
from pathlib import Path

from focusmap.cli.options import add_language_option

EXAMPLE = "example: focusmap report runs/first --language zh --pdf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    add_language_option(parser)
    parser.add_argument("--pdf", action="store_true", help="write report.pdf too (needs the optional part pdf)")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs

    print(f"report: {verbs.report(parsed.run, parsed.language, pdf=parsed.pdf)}")
