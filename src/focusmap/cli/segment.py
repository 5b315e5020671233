"""``focusmap segment``: masks of lesions from image-level labels alone, and their scores."""

import argparse
from pathlib import Path

from focusmap.cli.options import add_common_options, add_study_options, declaration_from, refuse_study_file

EXAMPLE = """\
examples:
  focusmap segment runs/first                               the run's own test split, into runs/first/segmentation
  focusmap segment runs/first new.csv --out masks
  focusmap segment runs/busi --target label=malignant       one class alone; by default every class but the negative

What is a lesion: a binary target's positive class; of several classes all but those called normal, healthy, none and
so on, or named by --negative. No mask is opened but to score, and to train what the masks are held against."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "labels", type=Path, nargs="?", metavar="LABELS.csv", help="other pictures (default: the run's test split)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the masks (default: RUN/segmentation)")
    parser.add_argument("--method", default="distilled", help="whose masks are written: distilled (default) or refined")
    add_segmentation_options(parser)
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="its group 'segmentation' takes the run's place")
    add_study_options(parser)
    add_common_options(parser)


def add_segmentation_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the options that say how masks are drawn."""
    parser.add_argument(
        "--negative", action="append", default=[], metavar="CLASS", help="a class that means no lesion; repeat"
    )
    parser.add_argument(
        "--tune-on-masks", action="store_true", help="let masks of the tune part choose where maps are cut; counted"
    )


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.options import run_options_from
    from focusmap.cli.show import print_failures, print_mask_scores

    refuse_study_file(parsed)
    request = verbs.SegmentRequest(
        parsed.labels, parsed.out, tuple(parsed.target), tuple(parsed.negative), parsed.method,
        parsed.tune_on_masks, declaration_from(parsed),
    )  # fmt: skip
    result = verbs.segment(parsed.run, request, run_options_from(parsed))
    for words in result.lesions:
        print(f"lesion  {words}")
    for caution in result.cautions:
        print(caution)
    print_mask_scores(result.scores)
    print(f"masks: {result.folder / 'index.csv'}")
    if request.labels is None and request.out is None:
        print(f"to see them in the report: focusmap report {parsed.run}")
    return print_failures(result.failures, skip=parsed.skip_unreadable)
