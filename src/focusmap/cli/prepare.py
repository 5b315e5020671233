"""``focusmap prepare``: split and prepared pictures."""

import argparse
from pathlib import Path

from focusmap.cli.options import (
    add_common_options,
    add_recipe_options,
    add_study_options,
    cohort_from,
    run_options_from,
)
from focusmap.cli.show import print_plan, print_study

EXAMPLE = "example: focusmap prepare labels.csv --out runs/first --store prepared"


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

    prepared = pipeline.prepare_run(cohort, parsed.out, options)
    for part, count in prepared.split.table["split"].value_counts(sort=False).items():
        print(f"{part or 'not used'}: {count} images")
    print(f"store: {prepared.store.folder}")
