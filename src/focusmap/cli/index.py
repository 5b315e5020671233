"""``focusmap index``: a folder of pictures to a label file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from focusmap.verbs import IndexAnswer

EXAMPLE = """\
examples:
  focusmap index pictures --out labels.csv                                         a folder a class
  focusmap index pictures --out labels.csv --pattern '{label}/{patient}_{n}.png'    fields in the path"""
SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="searched with all folders in it")
    parser.add_argument("--out", type=Path, required=True, metavar="LABELS.csv", help="label file to write")
    parser.add_argument(
        "--pattern", metavar="TEXT", help="what a path says; {n} is a number, {_} is not kept, any other name a column"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs

    print_answer(verbs.index(parsed.folder, parsed.out, parsed.pattern, force=parsed.force))


def print_answer(answer: "IndexAnswer") -> None:
    """Print what was written, what was left out, and what to type next."""
    table, left_out = answer.index.table, answer.index.left_out
    print(f"label file: {answer.labels} ({len(table)} images)")
    for column in [name for name in ("label", "split") if name in table]:
        counts = table[column].value_counts().sort_index()
        print(f"  {column}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    if "mask" in table:
        print(f"  masks: {(table['mask'] != '').sum()}")
    if left_out:
        more = ", ..." if len(left_out) > SHOWN else ""
        print(f"  left out: {len(left_out)} pictures ({', '.join(left_out[:SHOWN])}{more})")
    elsewhere = "" if answer.images == answer.labels.resolve().parent else f" --images {answer.images}"
    print(f"next: focusmap audit {answer.labels}{elsewhere}")
