"""Options that several commands share, and how they become values."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.errors import InputError

if TYPE_CHECKING:
    from focusmap.study.cohort import Cohort
    from focusmap.study.declaration import Declaration
    from focusmap.study.options import RunOptions
    from focusmap.study.recipe import Recipe

RESUME = (
    "--resume goes on with the run's own study, split and recipe: leave the study's and the training's options out, "
    "or start another run with --out."
)


def add_labelled_run_options(parser: argparse.ArgumentParser) -> None:
    """Add a label file, a run folder, and all that a training from the one to the other may be told."""
    parser.add_argument("labels", type=Path, metavar="LABELS.csv", help="label file, one row an image")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    add_study_options(parser)
    add_recipe_options(parser)
    add_common_options(parser)


def add_resumable_run_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add what `add_labelled_run_options` does, and that a run is gone on with instead; `what` of it, in words."""
    parser.add_argument("labels", type=Path, nargs="?", metavar="LABELS.csv", help="label file, one row an image")
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help=f"go on with a {what} that was stopped, as it was begun"
    )
    add_study_options(parser)
    add_recipe_options(parser)
    add_common_options(parser)


def resumes(parsed: argparse.Namespace) -> bool:
    """Return whether a run is gone on with.

    Raises
    ------
    InputError
        If it is told of other data or settings than its own, or there is neither a run nor what to make one of.
    """
    from focusmap.study.declaration import Declaration
    from focusmap.study.recipe import Recipe

    if parsed.resume is None:
        if parsed.labels is None or (parsed.out is None and not parsed.dry_run):
            raise InputError("give LABELS.csv and --out RUN, or --resume RUN.")
        return False
    places = (parsed.labels, parsed.out, parsed.study, parsed.folds)
    if any(place is not None for place in places) or parsed.dry_run:
        raise InputError(RESUME)
    if declaration_from(parsed) != Declaration() or recipe_from_options(parsed) != Recipe():
        raise InputError(RESUME)
    return True


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what a label file's columns mean."""
    group = parser.add_argument_group("the study")
    group.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures (default: the label file's)")
    group.add_argument(
        "--target", action="append", default=[], metavar="NAME[:KIND]",
        help="a target column; repeat for several. NAME:delta=COL: learn how much a number has changed since COL",
    )  # fmt: skip
    group.add_argument("--patient", metavar="COL", help="patient column, or 'none' if every picture is its own patient")
    group.add_argument(
        "--same-patient", action="store_true",
        help="patients whose ids differ only in how they are written (17, 0017, 17.0) are one",
    )  # fmt: skip
    group.add_argument("--case", metavar="COL", help="column that groups pictures into cases")
    group.add_argument("--view", metavar="COL", help="column that names a picture's view")
    group.add_argument("--split", metavar="COL", help="column of a split made earlier")
    group.add_argument("--block", metavar="COL", help="order of slices: split in contiguous blocks with gaps")
    group.add_argument("--mask", metavar="COL", help="column of mask files")
    group.add_argument("--boxes", type=Path, metavar="FILE", help="CSV of lesion boxes")
    group.add_argument(
        "--covariate", action="append", default=[], metavar="COL[:KIND]",
        help="column that table models take; repeat. KIND: numeric, category, date, codes (default: by its cells)",
    )  # fmt: skip
    group.add_argument(
        "--before", action="append", default=[], metavar="TARGET=COL", help="column of a target's earlier value"
    )
    group.add_argument(
        "--missing", action="append", default=[], metavar="COL=VALUE", help="cells that mean 'not known'"
    )
    group.add_argument(
        "--group", action="append", default=[], metavar="COL", help="subgroup column; repeat for several"
    )
    group.add_argument(
        "--uncertain", choices=("unknown", "positive", "negative"), default="unknown", help="meaning of -1"
    )
    group.add_argument("--study", type=Path, metavar="FILE", help="a study.yaml made earlier, instead of the above")
    group.add_argument("--dry-run", action="store_true", help="show the study as understood, time, memory and disk")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command on a label file understands."""
    group = parser.add_argument_group("how it runs")
    group.add_argument(
        "--accept", action="append", default=[], metavar="FINDING", help="go on in spite of a blocking finding"
    )
    group.add_argument("--skip-unreadable", action="store_true", help="leave unreadable pictures out, and count them")
    group.add_argument(
        "--seed",
        type=int,
        default=None,
        metavar="N",
        help="seed of all that is drawn: the split, the training, intervals",
    )
    group.add_argument("--store", type=Path, metavar="DIR", help="share prepared pictures between runs")
    group.add_argument("--workers", type=int, default=None, metavar="N", help="processes that read pictures")
    group.add_argument(
        "--devices",
        default="auto",
        help="where nets compute: auto, cpu, cuda, mps; several train together: 2, cuda:2 (default: auto)",
    )
    group.add_argument("--force", action="store_true", help="replace what is there")


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Add the settings of a training."""
    group = parser.add_argument_group("the training")
    _add_start_options(group)
    _add_input_options(group)
    _add_fitting_options(group)


def _add_start_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recipe", type=Path, metavar="FILE", help="recipe.yaml with settings; the options below override it"
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="chest-xray, brain-mri, retina, oct-aptos, ultrasound or natural; all else overrides it",
    )
    group.add_argument(
        "--model", metavar="NAME",
        help="densenet121, resnet18, ..., any of timm's; for volumes resnet18-3d, densenet121-3d, ...; with -fpn or "
        "-pan a focus-map net; with +table the covariates too; autoencoder: no labels (default: by size)",
    )  # fmt: skip
    group.add_argument(
        "--weights",
        metavar="START",
        help="what training starts from: none, hub, auto (hub where it answers) or a weights file",
    )


def _add_input_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--size", type=int, metavar="N", help="side of the net's input in pixels (default: by the pictures)"
    )
    group.add_argument(
        "--shape", type=whole_numbers, metavar="N,N,N",
        help="voxels of the net's input towards right, front and top, such as 96,96,24 (default: by the volumes)",
    )  # fmt: skip
    group.add_argument(
        "--spacing", type=numbers, metavar="MM,MM,MM",
        help="voxel size of the input in mm; what does not fit --shape is padded or cropped (default: stretched)",
    )  # fmt: skip


def _add_fitting_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the training pictures (default: 60)")
    group.add_argument("--batch-size", type=int, metavar="N", help="pictures a step (default: 16)")
    group.add_argument("--threshold-for", metavar="RULE", help="accuracy, youden, f1, sensitivity=0.9, specificity=0.9")
    group.add_argument("--ensemble", type=int, metavar="N", help="train N nets from as many seeds and average them")
    group.add_argument(
        "--baseline", metavar="NAME", help="the simple model that 'run' sets beside: hog+svm, ..., none (default: auto)"
    )
    group.add_argument(
        "--tta", action="store_true", default=None, help="average over a few views of each picture that is predicted"
    )
    group.add_argument("--folds", type=int, metavar="K", help="cross-validation; predictions are pooled out of fold")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return whole numbers that are written with commas between them."""
    return tuple(int(part) for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """Return numbers that are written with commas between them."""
    return tuple(float(part) for part in text.split(","))


def add_language_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the language of the pages."""
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="of the pages: English or Chinese")


def declaration_from(parsed: argparse.Namespace) -> "Declaration":
    """Return what the user said about the label file."""
    from focusmap.study.declaration import Declaration

    return Declaration(
        images=parsed.images,
        targets=tuple(parsed.target),
        patient=parsed.patient,
        same_patient=parsed.same_patient,
        case=parsed.case,
        view=parsed.view,
        split=parsed.split,
        mask=parsed.mask,
        block=parsed.block,
        boxes=parsed.boxes,
        covariates=tuple(parsed.covariate),
        groups=tuple(parsed.group),
        before=tuple(parsed.before),
        missing=tuple(parsed.missing),
        uncertain=parsed.uncertain,
    )


def refuse_study_file(parsed: argparse.Namespace) -> None:
    """Raise `InputError` where a command on a finished run is told of another study, or to plan one."""
    if parsed.dry_run or parsed.study is not None:
        raise InputError(
            f"{parsed.command} uses the run's own study; --study and --dry-run belong to run, train, prepare and audit."
        )


def cohort_from(parsed: argparse.Namespace, label_file: Path) -> "Cohort":
    """Return the cohort of `label_file` as the options, or a study made earlier, declare it."""
    from focusmap.study.cohort import read_cohort
    from focusmap.study.study import read_study

    if parsed.study is not None:
        study = replace(read_study(parsed.study), label_file=label_file.resolve())
        return read_cohort(label_file, study=study)
    said = replace(declaration_from(parsed), unlabelled=not recipe_from_options(parsed).learns_labels)
    return read_cohort(label_file, said)


def recipe_from_options(parsed: argparse.Namespace) -> "Recipe":
    """Return the recipe: the file's settings, overridden by the options."""
    from focusmap.study.recipe import read_recipe, recipe_from

    file, preset = getattr(parsed, "recipe", None), getattr(parsed, "preset", None)
    recipe = read_recipe(file, preset) if file else recipe_from({"preset": preset} if preset else {})
    names = (
        "model", "epochs", "size", "shape", "spacing", "batch_size", "weights", "threshold_for", "seed", "ensemble",
        "baseline", "tta",
    )  # fmt: skip
    given = {name: getattr(parsed, name) for name in names if getattr(parsed, name, None) is not None}
    return replace(recipe, **given)


def run_options_from(parsed: argparse.Namespace) -> "RunOptions":
    """Return what the user chose about the run."""
    from focusmap.cli.progress import terminal_progress
    from focusmap.study.options import RunOptions

    return RunOptions(
        recipe=recipe_from_options(parsed),
        accept=tuple(parsed.accept),
        skip_unreadable=parsed.skip_unreadable,
        folds=getattr(parsed, "folds", None),
        store=parsed.store,
        workers=parsed.workers,
        devices=parsed.devices,
        n_nodes=getattr(parsed, "nodes", 1),
        force=parsed.force,
        language=getattr(parsed, "language", "en"),
        progress=terminal_progress(),
    )
