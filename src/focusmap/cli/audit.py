"""``focusmap audit``: look before you train."""

import argparse
from pathlib import Path

from focusmap.cli.options import (
    add_common_options,
    add_language_option,
    add_study_options,
    cohort_from,
    run_options_from,
)
from focusmap.cli.show import print_findings, print_study

EXAMPLE = "example: focusmap audit labels.csv --patient patient_id --group site --out audit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("labels", type=Path, metavar="LABELS.csv", help="label file, one row an image")
    parser.add_argument(
        "--against", type=Path, metavar="OTHER.csv", help="look for the same patients and pictures there"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of audit.json and audit.html (default: LABELS_audit)"
    )
    add_study_options(parser)
    add_common_options(parser)
    add_language_option(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import pipeline

    cohort = cohort_from(parsed, parsed.labels)
    print_study(cohort)
    if parsed.dry_run:
        return 0
    out = parsed.out or parsed.labels.with_name(f"{parsed.labels.stem}_audit")
    against = cohort_from(parsed, parsed.against) if parsed.against else None
    options = run_options_from(parsed)
    result = pipeline.audit(cohort, out, options, against=against)
    print_findings(result)
    print(f"audit: {out / 'audit.html'}")
    pipeline.refuse_blocking(result, options, out)
    return 0
