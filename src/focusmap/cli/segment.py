"""``focusmap segment``: masks of lesions from image-level labels alone, and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import focusmap
from focusmap.cli.arguments import refuse_idle
from focusmap.cli.groups import LABEL_FILE_ONLY, RUN, watched
from focusmap.cli.show_results import print_failures, print_mask_scores
from focusmap.settings import Only, Setting
from focusmap.study.options import RunOptions
from focusmap.verbs.requests import SegmentRequest

EXAMPLE = """\
examples:
  focusmap segment runs/first                               the run's own test split, into runs/first/segmentation
  focusmap segment runs/first film.png --out masks          an image, a folder, or a label file
  focusmap segment runs/busi --target label=malignant       only one class; by default every class except the negative

A lesion is the positive class of a binary target; of several classes it is every class except those called normal,
healthy, none and so on, or named by --negative. Reference masks are opened only to score, and to train baselines."""
OF_OWN = frozenset(
    {f"request.{name}" for name in ("out", "targets", "negatives", "method", "tune_on_masks")}
    | {"recipe", "options.skip_unreadable", "options.devices", "options.force"}
)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Which run's masks are drawn, of what, and how."""

    run: Annotated[Path, RUN]
    request: SegmentRequest
    recipe: Annotated[Path | None, Setting("recipe.yaml whose group 'segmentation' replaces the run's", "FILE")] = None
    options: Annotated[RunOptions, Only("accept", "skip_unreadable", "devices", "force")]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> int:
        """Run the command."""
        from focusmap.files import is_table

        if not any(map(is_table, self.request.inputs)):
            refuse_idle(self, self.typed, OF_OWN, LABEL_FILE_ONLY)
        options = watched(self.options)
        if self.recipe is not None:
            options = replace(options, recipe=focusmap.read_recipe(self.recipe))
        result = focusmap.segment(self.run, self.request, options)
        for words in result.lesions:
            print(f"lesion  {words}")
        for caution in result.cautions:
            print(caution)
        print_mask_scores(result.scores)
        print(f"masks: {result.folder / 'index.csv'}")
        if not self.request.inputs and self.request.out is None:
            print(f"to see them in the report: focusmap report {self.run}")
        return print_failures(result.failures, skip=self.options.skip_unreadable)
