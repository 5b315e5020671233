"""``focusmap train``: a trained model with its predictions."""

import argparse
from pathlib import Path

from focusmap.cli.options import (
    add_common_options,
    add_recipe_options,
    add_study_options,
    declaration_from,
    recipe_from_options,
    run_options_from,
)
from focusmap.cli.show import print_notes, understood
from focusmap.errors import InputError

EXAMPLE = """\
examples:
  focusmap train labels.csv --out runs/first --model densenet121 --epochs 40
  focusmap train --resume runs/first"""
RESUME = (
    "--resume goes on with the run's own study, split and recipe: leave the study's and the training's options out, "
    "or start another run with --out."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("labels", type=Path, nargs="?", metavar="LABELS.csv", help="label file, one row an image")
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a training that was stopped, as it was begun"
    )
    parser.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="machines that train together (with --resume)"
    )
    add_study_options(parser)
    add_recipe_options(parser)
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    if parsed.resume is not None:
        _refuse_settings(parsed)
        from focusmap import pipeline

        run = pipeline.resume(parsed.resume, run_options_from(parsed))
        print(f"model: {run.model}")
        commands = ["evaluate", *(["explain"] if pipeline.can_be_mapped(run.model) else []), "report"]
        print(f"next: {'; '.join(f'focusmap {command} {parsed.resume}' for command in commands)}")
        return
    if parsed.labels is None or (parsed.out is None and not parsed.dry_run):
        raise InputError("give LABELS.csv and --out RUN, or --resume RUN.")
    if given := understood(parsed):
        from focusmap import pipeline

        run = pipeline.train(given[0], parsed.out, given[1])
        print_notes(run)
        print(f"model: {run.model}")


def _refuse_settings(parsed: argparse.Namespace) -> None:
    """Raise `InputError` where a training that goes on is told of other data or settings than its own."""
    from focusmap.cohort.declaration import Declaration
    from focusmap.values.recipe import Recipe

    places = (parsed.labels, parsed.out, parsed.study, parsed.folds)
    if any(place is not None for place in places) or parsed.dry_run:
        raise InputError(RESUME)
    if declaration_from(parsed) != Declaration() or recipe_from_options(parsed) != Recipe():
        raise InputError(RESUME)
