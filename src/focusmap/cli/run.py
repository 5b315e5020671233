"""``focusmap run``: everything, in one go."""

import argparse
from pathlib import Path

from focusmap.cli.options import (
    add_common_options,
    add_recipe_options,
    add_study_options,
    cohort_from,
    run_options_from,
)
from focusmap.cli.show import print_plan, print_run, print_study

EXAMPLE = "example: focusmap run labels.csv --images pictures --patient patient_id --out runs/first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("labels", type=Path, metavar="LABELS.csv", help="label file, one row an image")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    add_study_options(parser)
    add_recipe_options(parser)
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    cohort = cohort_from(parsed, parsed.labels)
    options = run_options_from(parsed)
    print_study(cohort)
    if parsed.dry_run:
        print_plan(cohort, options)
        return
    from focusmap import pipeline

    print_run(pipeline.run(cohort, parsed.out, options))
