"""``focusmap prepare``: split and prepared images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import focusmap
from focusmap.cli.groups import LABELS, RUN_FOLDER, RecipeFile, Study, understood, watched
from focusmap.settings import Only
from focusmap.study.options import RunOptions

EXAMPLE = "example: focusmap prepare labels.csv --out runs/first --store prepared"


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Which label file is prepared, whereto, and how."""

    labels: Annotated[Path, LABELS]
    out: Annotated[Path, RUN_FOLDER]
    study: Study = Study()
    source: RecipeFile = RecipeFile()
    options: Annotated[RunOptions, Only("recipe", "folds", "accept", "skip_unreadable", "store", "workers", "force")]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        options = self.source.under(watched(self.options), self.typed)
        cohort = understood(self.labels, self.study, options)
        if cohort is None:
            return
        prepared = focusmap.prepare(cohort, self.out, options)
        for part, count in prepared.split.table["split"].value_counts(sort=False).items():
            print(f"{part or 'not used'}: {count} {focusmap.open_run(self.out).unit}")
        if prepared.store is not None:
            print(f"store: {prepared.store.folder}")
