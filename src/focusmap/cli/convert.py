"""``focusmap convert``: a packed data set to images and a label file."""

import argparse
from pathlib import Path

EXAMPLE = """\
examples:
  focusmap convert breastmnist.npz --out breast                 MedMNIST
  focusmap convert cifar-10-python.tar.gz --out cifar           CIFAR-10
  focusmap convert 1512427.zip --out brain                      figshare brain tumours, with masks and folds
  focusmap convert studies --out frames                         every frame of DICOM files; add a label column
  focusmap convert labels.csv --parts left-half,right-half --out halves     two views of each picture"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a MedMNIST, CIFAR-10, .mat or DICOM file or folder",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for images and labels.csv")
    parser.add_argument(
        "--parts",
        default="",
        metavar="NAME,NAME",
        help="of a label file's pictures: left-half, right-half, top-half, ...",
    )
    parser.add_argument("--skip-unreadable", action="store_true", help="end with 0 though pictures cannot be read")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import pipeline
    from focusmap.cli.progress import terminal_progress
    from focusmap.cli.show import print_failures

    parts = tuple(part.strip() for part in parsed.parts.split(",") if part.strip())
    done = pipeline.convert(parsed.source, parsed.out, parts, force=parsed.force, progress=terminal_progress())
    print(f"label file: {done.labels} ({done.n_images} images)")
    failures = [(Path(name), reason) for name, reason in done.failures]
    return print_failures(failures, skip=parsed.skip_unreadable)
