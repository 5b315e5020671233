"""``focusmap convert``: a packed data set to images and a label file."""

import argparse
from pathlib import Path

EXAMPLE = "example: focusmap convert breastmnist.npz --out breast"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a MedMNIST .npz file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for images and labels.csv")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import pipeline

    print(f"label file: {pipeline.convert(parsed.source, parsed.out, force=parsed.force)}")
