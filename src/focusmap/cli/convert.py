"""``focusmap convert``: a packed data set to images and a label file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import focusmap
from focusmap.cli.groups import FORCE
from focusmap.cli.progress import terminal_progress
from focusmap.cli.show_results import print_failures
from focusmap.settings import Setting
from focusmap.study.options import ConvertRequest

EXAMPLE = """\
examples:
  focusmap convert breastmnist.npz --out breast                 MedMNIST
  focusmap convert cifar-10-python.tar.gz --out cifar           CIFAR-10
  focusmap convert 1512427.zip --out brain                      figshare brain tumours, with masks and folds
  focusmap convert studies --out frames                         every frame of DICOM files; add a label column
  focusmap convert studies --volumes --out volumes              one volume per DICOM series
  focusmap convert volumes/labels.csv --slices --out slices     slices of volumes, with the label of their volume
  focusmap convert slices.csv --stack volume,slice --out out    volumes from slices
  focusmap convert labels.csv --parts left-half,right-half --out halves     two views of each image
  focusmap convert labels.csv --parts 'scan=0.08,0.44,0.76,0.95;fundus=0.08,0,0.76,0.4' --out views"""


@dataclass(frozen=True, kw_only=True)
class Convert:
    """What is converted, whereto, and how."""

    source: Annotated[
        Path,
        Setting(
            "a MedMNIST, CIFAR-10, .mat or DICOM file or folder; with --parts, --slices or --stack a label file",
            "SOURCE",
            is_positional=True,
        ),
    ]
    out: Annotated[Path, Setting("folder for images and labels.csv", "DIR")]
    request: ConvertRequest
    skip_unreadable: Annotated[bool, Setting("exit with 0 even if images cannot be read")] = False
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> int:
        """Run the command."""
        done = focusmap.convert(self.source, self.out, self.request, force=self.force, progress=terminal_progress())
        print(f"label file: {done.labels} ({done.n_images} images)")
        return print_failures([(Path(name), why) for name, why in done.failures], skip=self.skip_unreadable)
