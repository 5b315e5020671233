"""What several commands ask for: a label file and its study, a recipe, and how these become values."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from focusmap import images
from focusmap.basics import InputError, Setting, is_table
from focusmap.cli.show_study import SaidOnce, changed_settings, print_cases, print_plan, print_study, terminal_progress
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
    """What a label file's columns mean, and whether that is all that is asked."""

    TITLE: ClassVar = "the study"

    declaration: Declaration = Declaration()
    file: Annotated[Path | None, Setting("an existing study.yaml, instead of the above", "FILE", option="study")] = None
    dry_run: Annotated[bool, Setting("only show the study as understood, with time, memory and disk")] = False

    def cohort(self, label_file: Path, recipe: Recipe) -> "Cohort":
        """Return the cohort of `label_file` as the options, or a study made earlier, declare it."""
        from focusmap.study import read_cohort, read_study

        if label_file.is_file() and not is_table(label_file) and images.is_image(label_file):
            raise InputError(
                f"{label_file}: is an image; a label file was expected. Make one of a folder of images with focusmap "
                f"index, or ask a trained model: focusmap predict RUN {label_file}"
            )
        if self.file is not None:
            return read_cohort(label_file, study=replace(read_study(self.file), label_file=label_file.resolve()))
        return read_cohort(label_file, replace(self.declaration, unlabelled=not recipe.learns_labels))


@dataclass(frozen=True)
class Reading:
    """How much may come out of a file."""

    TITLE: ClassVar = "how it runs"

    budget: Annotated[
        float | None,
        Setting(
            "read files that take up to X times the usual bytes, pixels, parts and time", "X", option="reading-budget"
        ),
    ] = None


@dataclass(frozen=True)
class RecipeFile:
    """Where the settings of a training come from that no option names."""

    TITLE: ClassVar = "the training"

    recipe: Annotated[Path | None, Setting("recipe.yaml with settings; the options below override it", "FILE")] = None
    preset: Annotated[
        str | None,
        Setting("chest-xray, brain-mri, retina, oct-aptos, ultrasound or natural; other settings override it", "NAME"),
    ] = None

    def under(self, options: RunOptions, typed: Mapping[str, object]) -> RunOptions:
        """Return the options with the whole recipe: the file's over the preset's, overridden by what was typed."""
        preset = {"preset": self.preset} if self.preset else {}
        recipe = read_recipe(self.recipe, self.preset) if self.recipe else recipe_from(preset)
        prefix = "options.recipe."
        names = [name.removeprefix(prefix) for name in typed if name.startswith(prefix)]
        return replace(options, recipe=replace(recipe, **{name: getattr(options.recipe, name) for name in names}))


@dataclass(frozen=True)
class Learning:
    """What a run is made of, or which one is gone on with."""

    labels: Annotated[Path | None, LABELS] = None
    out: Annotated[Path | None, RUN_FOLDER] = None
    resume: Annotated[Path | None, Setting("continue an interrupted run with its own settings", "RUN")] = None
    study: Study = Study()
    source: RecipeFile = RecipeFile()

    def given(self) -> tuple[Path, Path]:
        """Return label file and run folder; `InputError` without them. A dry run writes nothing and needs no folder."""
        if self.labels is None or (self.out is None and not self.study.dry_run):
            raise InputError("give LABELS.csv and --out RUN, or --resume RUN.")
        return self.labels, self.out or Path()

    def check_resumes(self, options: RunOptions) -> None:
        """Raise `InputError` where a run that is resumed is given other data or settings than its own."""
        places = (self.labels, self.out, self.study.file, options.folds)
        is_set = self.study.declaration != Declaration() or options.recipe != Recipe()
        if is_set or self.study.dry_run or any(place is not None for place in places):
            raise InputError(RESUME)


def watched(options: RunOptions) -> RunOptions:
    """Return the options with what tells a person how far it is."""
    return replace(options, progress=terminal_progress(), say=SaidOnce())


def understood(labels: Path, study: Study, options: RunOptions) -> "Cohort | None":
    """Return the cohort that is to be learnt from, the study printed; None where a dry run asks for the plan only."""
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
