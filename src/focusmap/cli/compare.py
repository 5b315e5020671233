"""``focusmap compare``: runs side by side."""

import argparse
from pathlib import Path

from focusmap.cli.options import add_language_option

EXAMPLE = "example: focusmap compare runs/first runs/second --out comparison"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="two runs or more, on the same test pictures")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write compare.html and compare.json there")
    add_language_option(parser)
    parser.add_argument("--force", action="store_true", help="replace what is there")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.show import print_comparison

    comparison = verbs.compare(parsed.runs, parsed.out, parsed.language, force=parsed.force)
    print_comparison(comparison)
    if parsed.out is not None:
        print(f"comparison: {parsed.out / 'compare.html'}")
