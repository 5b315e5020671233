"""``focusmap explain``: heat maps, and their scores."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.cli.options import (
    add_common_options,
    add_language_option,
    add_study_options,
    declaration_from,
    refuse_study_file,
)
from focusmap.errors import InputError

if TYPE_CHECKING:
    from focusmap.verbs import TrustRequest

EXAMPLE = """\
examples:
  focusmap explain runs/first                               the run's own test split
  focusmap explain runs/first film.png --out maps --target Effusion
  focusmap explain runs/first --method cam --method occlusion --out compared     scored side by side
  focusmap explain runs/first --trust                       and whether the maps show where the net looks

methods, by what they run beside one forward pass a picture:
  focus                               nothing: it is the output of a focus-map net (--model resnet18-fpn)
  acam                                nothing: attention along the axes (--model resnet18-acam)
  reconstruction                      nothing: it is the output of an autoencoder (--model autoencoder)
  cam, gradcam, gradcam++, hirescam, layercam, eigencam, ablationcam   the classifier's last layer
  rollout                             nothing; of vision transformers only, and the same map for every label
  layercam-stages                     part of the net backward a label
  gradients, guided-backprop          once backward a label
  smoothgrad                          16 times forward, and as often backward a label
  integrated-gradients, xrai          32 times forward, and as often backward a label
  occlusion, scorecam                 up to 225 times forward; once forward a feature (512 to 2048)
  NAME@mirror, NAME@sizes, NAME@moves, NAME@mirror,sizes   NAME averaged over 2, 3, 5, 6 copies of the picture"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "inputs", type=Path, nargs="*", metavar="IMAGE|LABELS.csv", help="default: the run's test split"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of maps and overlays (default: RUN/focus)")
    parser.add_argument(
        "--method", action="append", default=[], metavar="NAME",
        help="heat map method; repeat to compare several (default: focus where the net has focus maps, else cam)",
    )  # fmt: skip
    _add_trust_options(parser)
    add_study_options(parser)
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.options import run_options_from
    from focusmap.cli.show import print_failures, print_scores, print_trust

    refuse_study_file(parsed)
    targets, said = tuple(parsed.target), declaration_from(parsed)
    request = verbs.ExplainRequest(
        tuple(parsed.inputs), parsed.out, tuple(parsed.method), targets, said, _trust(parsed)
    )
    result = verbs.explain(parsed.run, request, run_options_from(parsed))
    if result.boxes:
        print(f"boxes       {result.boxes}")
    print_scores(result.scores)
    if result.trust is not None:
        print_trust(result.trust, result.folder / "trust.html")
    print(f"maps: {result.folder / 'index.csv'}")
    return print_failures(result.failures, skip=parsed.skip_unreadable)


def _add_trust_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("trust in the maps")
    group.add_argument("--trust", action="store_true", help="measure it: trust.json and trust.html, in about a minute")
    group.add_argument(
        "--trust-method", action="append", default=[], metavar="NAME",
        help="method to judge, or all; repeat for several (default: those of the maps)",
    )  # fmt: skip
    group.add_argument("--trust-pictures", type=int, metavar="N", help="maps to judge each method by (default: 16)")
    group.add_argument("--trust-draws", type=int, metavar="N", help="random removals of each kind (default: 20)")
    group.add_argument(
        "--against", type=Path, action="append", default=[], metavar="RUN",
        help="run with another seed or architecture: repeatability, reproducibility; repeat for several",
    )  # fmt: skip
    group.add_argument("--shuffled", type=Path, metavar="RUN", help="run trained on shuffled labels")
    add_language_option(group)


def _trust(parsed: argparse.Namespace) -> "TrustRequest | None":
    """Return how trust is to be measured, None if it is not; `InputError` for an option that needs --trust."""
    from focusmap.verbs import TrustRequest

    numbers = {"n_pictures": parsed.trust_pictures, "n_draws": parsed.trust_draws}
    given = {name: value for name, value in numbers.items() if value is not None}
    if not parsed.trust:
        if given or parsed.trust_method or parsed.against or parsed.shuffled:
            raise InputError("--trust-..., --against and --shuffled say how trust is measured: add --trust.")
        return None
    return TrustRequest(tuple(parsed.trust_method), against=tuple(parsed.against), shuffled=parsed.shuffled, **given)
