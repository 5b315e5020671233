"""``focusmap convert``: a packed data set to images and a label file."""

import argparse
from pathlib import Path

from focusmap.cli.options import numbers

EXAMPLE = """\
examples:
  focusmap convert breastmnist.npz --out breast                 MedMNIST
  focusmap convert cifar-10-python.tar.gz --out cifar           CIFAR-10
  focusmap convert 1512427.zip --out brain                      figshare brain tumours, with masks and folds
  focusmap convert studies --out frames                         every frame of DICOM files; add a label column
  focusmap convert studies --volumes --out volumes              a volume of each DICOM series
  focusmap convert volumes/labels.csv --slices --out slices     slices of volumes, with their volume's label
  focusmap convert slices.csv --stack volume,slice --out out    volumes of slices
  focusmap convert labels.csv --parts left-half,right-half --out halves     two views of each picture
  focusmap convert labels.csv --parts 'scan=0.08,0.44,0.76,0.95;fundus=0.08,0,0.76,0.4' --out views"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a MedMNIST, CIFAR-10, .mat or DICOM file or folder; with --parts, --slices or --stack a label file",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for images and labels.csv")
    parser.add_argument(
        "--parts",
        default="",
        metavar="NAME,NAME|NAME=BOX;NAME=BOX",
        help="cut each picture of a label file: left-half, right-half, top-half, bottom-half, or boxes of your own as "
        "NAME=TOP,LEFT,BOTTOM,RIGHT in shares of the picture, with ';' between them",
    )
    parser.add_argument("--volumes", action="store_true", help="make one volume of each DICOM series")
    parser.add_argument("--slices", action="store_true", help="make slices of the volumes of a label file")
    parser.add_argument("--slice-labels", type=Path, metavar="CSV", help="labels of single slices, for --slices")
    parser.add_argument("--neighbours", action="store_true", help="show the slices before and after as red and blue")
    parser.add_argument("--stack", default="", metavar="COL,COL", help="make volumes: columns of volume and position")
    parser.add_argument(
        "--spacing", type=numbers, default=(), metavar="MM,MM,MM", help="of --stack, along columns, rows and slices"
    )
    parser.add_argument("--skip-unreadable", action="store_true", help="end with 0 though pictures cannot be read")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def _names(text: str, separator: str = ",") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def execute(parsed: argparse.Namespace) -> int:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.progress import terminal_progress
    from focusmap.cli.show import print_failures

    request = verbs.ConvertRequest(
        parts=_names(parsed.parts, ";" if "=" in parsed.parts else ","),
        volumes=parsed.volumes,
        slices=parsed.slices,
        slice_labels=parsed.slice_labels,
        neighbours=parsed.neighbours,
        stack=_names(parsed.stack),
        spacing=parsed.spacing,
    )
    done = verbs.convert(parsed.source, parsed.out, request, force=parsed.force, progress=terminal_progress())
    print(f"label file: {done.labels} ({done.n_images} images)")
    failures = [(Path(name), reason) for name, reason in done.failures]
    return print_failures(failures, skip=parsed.skip_unreadable)
