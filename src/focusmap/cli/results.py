"""Commands that say how good a run is: evaluate, accept, challenge, reproduce, compare and report."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

import focusmap
from focusmap import evaluation
from focusmap.basics import InputError, Json, Language, Only, Setting, command_line
from focusmap.cli.arguments import refuse_idle
from focusmap.cli.groups import FORCE, LANGUAGE, RUN, Reading, with_progress
from focusmap.cli.show_results import interval, print_metrics, unlike_in_words
from focusmap.study import Declaration, RunOptions

# Exit code if the second training predicts something else.
NOT_EQUAL = 3
# The options that take effect in each way to evaluate; with a label file of other images, all but `uncertain`.
TABLE_OPTIONS = frozenset({"predictions", "prevalence", "out", "options.recipe.seed", "options.force"})
CASES_OPTIONS = frozenset({"cases", "out", "options.force"})
TEST_OPTIONS = frozenset({"prevalence", "out", "options.force"})
TEST_ANOMALIES_OPTIONS = (TEST_OPTIONS - {"prevalence"}) | {
    "declaration.targets",
    "declaration.images",
    "declaration.follow_links",
    "reading.budget",
    "declaration.uncertain",
    "options.recipe.seed",
}


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Options of ``focusmap evaluate``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap evaluate runs/first                              the run's own test split
      focusmap evaluate runs/first other.csv --out external     images the run has never seen
      focusmap evaluate runs/slices --cases mean                volumes, from the predictions of their slices
      focusmap evaluate runs/unlabelled --target label          an autoencoder's anomaly score against a label
      focusmap evaluate --predictions table.csv                 columns true_NAME and prob_NAME"""

    run: Annotated[Path | None, Setting("folder of the run", "RUN", is_positional=True)] = None
    labels: Annotated[Path | None, Setting("label file of other images", "LABELS.csv", is_positional=True)] = None
    predictions: Annotated[Path | None, Setting("table with true_NAME and prob_NAME columns", "FILE")] = None
    cases: Annotated[
        Literal["mean", "max", "attention"] | None,
        Setting("one prediction per case, such as a volume from its slices"),
    ] = None
    prevalence: Annotated[
        tuple[str, ...],
        Setting("share of positives for which PPV and NPV are wanted too; repeat for several", "[NAME=]SHARE"),
    ] = ()
    out: Annotated[Path | None, Setting("folder of metrics.json and its figures", "DIR")] = None
    declaration: Annotated[
        Declaration,
        Only(
            *(
                "images",
                "targets",
                "patient",
                "same_patient",
                "case",
                "view",
                "missing",
                "means",
                "uncertain",
                "follow_links",
            )
        ),
    ] = Declaration()
    options: Annotated[RunOptions, Only("accept", "skip_unreadable", "recipe.seed", "devices", "force")]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        metrics, unit = self._evaluated()
        print_metrics(metrics, unit)
        if n_unlike := cast(int, metrics.get("n_unlike", 0)):
            print(
                f"note: {unlike_in_words(n_unlike, cast(int, metrics['n_images']))} (predictions.csv)", file=sys.stderr
            )

        if shifted := cast(list[str], metrics.get("shifted") or []):
            print(f"note: unlike train beyond chance: {', '.join(shifted)} (drift.csv)", file=sys.stderr)

    def _evaluated(self) -> "tuple[Mapping[str, Json], str]":
        """Return the metrics, and what they count."""
        options = with_progress(self.options)
        if self.predictions is not None:
            self._refuse_all_but(TABLE_OPTIONS, "is not used with --predictions FILE. Leave it out.")
            if self.run is not None:
                raise InputError("give a RUN, or --predictions FILE; not both.")
            return focusmap.evaluate_table(self.predictions, self.out, options, self.prevalence), "images"
        if self.run is None:
            raise InputError("give a RUN, or --predictions FILE.")
        if self.cases is not None:
            if self.labels is not None:
                raise InputError("--cases is for the run's own test split.")
            self._refuse_all_but(CASES_OPTIONS, "is not used with --cases. Leave it out.")
            return focusmap.evaluate_cases(self.run, self.cases, self.out, force=self.options.force), "cases"
        if self.declaration.targets and _learnt_without_labels(self.run):
            if self.labels is None:
                self._refuse_all_but(TEST_ANOMALIES_OPTIONS, "says nothing of the run's own test split. Leave it out.")
            return focusmap.evaluate_anomalies(self.run, self.labels, self.declaration, self.out, options), "images"
        if self.labels is None:
            self._refuse_all_but(
                TEST_OPTIONS, "says nothing of the run's own test split. Leave it out, or name a label file."
            )
            metrics = focusmap.evaluate(self.run, self.out, prevalence=self.prevalence, force=self.options.force)
            return metrics, focusmap.open_run(self.run).unit
        if "declaration.uncertain" in self.typed:
            raise InputError("--uncertain: the run's own study says what -1 means. Leave it out.")
        metrics = focusmap.evaluate_other(self.run, self.labels, self.declaration, self.out, options, self.prevalence)
        return metrics, focusmap.open_run(self.run).unit

    def _refuse_all_but(self, acts: frozenset[str], why: str) -> None:
        refuse_idle(self, self.typed, acts, why)


def _learnt_without_labels(folder: Path) -> bool:
    # Imports torch, which an evaluation of predictions does without.
    from focusmap.api import is_unlabelled

    return is_unlabelled(folder)


@dataclass(frozen=True, kw_only=True)
class Accept:
    """Options of ``focusmap accept``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap accept runs/first local.csv --at-least auroc=.80
      focusmap accept runs/first local.csv --at-least Effusion/sensitivity=.9 --at-most Effusion/brier=.1

    Exit code 0: every requirement is met, by the whole interval; 3: one is not; 4: there are too few patients."""

    run: Annotated[Path, RUN]
    labels: Annotated[Path, Setting("label file of local images", "LABELS.csv", is_positional=True)]
    at_least: Annotated[tuple[str, ...], Setting("what a metric must reach; repeat", "[TARGET/]METRIC=VALUE")] = ()
    at_most: Annotated[tuple[str, ...], Setting("what a metric must not pass; repeat", "[TARGET/]METRIC=VALUE")] = ()
    out: Annotated[Path | None, Setting("folder of acceptance.json and metrics.json", "DIR")] = None
    declaration: Annotated[
        Declaration, Only("images", "patient", "same_patient", "case", "view", "missing", "means", "follow_links")
    ] = Declaration()
    options: Annotated[RunOptions, Only("accept", "skip_unreadable", "recipe.seed", "devices", "force")]
    reading: Reading = Reading()

    def __call__(self) -> int:
        """Run the command."""
        required = [evaluation.parse_requirement(words) for words in self.at_least]
        required += [evaluation.parse_requirement(words, is_upper=True) for words in self.at_most]
        result = focusmap.accept(
            self.run, self.labels, required, self.declaration, self.out, with_progress(self.options)
        )
        print_acceptance(result)
        return evaluation.EXIT_CODES[result["decision"]]  # type: ignore[index]


def print_acceptance(found: Mapping[str, "Json"]) -> None:
    """Print the decision, then each requirement with its measurement and, if undecided, the patients needed."""
    print(f"{str(found['decision']).upper()}  {found['n_images']} images of {found['n_patients']} patients")
    for row in cast(Sequence[Mapping[str, "Json"]], found["requirements"]):
        print(f"  {row['decision']}: {row['requirement']}; found {interval(row)}, on {row['n_patients']} patients")
        if row["decision"] == "too few patients":
            needed = row["n_patients_needed"]
            print(
                f"    about {needed} would tell, if the value stays" if needed else "    no number of them would tell"
            )


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """Options of ``focusmap challenge``."""

    EXAMPLE: ClassVar[str] = """
    example: focusmap challenge runs/first

    What linear probes on frozen features seem to reach with images, patients, or patients and their duplicates kept on
    one side of the split, with each site or view (--group of the run) held out, and with shuffled labels; with fewer
    patients; how well the same features tell site, view, file size and the hour of acquisition (of DICOM headers, or a
    --group column called hour or ...time); and what is left with the lesion, the centre, or all but the border covered.
    It says nothing of the run's own model."""

    run: Annotated[Path, RUN]
    options: Annotated[RunOptions, Only("recipe.seed", "devices")]
    reading: Reading = Reading()

    def __call__(self) -> None:
        """Run the command."""
        result = focusmap.challenge(self.run, with_progress(self.options))
        for row in cast(Sequence[Mapping[str, "Json"]], result["curve"]):
            print(f"learnt from about {row['n_patients']} patients: {interval(row)}")
        for name, row in cast(Mapping[str, Mapping[str, "Json"]], result["columns"]).items():
            print(f"the same features tell {name}: {interval(row)}")
        for name, row in cast(Mapping[str, Mapping[str, "Json"]], result["covered"]).items():
            without = interval(cast(Mapping[str, "Json"], row["uncovered"]))
            print(f"{name} covered ({row['share']:.0%} of the image): {interval(row)}; uncovered: {without}")
        if forecast := cast(Mapping[str, float], result["forecast"]):
            limits = f"{forecast['low']:.3f} to {forecast['high']:.3f}"
            print(f"learnt from about {forecast['n_patients']} patients it will be: {limits}")
        if result["n_doubtful"]:
            print(f"labels to look at again: {result['n_doubtful']} (evaluation/label_errors.csv)")
        print(f"patients to test for an interval of +-0.03: about {result['n_patients_needed']}")
        written = focusmap.open_run(self.run).evaluation / "challenge.json"
        print(f"written: {written}; then: {command_line('report', self.run)}")


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Options of ``focusmap reproduce``."""

    EXAMPLE: ClassVar[str] = """
    example: focusmap reproduce runs/first

    Trains again from study.yaml, cohort.csv, split.csv, recipe.yaml and the images, and compares the predictions. Exit
    code 0: they are equal, to six digits; 3: they are not."""

    run: Annotated[Path, RUN]
    out: Annotated[Path | None, Setting("keep the second run here (default: it is removed)", "DIR")] = None
    options: Annotated[RunOptions, Only("workers", "devices", "force")]
    reading: Reading = Reading()

    def __call__(self) -> int:
        """Run the command."""
        result = focusmap.reproduce(self.run, self.out, with_progress(self.options))
        print(f"predictions are {'equal' if result['equal'] else 'NOT equal'}")
        for part, entry in cast(Mapping[str, Mapping[str, "Json"]], result["parts"]).items():
            print(f"  {part}: {entry['n']} rows, largest difference {entry['largest_difference']:.2g}")
        for entry in cast(Sequence[Mapping[str, "Json"]], result["changed"]):
            print(f"  since then {entry['what']} was changed: {entry['then']}, now {entry['now']}")
        print(f"written: {self.run / 'reproduction.json'}")
        return 0 if result["equal"] else NOT_EQUAL


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Options of ``focusmap compare``."""

    EXAMPLE: ClassVar[str] = "example: focusmap compare runs/first runs/second --out comparison"

    runs: Annotated[tuple[Path, ...], Setting("two or more runs with the same test images", "RUN", is_positional=True)]
    out: Annotated[Path | None, Setting("folder for compare.html and compare.json", "DIR")] = None
    language: Annotated[Language, LANGUAGE] = "en"
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        print_comparison(focusmap.compare(self.runs, self.out, self.language, force=self.force))
        if self.out is not None:
            print(f"comparison: {self.out / 'compare.html'}")


def answer_in_words(answer: Mapping[str, "Json"]) -> str:
    """Return in one line which of two runs is better, if the difference is significant."""
    better, p = answer["better"], cast(float | None, answer["p_false"])
    difference = f"{answer['metric']} {interval(answer['difference'])} on {answer['n_patients']} patients"
    chance = "" if p is None else f"; such a difference by chance alone: p = {p:.2g}"
    if better is None:
        return f"{answer['b']} against {answer['a']}: no difference is shown. {difference}{chance}"
    other = answer["a"] if better == answer["b"] else answer["b"]
    return f"{better} is better than {other}: {answer['b']} - {answer['a']} {difference}{chance}"


def print_comparison(comparison: Mapping[str, "Json"]) -> None:
    """Print the better run of each pair, then the paired differences with the numbers of images and patients."""
    for answer in cast(Sequence[Mapping[str, "Json"]], comparison["answers"]):
        print(answer_in_words(answer))
    printed: set[tuple[object, object]] = set()
    for row in cast(Sequence[Mapping[str, object]], comparison["differences"]):
        if (row["b"], row["a"]) not in printed:
            printed.add((row["b"], row["a"]))
            print(f"{row['b']} - {row['a']}: {row['n_images']} shared test images of {row['n_patients']} patients")
        print(f"  {row['b']} - {row['a']}  {row['target']}  {row['metric']} {interval(row['difference'])}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Options of ``focusmap report``."""

    EXAMPLE: ClassVar[str] = "example: focusmap report runs/first --language zh --pdf"

    run: Annotated[Path, RUN]
    language: Annotated[Language, LANGUAGE] = "en"
    pdf: Annotated[bool, Setting("also write report.pdf (needs the optional part pdf)")] = False

    def __call__(self) -> None:
        """Run the command."""
        print(f"report: {focusmap.report(self.run, self.language, pdf=self.pdf)}")
