"""``focusmap predict``: what a model says of pictures."""

import argparse
import sys
from pathlib import Path

from focusmap.cli.options import add_common_options, add_study_options, declaration_from, refuse_study_file

EXAMPLE = """\
examples:
  focusmap predict runs/first film.png --overlay pictures    one picture: the answer in words
  focusmap predict runs/first *.png --out answers.csv        many: a table"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, or of a model")
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="IMAGE|LABELS.csv", help="pictures, folders, or a label file"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write the answers as a table")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write pictures of where the evidence lies")
    parser.add_argument(
        "--template", type=Path, metavar="FILE.csv", help="of a table model: write the columns of this file's header"
    )
    add_study_options(parser)
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.options import run_options_from
    from focusmap.cli.show import print_failures, unlike_in_words

    refuse_study_file(parsed)
    request = verbs.PredictRequest(
        tuple(parsed.inputs), parsed.out, parsed.overlay, declaration_from(parsed), parsed.template
    )
    answer = verbs.predict(parsed.run, request, run_options_from(parsed))
    if answer.words:
        print(answer.words)
    if answer.table is not None:
        print(f"predictions: {answer.table} ({answer.n_images} images)")
    if answer.n_flagged:
        print(
            f"note: {answer.n_flagged} of {answer.n_images} rows are flagged, {answer.n_unseen} for a category and "
            f"{answer.n_outside} for a number that train, or that of one of the models, does not have: column flags"
            f"{', which the template leaves out' if parsed.template else ''}",
            file=sys.stderr,
        )
    if answer.n_unlike:
        print(f"note: {unlike_in_words(answer.n_unlike, answer.n_images)}: column flags", file=sys.stderr)
    if answer.overlays is not None:
        print(f"overlays: {answer.overlays}")
    return print_failures(answer.failures, skip=parsed.skip_unreadable)
