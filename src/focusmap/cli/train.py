"""``focusmap train``: a trained model with its predictions."""

import argparse

from focusmap.cli.options import add_resumable_run_options, resumes, run_options_from
from focusmap.cli.show import print_notes, understood

EXAMPLE = """\
examples:
  focusmap train labels.csv --out runs/first --model densenet121 --epochs 40
  focusmap train --resume runs/first"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_resumable_run_options(parser, "training")
    parser.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="machines that train together (with --resume)"
    )


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    if resumes(parsed):
        from focusmap import verbs

        run = verbs.resume(parsed.resume, run_options_from(parsed))
        print(f"model: {run.model}")
        print(f"next, all else that focusmap run does: focusmap run --resume {parsed.resume}")
    elif given := understood(parsed):
        from focusmap import verbs

        run = verbs.train(given[0], parsed.out, given[1])
        print_notes(run)
        print(f"model: {run.model}")
