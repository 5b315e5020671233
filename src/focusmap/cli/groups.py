"""Options that several commands share: a label file with its study, and a recipe."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from focusmap import images
from focusmap.basics import InputError, Setting, command_line, is_table
from focusmap.cli.show_study import PrintOnce, changed_settings, print_cases, print_plan, print_study, terminal_progress
from focusmap.study import Declaration, Recipe, RunOptions, read_recipe, recipe_from

if TYPE_CHECKING:
    from focusmap.study import Cohort

LABELS = Setting("label file, one row per image", "LABELS.csv", is_positional=True)
RUN = Setting("folder of the run", "RUN", is_positional=True)
RUN_FOLDER = Setting("folder of the run", "RUN")
FORCE = Setting("replace existing files")
LANGUAGE = Setting("language of the pages: English or Chinese")
LABEL_FILE_ONLY = "applies to a label file. Leave it out, or name a label file."
RESUME = (
    "--resume continues with the run's own study, split and recipe: leave out the options of the study and the "
    "training, or start another run with --out."
)
MIRROR = (
    "the recipe mirrors images. In a mirrored chest radiograph the heart lies on the right, which is a finding "
    "(dextrocardia), not a variation; the same holds for every organ with a side. To turn it off: augmentation.mirror."
)


@dataclass(frozen=True)
class Study:
    """How a label file is read, and whether only its summary is wanted."""

    TITLE: ClassVar = "the study"

    declaration: Declaration = Declaration()
    file: Annotated[Path | None, Setting("an existing study.yaml, instead of the above", "FILE", option="study")] = None
    dry_run: Annotated[bool, Setting("only show the study as understood, with time, memory and disk")] = False

    def cohort(self, label_file: Path, recipe: Recipe) -> "Cohort":
        """Return the cohort of `label_file` as declared by the options, or by an existing study.yaml."""
        from focusmap.study import read_cohort, read_study

        if label_file.is_file() and not is_table(label_file) and images.is_image(label_file):
            raise InputError(
                f"{label_file}: is an image; a label file was expected. Make one of a folder of images with focusmap "
                f"index, or ask a trained model: {command_line('predict', 'RUN', label_file)}"
            )
        if self.file is not None:
            return read_cohort(label_file, study=replace(read_study(self.file), label_file=label_file.resolve()))
        return read_cohort(label_file, replace(self.declaration, unlabelled=not recipe.learns_labels))


@dataclass(frozen=True)
class Reading:
    """The limit on what is read from a file."""

    TITLE: ClassVar = "how it runs"

    budget: Annotated[
        float | None,
        Setting(
            "read files that take up to X times the usual bytes, pixels, parts and time", "X", option="reading-budget"
        ),
    ] = None


@dataclass(frozen=True)
class RecipeFile:
    """Recipe and preset: where settings without an option of their own come from."""

    TITLE: ClassVar = "the training"

    recipe: Annotated[Path | None, Setting("recipe.yaml with settings; the options below override it", "FILE")] = None
    preset: Annotated[
        str | None,
        Setting("chest-xray, brain-mri, retina, oct-aptos, ultrasound or natural; other settings override it", "NAME"),
    ] = None

    def merged(self, options: RunOptions, typed: Mapping[str, object]) -> RunOptions:
        """Return the options with the preset's recipe, overridden by the file's, overridden by the typed options."""
        preset = {"preset": self.preset} if self.preset else {}
        recipe = read_recipe(self.recipe, self.preset) if self.recipe else recipe_from(preset)
        prefix = "options.recipe."
        names = [name.removeprefix(prefix) for name in typed if name.startswith(prefix)]
        return replace(options, recipe=replace(recipe, **{name: getattr(options.recipe, name) for name in names}))


@dataclass(frozen=True)
class Learning:
    """The data and folder of a new run, or the run to resume."""

    labels: Annotated[Path | None, LABELS] = None
    out: Annotated[Path | None, RUN_FOLDER] = None
    resume: Annotated[Path | None, Setting("continue an interrupted run with its own settings", "RUN")] = None
    study: Study = Study()
    source: RecipeFile = RecipeFile()

    def labels_and_folder(self) -> tuple[Path, Path]:
        """Return label file and run folder; `InputError` if one is missing. A dry run needs no folder."""
        if self.labels is None or (self.out is None and not self.study.dry_run):
            raise InputError("give LABELS.csv and --out RUN, or --resume RUN.")
        return self.labels, self.out or Path()

    def refuse_changes(self, options: RunOptions) -> None:
        """Raise `InputError` if a run to be resumed is given data or settings: it has its own."""
        places = (self.labels, self.out, self.study.file, options.folds)
        is_set = self.study.declaration != Declaration() or options.recipe != Recipe()
        if is_set or self.study.dry_run or any(place is not None for place in places):
            raise InputError(RESUME)


def with_progress(options: RunOptions) -> RunOptions:
    """Return the options with progress and messages printed to stderr."""
    return replace(options, progress=terminal_progress(), say=PrintOnce())


def show_study_or_plan(labels: Path, study: Study, options: RunOptions, run: Path | None = None) -> "Cohort | None":
    """Print the study and return its cohort; of a dry run, print the plan too and return None.

    A dry run refuses the folder of a `run` that the run itself would refuse.
    """
    if study.dry_run and run is not None:
        from focusmap.study import refuse_taken

        refuse_taken(run, force=options.force)
    cohort = study.cohort(labels, options.recipe)
    print_study(cohort)
    print_cases(cohort, options.recipe)
    if changed := changed_settings(options.recipe):
        print(f"recipe      {changed}")
    if options.recipe.augmentation.mirror:
        print(f"note: {MIRROR}", file=sys.stderr)
    if not study.dry_run:
        return cohort
    print_plan(cohort, options)
    return None
