"""``focusmap explain``: heat maps, and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import focusmap
from focusmap.cli.arguments import refuse_idle
from focusmap.cli.groups import LABEL_FILE_ONLY, RUN, watched
from focusmap.cli.show_results import print_failures, print_scores, print_trust
from focusmap.errors import InputError
from focusmap.settings import Only, Setting
from focusmap.study.options import RunOptions, TrustRequest
from focusmap.verbs.requests import ExplainRequest

EXAMPLE = """\
examples:
  focusmap explain runs/first                               the run's own test split
  focusmap explain runs/first film.png --out maps --target Effusion
  focusmap explain runs/first --method cam --method occlusion --out compared     scored side by side
  focusmap explain runs/first --trust                       and whether the maps show where the net looks

methods, and what they run besides one forward pass per image:
  focus                               nothing: it is the output of a focus-map net (--model resnet18-fpn)
  acam                                nothing: attention along the axes (--model resnet18-acam)
  reconstruction                      nothing: it is the output of an autoencoder (--model autoencoder)
  cam, gradcam, gradcam++, hirescam, layercam, eigencam, ablationcam   the classifier's last layer
  rollout                             nothing; of vision transformers only, and the same map for every label
  layercam-stages                     part of the net backward, per label
  gradients, guided-backprop          once backward, per label
  smoothgrad                          16 times forward and backward, per label
  integrated-gradients, xrai          32 times forward and backward, per label
  occlusion, scorecam                 up to 225 times forward; once forward per feature (512 to 2048)
  NAME@mirror, NAME@sizes, NAME@moves, NAME@mirror,sizes   NAME averaged over 2, 3, 5, 6 copies of the image"""
OF_FILES = frozenset(
    {"request.out", "request.methods", "request.targets"}
    | {"options.skip_unreadable", "options.devices", "options.force"}
)
OF_TRUST = frozenset({"trust", "options.language", "options.recipe.seed"}) | {
    f"request.trust.{name}" for name in ("methods", "n_images", "n_draws", "against", "shuffled")
}
OF_OWN = OF_FILES | OF_TRUST | {"request.declaration.boxes"}


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Which run's maps are drawn, of what, how, and whether trust in them is measured."""

    run: Annotated[Path, RUN]
    request: ExplainRequest
    trust: Annotated[
        bool, Setting("measure it: writes trust.json and trust.html, in about a minute", title=TrustRequest.TITLE)
    ] = False
    options: Annotated[RunOptions, Only("accept", "skip_unreadable", "recipe.seed", "devices", "force", "language")]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> int:
        """Run the command."""
        self._refuse_idle()
        request = replace(self.request, trust=self.request.trust or TrustRequest()) if self.trust else self.request
        result = focusmap.explain(self.run, request, watched(self.options))
        if result.boxes:
            print(f"boxes       {result.boxes}")
        print_scores(result.scores)
        if result.trust is not None:
            print_trust(result.trust, result.folder / "trust.html")
        print(f"maps: {result.folder / 'index.csv'}")
        return print_failures(result.failures, skip=self.options.skip_unreadable)

    def _refuse_idle(self) -> None:
        """Raise `InputError` for an option that says nothing of what is explained."""
        from focusmap.files import is_table

        if not self.trust and OF_TRUST & self.typed.keys():
            raise InputError(
                "--trust-..., --against, --shuffled, --language and --seed set how trust is measured: add --trust."
            )
        if not self.request.inputs:
            refuse_idle(self, self.typed, OF_OWN, LABEL_FILE_ONLY)
        elif not any(map(is_table, self.request.inputs)):
            refuse_idle(self, self.typed, OF_FILES, LABEL_FILE_ONLY)
