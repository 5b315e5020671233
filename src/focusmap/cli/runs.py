"""Commands from a label file to a run: ``focusmap audit``, ``prepare``, ``train``, ``run`` and ``demo``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import focusmap
from focusmap.basics import InputError, Only, Setting, command_line, is_table, table_name
from focusmap.cli.groups import (
    FORCE,
    LABELS,
    RUN_FOLDER,
    Learning,
    Reading,
    RecipeFile,
    Study,
    show_study_or_plan,
    with_progress,
)
from focusmap.cli.show_results import print_notes, print_run
from focusmap.cli.show_study import print_study, terminal_progress
from focusmap.study import RunOptions
from focusmap.verbs.requests import MASKS_FOLLOW, SegmentRequest

if TYPE_CHECKING:
    from focusmap.audit import Audit as Findings
    from focusmap.study import Cohort, Roster

# Options of all commands that learn from a label file, and those that `train` and `run` add.
COHORT_OPTIONS = (
    "recipe", "accept", "skip_unreadable", "group_near_duplicates", "workers", "engine", "address", "force",
)  # fmt: skip
TRAINING_OPTIONS = (*COHORT_OPTIONS, "folds", "store", "budget", "devices")


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Options of ``focusmap audit``."""

    EXAMPLE: ClassVar[str] = "example: focusmap audit labels.csv --patient patient_id --group site --out audit"

    labels: Annotated[Path, LABELS]
    against: Annotated[
        Path | None,
        Setting("another table, labelled or not: search it for the same patients and images", "OTHER.csv"),
    ] = None
    out: Annotated[Path | None, Setting("folder of audit.json and audit.html (default: LABELS_audit)", "DIR")] = None
    study: Study = Study()
    options: Annotated[RunOptions, Only("accept", "workers", "engine", "address", "recipe.seed", "force", "language")]
    reading: Reading = Reading()

    def __call__(self) -> None:
        """Run the command."""
        from focusmap.audit import refuse_blocking

        cohort = self.study.cohort(self.labels, self.options.recipe)
        print_study(cohort)
        if self.study.dry_run:
            return
        out = self.out or self.labels.with_name(f"{table_name(self.labels)}_audit")
        against = None if self.against is None else self._roster(cohort, self.against)
        result = focusmap.audit(cohort, out, with_progress(self.options), against=against)
        print_findings(result)
        print(f"audit: {out / 'audit.html'}")
        refuse_blocking(result, self.options, out)

    def _roster(self, cohort: "Cohort", file: Path) -> "Roster":
        """Return the patients and images of the other table, and print what the two tables are compared by."""
        from focusmap.audit import compared_by
        from focusmap.study import read_roster, roster_of

        other = read_roster(file, cohort.study, self.study.declaration.images)
        by = compared_by(roster_of(cohort), other)
        print(f"against     {file} ({len(other.image_ids)} rows), compared by {' and '.join(by) or 'nothing'}")
        return other


def print_findings(audit: "Findings") -> None:
    """Print the audit's findings, the blocking ones first; one that is overridden or answered blocks nothing."""
    if not audit.findings:
        print("no findings")
    for finding in audit.findings:
        severity = "accepted" if finding.name in audit.accepted else finding.severity
        print(f"{severity:<8}  {finding.name}: {finding.message}")


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Options of ``focusmap prepare``."""

    EXAMPLE: ClassVar[str] = "example: focusmap prepare labels.csv --out runs/first --store prepared"

    labels: Annotated[Path, LABELS]
    out: Annotated[Path, RUN_FOLDER]
    study: Study = Study()
    source: RecipeFile = RecipeFile()
    options: Annotated[RunOptions, Only(*COHORT_OPTIONS, "folds", "store")]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        options = self.source.merged(with_progress(self.options), self.typed)
        cohort = show_study_or_plan(self.labels, self.study, options, self.out)
        if cohort is None:
            return
        prepared = focusmap.prepare(cohort, self.out, options)
        for part, count in prepared.split.table["split"].value_counts(sort=False).items():
            print(f"{part or 'not used'}: {count} {focusmap.open_run(self.out).unit}")
        if prepared.store is not None:
            print(f"store: {prepared.store.folder}")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Options of ``focusmap train``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap train labels.csv --out runs/first --model densenet121 --epochs 40
      focusmap train --resume runs/first"""

    learning: Learning = Learning()
    options: Annotated[RunOptions, Only(*TRAINING_OPTIONS, "n_nodes")]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        learning, options = self.learning, self.learning.source.merged(with_progress(self.options), self.typed)
        if learning.resume is not None:
            learning.refuse_changes(options)
            run = focusmap.resume(learning.resume, options)
            print(f"model: {run.model}")
            print(f"next, the remaining steps of focusmap run: {command_line('run', '--resume', learning.resume)}")
            return
        labels, folder = learning.labels_and_folder()
        cohort = show_study_or_plan(labels, learning.study, options, learning.out)
        if cohort is not None:
            run = focusmap.train(cohort, folder, options)
            print_notes(run)
            print(f"model: {run.model}")


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Options of ``focusmap tune``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap tune labels.csv --trials 30 --epochs 20 --out tuned     again, with more trials: goes on
      focusmap run labels.csv --recipe tuned/recipe.yaml --out runs/best"""

    labels: Annotated[Path, LABELS]
    out: Annotated[Path, Setting("folder of the trials and of the best recipe", "DIR")]
    trials: Annotated[int, Setting("recipes to try, those tried before among them", "N")] = 20
    study: Study = Study()
    source: RecipeFile = RecipeFile()
    options: Annotated[RunOptions, Only(*COHORT_OPTIONS, "devices")]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        options = self.source.merged(with_progress(self.options), self.typed)
        cohort = show_study_or_plan(self.labels, self.study, options)
        if cohort is None:
            return
        tuned = focusmap.tune(cohort, self.out, self.trials, options)
        print(f"{tuned.n_whole} recipes tried on all inner folds, {tuned.n_pruned} given up before")
        print(f"best: {tuned.recipe.model}, {tuned.score:.3f} on patients that it had not learnt from")
        print(f"recipe: {tuned.file}")
        print(f"next: {command_line('run', self.labels, '--recipe', tuned.file, '--out', 'RUN')}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Options of ``focusmap run``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap run labels.csv --images images --patient patient_id --out runs/first
      focusmap run images --patient none --out runs/first        a folder per class; makes runs/first_labels.csv
      focusmap run labels.csv --out runs/first --segment --model resnet18-acam        masks of the lesions too
      focusmap run --resume runs/first                                                continue after an interruption"""

    learning: Learning = Learning()
    options: Annotated[RunOptions, Only(*TRAINING_OPTIONS, "language", "track")]
    segment: Annotated[bool, Setting("draw masks, from image-level labels alone", title="masks of lesions")] = False
    masks: Annotated[SegmentRequest, Only("negatives", "tune_on_masks", title="masks of lesions")]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Run the command."""
        if not self.segment and self.masks != SegmentRequest():
            raise InputError("--negative and --tune-on-masks set how masks are drawn: add --segment.")
        masks = self.masks if self.segment else None
        learning, options = self.learning, self.learning.source.merged(with_progress(self.options), self.typed)
        if learning.resume is not None:
            learning.refuse_changes(options)
            print_run(focusmap.resume_run(learning.resume, options, masks))
            return
        labels, folder = learning.labels_and_folder()
        labels, study = _indexed(labels, folder, learning.study) if labels.is_dir() else (labels, learning.study)
        cohort = show_study_or_plan(labels, study, options, learning.out)
        if cohort is not None:
            print_run(focusmap.run(cohort, folder, options, masks))
        elif self.segment:
            print(MASKS_FOLLOW)


def _indexed(images: Path, run: Path, study: Study) -> tuple[Path, Study]:
    """Return the label file of a folder of images, made beside the run unless it is there, and where its images are."""
    if tables := sorted(path for path in images.iterdir() if is_table(path)):
        raise InputError(f"{images}: is a folder with the table {tables[0].name}. Give that: {tables[0]}")
    labels = run.with_name(f"{run.name}_labels.csv") if run.name else Path("labels.csv")
    if study.dry_run or labels.exists():
        state = "is a folder" if study.dry_run else f"was indexed before, to {labels}. Give that"
        index = command_line("index", images, "--out", labels)
        raise InputError(f"{images}: {state}; to index it: {index}")
    indexed = focusmap.index(images, labels)
    print(f"labels      {labels}: {len(indexed.index.table)} images")
    declaration = replace(study.declaration, images=study.declaration.images or indexed.images)
    return labels, replace(study, declaration=declaration)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Options of ``focusmap demo``."""

    EXAMPLE: ClassVar[str] = "example: focusmap demo --out runs/demo"

    out: Annotated[Path, Setting("folder of the run", "RUN")] = Path("focusmap-demo")
    seed: Annotated[int, Setting("seed of the study and of the training", "N")] = 0
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        print_run(focusmap.demo(self.out, seed=self.seed, force=self.force, progress=terminal_progress()))
