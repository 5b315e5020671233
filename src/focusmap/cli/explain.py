"""``focusmap explain``: heat maps, and their scores."""

import argparse
from pathlib import Path

from focusmap.cli.options import add_common_options, add_study_options, declaration_from, refuse_study_file

EXAMPLE = """\
examples:
  focusmap explain runs/first                               the run's own test split
  focusmap explain runs/first film.png --out maps --target Effusion
  focusmap explain runs/first --method occlusion --out occlusion

methods, by what they run beside one forward pass a picture:
  cam, gradcam, gradcam++, hirescam, layercam, eigencam, ablationcam   the classifier's last layer
  gradients, guided-backprop          once backward a label
  smoothgrad, integrated-gradients    16 and 32 times forward, and as often backward a label
  occlusion, scorecam                 up to 225 times forward; once forward a feature (512 to 2048)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "inputs", type=Path, nargs="*", metavar="IMAGE|LABELS.csv", help="default: the run's test split"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of maps and overlays (default: RUN/focus)")
    parser.add_argument("--method", default="cam", metavar="NAME", help="heat map method (default: cam)")
    add_study_options(parser)
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import pipeline
    from focusmap.cli.options import run_options_from
    from focusmap.cli.show import print_failures, print_scores

    refuse_study_file(parsed)
    targets, said = tuple(parsed.target), declaration_from(parsed)
    request = pipeline.ExplainRequest(tuple(parsed.inputs), parsed.out, parsed.method, targets, said)
    result = pipeline.explain(parsed.run, request, run_options_from(parsed))
    print_scores(result.scores)
    print(f"maps: {result.folder / 'index.csv'}")
    return print_failures(result.failures, skip=parsed.skip_unreadable)
