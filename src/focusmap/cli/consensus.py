"""``focusmap consensus``: several readers' labels to one label file."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from focusmap.cli.options import add_language_option

if TYPE_CHECKING:
    from focusmap.files import Json

EXAMPLE = """\
examples:
  focusmap consensus readers.csv --out labels.csv --definitive biopsy
  focusmap consensus readers.csv --out labels.csv --method dawid-skene --soft

readers.csv has one row a reading (columns path, reader, and one a label) or one row a picture (columns LABEL.READER, or
each reader's own column, named with --reader). An empty cell means "not read"."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("readers", type=Path, metavar="READERS.csv", help="what each reader said of each picture")
    parser.add_argument("--out", type=Path, required=True, metavar="LABELS.csv", help="label file to write")
    parser.add_argument(
        "--reader", action="append", default=[], metavar="COL",
        help="column that names the reader; repeated: one column a reader",
    )  # fmt: skip
    parser.add_argument(
        "--target", action="append", default=[], metavar="NAME[:KIND][:classes=A,B,C]", help="a label; repeat for more"
    )
    parser.add_argument(
        "--definitive", action="append", default=[], metavar="[LABEL=]COL",
        help="column of what biopsy or follow-up showed; where it is filled, it overrides the readers",
    )  # fmt: skip
    parser.add_argument("--method", default="majority", metavar="NAME", help="majority (default) or dawid-skene")
    parser.add_argument(
        "--ties", default="unknown", metavar="RULE", help="unknown (default), positive, negative or reader=NAME"
    )
    parser.add_argument("--soft", action="store_true", help="write the probability of each binary label")
    parser.add_argument("--patient", metavar="COL", help="patient column, or 'none'")
    parser.add_argument("--same-patient", action="store_true", help="ids that differ in spelling are one patient")
    parser.add_argument("--accept", action="append", default=[], metavar="FINDING", help="go on in spite of a finding")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures (default: the table's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the intervals")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    add_language_option(parser)


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs
    from focusmap.cli.show import print_consensus
    from focusmap.consensus.reference import ConsensusOptions
    from focusmap.study.readings import ReadingsDeclaration

    said = ReadingsDeclaration(
        readers=tuple(parsed.reader),
        targets=tuple(parsed.target),
        definitive=tuple(parsed.definitive),
        patient=parsed.patient,
        same_patient=parsed.same_patient,
        accept=tuple(parsed.accept),
    )
    options = ConsensusOptions(parsed.method, parsed.ties, parsed.soft)
    request = verbs.ConsensusRequest(
        said, options, parsed.images, parsed.seed, force=parsed.force, language=parsed.language
    )
    facts = verbs.consensus(parsed.readers, parsed.out, request)
    print_consensus(facts)
    print(f"labels: {parsed.out}")
    print(f"page: {parsed.out.with_name('consensus.html')}")
    print(f"next: {shlex.join(_next(parsed, facts))}")


def _next(parsed: argparse.Namespace, facts: "Mapping[str, Json]") -> list[str]:
    """Return the command that looks at the labels; they are named, since other columns may hold 0 and 1 too."""
    words = ["focusmap", "audit", str(parsed.out)]
    for name, label in cast("Mapping[str, Mapping[str, Json]]", facts["labels"]).items():
        words += ["--target", _target(name, str(label["kind"]), cast(list[str], label["classes"]), soft=parsed.soft)]
    if parsed.patient is not None:
        words += ["--patient", parsed.patient]
    images = parsed.images or parsed.readers.parent
    return words + (["--images", str(images)] if images.resolve() != parsed.out.parent.resolve() else [])


def _target(name: str, kind: str, classes: Sequence[str], *, soft: bool) -> str:
    if kind == "binary":
        return name if soft or list(classes) == ["0", "1"] else f"{name}:positive={classes[1]}"
    return f"{name}:{kind}" + (f":classes={','.join(classes)}" if kind == "ordinal" else "")
