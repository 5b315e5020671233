"""``focusmap prepare``: split and prepared pictures."""

import argparse

from focusmap.cli.options import add_labelled_run_options as add_arguments
from focusmap.cli.show import understood

__all__ = ["EXAMPLE", "add_arguments", "execute"]

EXAMPLE = "example: focusmap prepare labels.csv --out runs/first --store prepared"


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs

    if given := understood(parsed):
        prepared = verbs.prepare_run(given[0], parsed.out, given[1])
        for part, count in prepared.split.table["split"].value_counts(sort=False).items():
            print(f"{part or 'not used'}: {count} {verbs.open_run(parsed.out).unit}")
        if prepared.store is not None:
            print(f"store: {prepared.store.folder}")
