"""``focusmap train``: a trained model with its predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import focusmap
from focusmap.cli.groups import Learning, understood, watched
from focusmap.cli.show_results import print_notes
from focusmap.settings import Only
from focusmap.study.options import RunOptions

EXAMPLE = """\
examples:
  focusmap train labels.csv --out runs/first --model densenet121 --epochs 40
  focusmap train --resume runs/first"""


@dataclass(frozen=True, kw_only=True)
class Train:
    """What is trained on, whereto, and how."""

    learning: Learning = Learning()
    options: Annotated[
        RunOptions,
        Only(
            "recipe", "budget", "folds", "accept", "skip_unreadable", "store", "workers", "devices", "n_nodes", "force"
        ),
    ]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        learning, options = self.learning, self.learning.source.under(watched(self.options), self.typed)
        if learning.resume is not None:
            learning.check_resumes(options)
            run = focusmap.resume(learning.resume, options)
            print(f"model: {run.model}")
            print(f"next, the remaining steps of focusmap run: focusmap run --resume {learning.resume}")
            return
        labels, folder = learning.given()
        cohort = understood(labels, learning.study, options)
        if cohort is not None:
            run = focusmap.train(cohort, folder, options)
            print_notes(run)
            print(f"model: {run.model}")
