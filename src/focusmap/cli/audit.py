"""``focusmap audit``: look before you train."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.cli.options import (
    add_common_options,
    add_language_option,
    add_study_options,
    cohort_from,
    run_options_from,
)
from focusmap.cli.show import print_findings, print_study

if TYPE_CHECKING:
    from focusmap.study.cohort import Cohort
    from focusmap.study.roster import Roster

EXAMPLE = "example: focusmap audit labels.csv --patient patient_id --group site --out audit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("labels", type=Path, metavar="LABELS.csv", help="label file, one row an image")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="OTHER.csv",
        help="a table, labelled or not: look for the same patients and pictures there",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of audit.json and audit.html (default: LABELS_audit)"
    )
    add_study_options(parser)
    add_common_options(parser)
    add_language_option(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import verbs
    from focusmap.files import table_name

    cohort = cohort_from(parsed, parsed.labels)
    print_study(cohort)
    if parsed.dry_run:
        return 0
    out = parsed.out or parsed.labels.with_name(f"{table_name(parsed.labels)}_audit")
    against = _against(parsed, cohort) if parsed.against else None
    options = run_options_from(parsed)
    result = verbs.audit(cohort, out, options, against=against)
    print_findings(result)
    print(f"audit: {out / 'audit.html'}")
    verbs.refuse_blocking(result, options, out)
    return 0


def _against(parsed: argparse.Namespace, cohort: "Cohort") -> "Roster":
    """Return who stands in the other table, and say by what the two are compared."""
    from focusmap.audit import compared_by
    from focusmap.study.roster import read_roster, roster_of

    other = read_roster(parsed.against, cohort.study, parsed.images)
    by = compared_by(roster_of(cohort), other)
    print(f"against     {parsed.against} ({len(other.image_ids)} rows), compared by {' and '.join(by) or 'nothing'}")
    return other
