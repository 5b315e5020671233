"""``focusmap evaluate``: metrics with intervals."""

import argparse
import sys
from pathlib import Path
from typing import cast

from focusmap.cli.options import add_common_options, add_study_options, refuse_study_file
from focusmap.cli.show import print_metrics, unlike_in_words
from focusmap.errors import InputError

EXAMPLE = """\
examples:
  focusmap evaluate runs/first                              the run's own test split
  focusmap evaluate runs/first other.csv --out external     pictures the run has never seen
  focusmap evaluate runs/slices --cases mean                volumes, of their slices' answers
  focusmap evaluate runs/unlabelled --target label          an autoencoder's anomaly score against a label
  focusmap evaluate --predictions table.csv                 columns true_NAME and prob_NAME"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="folder of the run")
    parser.add_argument("labels", type=Path, nargs="?", metavar="LABELS.csv", help="label file of other pictures")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="table with true_NAME and prob_NAME columns")
    parser.add_argument(
        "--cases", metavar="HOW", help="one answer a case, such as a volume of its slices: mean, max or attention"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of metrics.json and its pictures")
    add_study_options(parser)
    add_common_options(parser)


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.options import declaration_from, run_options_from

    refuse_study_file(parsed)
    options = run_options_from(parsed)
    if parsed.predictions is not None:
        print_metrics(verbs.evaluate_table(parsed.predictions, parsed.out, options))
        return
    if parsed.run is None:
        raise InputError("give a RUN, or --predictions FILE.")
    if parsed.cases is not None:
        if parsed.labels is not None:
            raise InputError("--cases is for the run's own test split.")
        print_metrics(verbs.evaluate_cases(parsed.run, parsed.cases, parsed.out, force=parsed.force), "cases")
        return
    if parsed.target and verbs.is_unlabelled(parsed.run):
        said = declaration_from(parsed)
        print_metrics(verbs.evaluate_anomalies(parsed.run, parsed.labels, said, parsed.out, options))
        return
    if parsed.labels is None:
        metrics = verbs.evaluate(parsed.run, parsed.out, force=parsed.force)
    else:
        metrics = verbs.evaluate_other(parsed.run, parsed.labels, declaration_from(parsed), parsed.out, options)
    print_metrics(metrics, verbs.open_run(parsed.run).unit)
    if n_unlike := cast(int, metrics.get("n_unlike", 0)):
        print(f"note: {unlike_in_words(n_unlike, cast(int, metrics['n_images']))}: predictions.csv", file=sys.stderr)
