"""``focusmap index``: a folder of images to a label file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import focusmap
from focusmap.cli.groups import FORCE
from focusmap.settings import Setting

if TYPE_CHECKING:
    from focusmap.verbs.index import IndexAnswer

EXAMPLE = """\
examples:
  focusmap index images --out labels.csv                                         a folder per class
  focusmap index images --out labels.csv --pattern '{label}/{patient}_{n}.png'    fields in the path"""
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Index:
    """Which folder is indexed, and how."""

    folder: Annotated[Path, Setting("folder to search, with all its subfolders", "FOLDER", is_positional=True)]
    out: Annotated[Path, Setting("label file to write", "LABELS.csv")]
    pattern: Annotated[
        str | None,
        Setting("pattern of the paths; {n} is a number, {_} is ignored, any other name becomes a column", "TEXT"),
    ] = None
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        print_answer(focusmap.index(self.folder, self.out, self.pattern, force=self.force))


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
        print(f"  excluded: {len(left_out)} images ({', '.join(left_out[:SHOWN])}{more})")
    elsewhere = "" if answer.images == answer.labels.resolve().parent else f" --images {answer.images}"
    print(f"next: focusmap audit {answer.labels}{elsewhere}")
