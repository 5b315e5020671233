"""``focusmap evaluate``: metrics with intervals."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import focusmap
from focusmap.cli.arguments import refuse_idle
from focusmap.cli.groups import watched
from focusmap.cli.show_results import print_metrics, unlike_in_words
from focusmap.errors import InputError
from focusmap.settings import Only, Setting
from focusmap.study.options import Declaration, RunOptions

if TYPE_CHECKING:
    from focusmap.files import Json

EXAMPLE = """\
examples:
  focusmap evaluate runs/first                              the run's own test split
  focusmap evaluate runs/first other.csv --out external     images the run has never seen
  focusmap evaluate runs/slices --cases mean                volumes, from the predictions of their slices
  focusmap evaluate runs/unlabelled --target label          an autoencoder's anomaly score against a label
  focusmap evaluate --predictions table.csv                 columns true_NAME and prob_NAME"""
# What each way to evaluate looks at; of a label file of other images it is all but `uncertain`.
OF_A_TABLE = frozenset({"predictions", "out", "options.recipe.seed", "options.force"})
OF_CASES = frozenset({"cases", "out", "options.force"})
OF_OWN = frozenset({"out", "options.force"})
OF_OWN_ANOMALIES = OF_OWN | {
    "declaration.targets",
    "declaration.images",
    "declaration.uncertain",
    "options.recipe.seed",
}


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """What is evaluated: a run's own test split, other images, cases, or a table of predictions."""

    run: Annotated[Path | None, Setting("folder of the run", "RUN", is_positional=True)] = None
    labels: Annotated[Path | None, Setting("label file of other images", "LABELS.csv", is_positional=True)] = None
    predictions: Annotated[Path | None, Setting("table with true_NAME and prob_NAME columns", "FILE")] = None
    cases: Annotated[
        Literal["mean", "max", "attention"] | None,
        Setting("one prediction per case, such as a volume from its slices"),
    ] = None
    out: Annotated[Path | None, Setting("folder of metrics.json and its figures", "DIR")] = None
    declaration: Annotated[
        Declaration, Only("images", "targets", "patient", "same_patient", "case", "view", "missing", "uncertain")
    ] = Declaration()
    options: Annotated[RunOptions, Only("accept", "skip_unreadable", "recipe.seed", "devices", "force")]
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        metrics, unit = self._evaluated()
        print_metrics(metrics, unit)
        if n_unlike := cast(int, metrics.get("n_unlike", 0)):
            print(
                f"note: {unlike_in_words(n_unlike, cast(int, metrics['n_images']))} (predictions.csv)", file=sys.stderr
            )

    def _evaluated(self) -> "tuple[Mapping[str, Json], str]":
        """Return the metrics, and what they count."""
        from focusmap.verbs.evaluate import is_unlabelled

        options = watched(self.options)
        if self.predictions is not None:
            self._refuse_all_but(OF_A_TABLE, "is not used with --predictions FILE. Leave it out.")
            if self.run is not None:
                raise InputError("give a RUN, or --predictions FILE; not both.")
            return focusmap.evaluate_table(self.predictions, self.out, options), "images"
        if self.run is None:
            raise InputError("give a RUN, or --predictions FILE.")
        if self.cases is not None:
            if self.labels is not None:
                raise InputError("--cases is for the run's own test split.")
            self._refuse_all_but(OF_CASES, "is not used with --cases. Leave it out.")
            return focusmap.evaluate_cases(self.run, self.cases, self.out, force=self.options.force), "cases"
        if self.declaration.targets and is_unlabelled(self.run):
            if self.labels is None:
                self._refuse_all_but(OF_OWN_ANOMALIES, "says nothing of the run's own test split. Leave it out.")
            return focusmap.evaluate_anomalies(self.run, self.labels, self.declaration, self.out, options), "images"
        if self.labels is None:
            self._refuse_all_but(
                OF_OWN, "says nothing of the run's own test split. Leave it out, or name a label file."
            )
            return focusmap.evaluate(self.run, self.out, force=self.options.force), focusmap.open_run(self.run).unit
        if "declaration.uncertain" in self.typed:
            raise InputError("--uncertain: the run's own study says what -1 means. Leave it out.")
        metrics = focusmap.evaluate_other(self.run, self.labels, self.declaration, self.out, options)
        return metrics, focusmap.open_run(self.run).unit

    def _refuse_all_but(self, acts: frozenset[str], why: str) -> None:
        refuse_idle(self, self.typed, acts, why)
