"""``focusmap demo``: the whole pipeline on the embedded phantom study."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import focusmap
from focusmap.cli.groups import FORCE
from focusmap.cli.progress import terminal_progress
from focusmap.cli.show_results import print_run
from focusmap.settings import Setting

EXAMPLE = "example: focusmap demo --out runs/demo"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demonstration is told."""

    out: Annotated[Path, Setting("folder of the run", "RUN")] = Path("focusmap-demo")
    seed: Annotated[int, Setting("seed of the study and of the training", "N")] = 0
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        print_run(focusmap.demo(self.out, seed=self.seed, force=self.force, progress=terminal_progress()))
