"""``focusmap explain``: heat maps, and their scores."""

import argparse
from pathlib import Path

from focusmap.cli.options import add_common_options

EXAMPLE = """\
examples:
  focusmap explain runs/first                               the run's own test split
  focusmap explain runs/first film.png --out maps --target Effusion
  focusmap explain runs/first --method occlusion --out occlusion

methods, by what they run beside one forward pass a picture:
  focus                                         nothing: it is the output of a focus-map net (--model resnet18-fpn)
  cam, gradcam, gradcam++, hirescam, layercam   the classifier's last layer
  gradients                                     once backward a label
  smoothgrad, integrated-gradients              16 and 32 times forward, and as often backward a label
  occlusion                                     up to 225 times forward"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "inputs", type=Path, nargs="*", metavar="IMAGE|LABELS.csv", help="default: the run's test split"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder to which the label file's paths are relative"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of maps and overlays (default: RUN/focus)")
    parser.add_argument(
        "--method", metavar="NAME", help="heat map method (default: focus where the net has focus maps, else cam)"
    )
    parser.add_argument(
        "--target", action="append", default=[], metavar="NAME", help="only this target; repeat for several"
    )
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="CSV of lesion boxes")
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import pipeline
    from focusmap.cli.options import run_options_from
    from focusmap.cli.show import print_failures, print_scores

    request = pipeline.ExplainRequest(
        tuple(parsed.inputs), parsed.images, parsed.out, parsed.method, tuple(parsed.target), parsed.boxes
    )
    result = pipeline.explain(parsed.run, request, run_options_from(parsed))
    print_scores(result.scores)
    print(f"maps: {result.folder / 'index.csv'}")
    return print_failures(result.failures, skip=parsed.skip_unreadable)
