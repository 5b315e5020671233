"""``focusmap run``: everything, in one go."""

import argparse

from focusmap.cli.options import add_language_option, add_resumable_run_options, resumes, run_options_from
from focusmap.cli.segment import add_segmentation_options
from focusmap.cli.show import print_run, understood
from focusmap.errors import InputError

EXAMPLE = """\
examples:
  focusmap run labels.csv --images pictures --patient patient_id --out runs/first
  focusmap run labels.csv --out runs/first --segment --model resnet18-acam        masks of the lesions too
  focusmap run --resume runs/first                                                go on after an interruption"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_resumable_run_options(parser, "run")
    add_language_option(parser)
    group = parser.add_argument_group("masks of lesions")
    group.add_argument("--segment", action="store_true", help="draw them, from image-level labels alone")
    add_segmentation_options(group)


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs

    if not parsed.segment and (parsed.negative or parsed.tune_on_masks):
        raise InputError("--negative and --tune-on-masks say how masks are drawn: add --segment.")
    request = verbs.SegmentRequest(negatives=tuple(parsed.negative), tune_on_masks=parsed.tune_on_masks)
    masks = request if parsed.segment else None
    if resumes(parsed):
        print_run(verbs.resume_run(parsed.resume, run_options_from(parsed), masks))
    elif given := understood(parsed):
        print_run(verbs.run(given[0], parsed.out, given[1], masks))
