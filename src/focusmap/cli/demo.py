"""``focusmap demo``: the whole pipeline on the embedded phantom study."""

import argparse
from pathlib import Path

EXAMPLE = "example: focusmap demo --out runs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", type=Path, default=Path("focusmap-demo"), metavar="RUN", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the study and of the training")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.progress import terminal_progress
    from focusmap.cli.show import print_run

    print_run(verbs.demo(parsed.out, seed=parsed.seed, force=parsed.force, progress=terminal_progress()))
