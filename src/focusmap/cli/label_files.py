"""Commands that make label files: ``focusmap index``, ``convert`` and ``consensus``."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import focusmap
from focusmap.basics import Setting, command_line, listed
from focusmap.cli.groups import FORCE, Reading
from focusmap.cli.show_results import interval, print_failures
from focusmap.cli.show_study import terminal_progress
from focusmap.verbs.requests import ConsensusRequest, ConvertRequest, IndexRequest

if TYPE_CHECKING:
    from focusmap.basics import Json
    from focusmap.verbs.index import IndexAnswer


SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Index:
    """Options of ``focusmap index``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap index images --out labels.csv                                         a folder per class
      focusmap index images --out labels.csv --pattern '{label}/{patient}_{n}.png'    fields in the path
      focusmap index export --out labels.csv --labels findings.csv     DICOM files, labels by accession"""

    folder: Annotated[Path, Setting("folder to search, with all its subfolders", "FOLDER", is_positional=True)]
    out: Annotated[Path, Setting("label file to write", "LABELS.csv")]
    request: IndexRequest = IndexRequest()
    force: Annotated[bool, FORCE] = False
    reading: Reading = Reading()

    def __call__(self) -> None:
        """Run the command."""
        print_answer(focusmap.index(self.folder, self.out, self.request, force=self.force))


def print_answer(answer: "IndexAnswer") -> None:
    """Print what was written, what was excluded, and the command to type next."""
    table, left_out = answer.index.table, answer.index.left_out
    print(f"label file: {answer.labels} ({len(table)} images)")
    for column in [name for name in ("label", "split") if name in table]:
        counts = table[column].value_counts().sort_index()
        print(f"  {column}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    if "mask" in table:
        print(f"  masks: {(table['mask'] != '').sum()}")
    for reason, n in Counter(left_out.values()).items():
        files = listed([name for name, why in left_out.items() if why == reason], SHOWN, ", ")
        print(f"  excluded: {n} image{'s' * (n > 1)}, {reason} ({files})")
    if rows := answer.index.imageless:
        print(f"  labels without an image: {len(rows)} (row {listed([*map(str, rows)], SHOWN, ', ')})")
    elsewhere = () if answer.images == answer.labels.resolve().parent else ("--images", answer.images)
    print(f"next: {command_line('audit', answer.labels, *elsewhere)}")


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Options of ``focusmap convert``."""

    EXAMPLE: ClassVar[str] = """
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
    reading: Reading = Reading()

    def __call__(self) -> int:
        """Run the command."""
        done = focusmap.convert(self.source, self.out, self.request, force=self.force, progress=terminal_progress())
        print(f"label file: {done.labels} ({done.n_images} images)")
        return print_failures([(Path(name), why) for name, why in done.failures], skip=self.skip_unreadable)


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Options of ``focusmap consensus``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap consensus readers.csv --out labels.csv --definitive biopsy
      focusmap consensus readers.csv --out labels.csv --method dawid-skene --soft

    readers.csv has one row per reading (columns path, reader, and one per label) or one row per image (columns
    LABEL.READER, or each reader's own column, named with --reader). An empty cell means "not read"."""

    readers: Annotated[Path, Setting("what each reader recorded for each image", "READERS.csv", is_positional=True)]
    out: Annotated[Path, Setting("label file to write", "LABELS.csv")]
    request: ConsensusRequest
    reading: Reading = Reading()

    def __call__(self) -> None:
        """Run the command."""
        facts = focusmap.consensus(self.readers, self.out, self.request)
        print_consensus(facts)
        print(f"labels: {self.out}")
        print(f"page: {self.out.with_name('consensus.html')}")
        print(f"next: {command_line('audit', *self._next(facts))}")

    def _next(self, facts: "Mapping[str, Json]") -> list[str]:
        """Return what to audit next; the labels are named, since other columns may hold 0 and 1 too."""
        request, words = self.request, [str(self.out)]
        for name, label in cast("Mapping[str, Mapping[str, Json]]", facts["labels"]).items():
            kind, classes = str(label["kind"]), cast(list[str], label["classes"])
            words += ["--target", _target(name, kind, classes, soft=request.options.soft)]
        if request.declaration.patient is not None:
            words += ["--patient", request.declaration.patient]
        images = request.images or self.readers.parent
        return words + (["--images", str(images)] if images.resolve() != self.out.parent.resolve() else [])


def _target(name: str, kind: str, classes: Sequence[str], *, soft: bool) -> str:
    if kind == "binary":
        return name if soft or list(classes) == ["0", "1"] else f"{name}:positive={classes[1]}"
    return f"{name}:{kind}" + (f":classes={','.join(classes)}" if kind == "ordinal" else "")


def print_consensus(facts: Mapping[str, "Json"]) -> None:
    """Print two lines per label: the decisions, and the readers' agreement."""
    print(f"{facts['n_pictures']} images, {len(cast(Mapping[str, object], facts['readers']))} readers")
    for name, values in cast(Mapping[str, Mapping[str, object]], facts["labels"]).items():
        counts = cast(Mapping[str, int], values["counts"])
        decided = ", ".join(f"{label}: {n}" for label, n in counts.items())
        print(f"  {name}  {decided}, without a label: {values['n_undecided']}")
        said = [f"{values[f'n_{what}']} {what}" for what in ("disputed", "ties", "overridden")]
        print(f"    {', '.join(said)}; Krippendorff's alpha {interval(values['krippendorff_alpha'])}")
    for note in cast(Sequence[str], facts["notes"]):
        print(f"note: {note}", file=sys.stderr)
