"""``focusmap run``: everything, in one go."""

import argparse

from focusmap.cli.options import add_labelled_run_options as add_arguments
from focusmap.cli.show import print_run, understood

__all__ = ["EXAMPLE", "add_arguments", "execute"]

EXAMPLE = "example: focusmap run labels.csv --images pictures --patient patient_id --out runs/first"


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import pipeline

    if given := understood(parsed):
        print_run(pipeline.run(given[0], parsed.out, given[1]))
