"""``focusmap report``: one page from the files of a run."""

import argparse
from pathlib import Path

EXAMPLE = "example: focusmap report runs/first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import pipeline

    print(f"report: {pipeline.report(parsed.run)}")
