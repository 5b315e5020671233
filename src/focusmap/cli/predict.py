"""``focusmap predict``: what a model says of images."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import focusmap
from focusmap.cli.arguments import refuse_idle
from focusmap.cli.groups import LABEL_FILE_ONLY, watched
from focusmap.cli.show_results import print_failures, unlike_in_words
from focusmap.settings import Only, Setting
from focusmap.study.options import RunOptions
from focusmap.verbs.requests import PredictRequest

if TYPE_CHECKING:
    from focusmap.verbs.predict import PredictAnswer

EXAMPLE = """\
examples:
  focusmap predict runs/first film.png --overlay images      one image: the prediction in words
  focusmap predict runs/first *.png --out answers.csv        many: a table"""
OF_FILES = frozenset(
    {"request.out", "request.overlay", "request.template", "request.declaration.targets"}
    | {"options.skip_unreadable", "options.devices", "options.force"}
)


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Which model is asked about what, and what is written."""

    run: Annotated[Path, Setting("folder of the run, or of a model", "RUN", is_positional=True)]
    request: PredictRequest
    options: Annotated[RunOptions, Only("skip_unreadable", "devices", "force")]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> int:
        """Run the command."""
        from focusmap.files import is_table

        if not any(map(is_table, self.request.inputs)):
            refuse_idle(self, self.typed, OF_FILES, LABEL_FILE_ONLY)
        answer = focusmap.predict(self.run, self.request, watched(self.options))
        if answer.words:
            print(answer.words)
        if answer.table is not None:
            print(f"predictions: {answer.table} ({answer.n_images} images)")
        if answer.n_flagged:
            print(self._flags_in_words(answer), file=sys.stderr)
        if answer.n_unlike:
            print(f"note: {unlike_in_words(answer.n_unlike, answer.n_images)} (column flags)", file=sys.stderr)
        if answer.overlays is not None:
            print(f"overlays: {answer.overlays}")
        return print_failures(answer.failures, skip=self.options.skip_unreadable)

    def _flags_in_words(self, answer: "PredictAnswer") -> str:
        return (
            f"note: {answer.n_flagged} of {answer.n_images} rows are flagged, {answer.n_unseen} for a category and "
            f"{answer.n_outside} for a number outside the training data, or those of one of the models (column flags"
            f"{', which the template leaves out' if self.request.template else ''})"
        )
