"""``focusmap compare``: runs side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import focusmap
from focusmap.cli.groups import FORCE, LANGUAGE
from focusmap.cli.show_results import interval
from focusmap.reasons import Language
from focusmap.settings import Setting

if TYPE_CHECKING:
    from focusmap.files import Json

EXAMPLE = "example: focusmap compare runs/first runs/second --out comparison"


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Which runs are compared, and what is written."""

    runs: Annotated[tuple[Path, ...], Setting("two or more runs with the same test images", "RUN", is_positional=True)]
    out: Annotated[Path | None, Setting("folder for compare.html and compare.json", "DIR")] = None
    language: Annotated[Language, LANGUAGE] = "en"
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        print_comparison(focusmap.compare(self.runs, self.out, self.language, force=self.force))
        if self.out is not None:
            print(f"comparison: {self.out / 'compare.html'}")


def print_comparison(comparison: Mapping[str, "Json"]) -> None:
    """Print the paired differences, and for each pair of runs on how much they rest."""
    told: set[tuple[object, object]] = set()
    for row in cast(Sequence[Mapping[str, object]], comparison["differences"]):
        if (row["b"], row["a"]) not in told:
            told.add((row["b"], row["a"]))
            print(f"{row['b']} - {row['a']}: {row['n_images']} shared test images of {row['n_patients']} patients")
        print(f"  {row['b']} - {row['a']}  {row['target']}  {row['metric']} {interval(row['difference'])}")
