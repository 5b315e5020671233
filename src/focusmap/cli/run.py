"""``focusmap run``: everything, in one go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import focusmap
from focusmap.cli.groups import Learning, understood, watched
from focusmap.cli.show_results import print_run
from focusmap.errors import InputError
from focusmap.settings import Only, Setting
from focusmap.study.options import RunOptions
from focusmap.verbs.requests import SegmentRequest

EXAMPLE = """\
examples:
  focusmap run labels.csv --images images --patient patient_id --out runs/first
  focusmap run labels.csv --out runs/first --segment --model resnet18-acam        masks of the lesions too
  focusmap run --resume runs/first                                                continue after an interruption"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What everything is done with, whereto, and how."""

    learning: Learning = Learning()
    options: Annotated[
        RunOptions,
        Only(
            "recipe", "budget", "folds", "accept", "skip_unreadable", "store", "workers", "devices", "force", "language"
        ),
    ]
    segment: Annotated[bool, Setting("draw masks, from image-level labels alone", title="masks of lesions")] = False
    masks: Annotated[SegmentRequest, Only("negatives", "tune_on_masks", title="masks of lesions")]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        if not self.segment and self.masks != SegmentRequest():
            raise InputError("--negative and --tune-on-masks set how masks are drawn: add --segment.")
        masks = self.masks if self.segment else None
        learning, options = self.learning, self.learning.source.under(watched(self.options), self.typed)
        if learning.resume is not None:
            learning.check_resumes(options)
            print_run(focusmap.resume_run(learning.resume, options, masks))
            return
        labels, folder = learning.given()
        cohort = understood(labels, learning.study, options)
        if cohort is not None:
            print_run(focusmap.run(cohort, folder, options, masks))
