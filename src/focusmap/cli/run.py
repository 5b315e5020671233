"""``focusmap run``: everything, in one go."""

import argparse

from focusmap.cli.options import add_labelled_run_options, add_language_option
from focusmap.cli.show import print_run, understood

EXAMPLE = "example: focusmap run labels.csv --images pictures --patient patient_id --out runs/first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_labelled_run_options(parser)
    add_language_option(parser)


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import pipeline

    if given := understood(parsed):
        print_run(pipeline.run(given[0], parsed.out, given[1]))
