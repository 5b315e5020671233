"""``focusmap consensus``: several readers' labels to one label file."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import focusmap
from focusmap.cli.show_results import interval
from focusmap.settings import Setting
from focusmap.verbs.requests import ConsensusRequest

if TYPE_CHECKING:
    from focusmap.files import Json

EXAMPLE = """\
examples:
  focusmap consensus readers.csv --out labels.csv --definitive biopsy
  focusmap consensus readers.csv --out labels.csv --method dawid-skene --soft

readers.csv has one row per reading (columns path, reader, and one per label) or one row per image (columns
LABEL.READER, or each reader's own column, named with --reader). An empty cell means "not read"."""


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Whose readings become one, and how."""

    readers: Annotated[Path, Setting("what each reader recorded for each image", "READERS.csv", is_positional=True)]
    out: Annotated[Path, Setting("label file to write", "LABELS.csv")]
    request: ConsensusRequest

    def __call__(self) -> None:
        """Run the command."""
        facts = focusmap.consensus(self.readers, self.out, self.request)
        print_consensus(facts)
        print(f"labels: {self.out}")
        print(f"page: {self.out.with_name('consensus.html')}")
        print(f"next: {shlex.join(self._next(facts))}")

    def _next(self, facts: "Mapping[str, Json]") -> list[str]:
        """Return the command that looks at the labels; they are named, since other columns may hold 0 and 1 too."""
        request, words = self.request, ["focusmap", "audit", str(self.out)]
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
    """Print two lines a label: what was decided, and how far readers agree."""
    print(f"{facts['n_pictures']} images, {len(cast(Mapping[str, object], facts['readers']))} readers")
    for name, values in cast(Mapping[str, Mapping[str, object]], facts["labels"]).items():
        counts = cast(Mapping[str, int], values["counts"])
        decided = ", ".join(f"{label}: {n}" for label, n in counts.items())
        print(f"  {name}  {decided}, without a label: {values['n_undecided']}")
        said = [f"{values[f'n_{what}']} {what}" for what in ("disputed", "ties", "overridden")]
        print(f"    {', '.join(said)}; Krippendorff's alpha {interval(values['krippendorff_alpha'])}")
    for note in cast(Sequence[str], facts["notes"]):
        print(f"note: {note}", file=sys.stderr)
