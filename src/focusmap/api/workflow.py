"""What takes several verbs: everything in one go from audit to report, acceptance, anomaly scores against labels.

The one place that puts verbs together: it stands above them, since no verb knows another.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from time import monotonic
from typing import cast

from focusmap.api.tracking import track
from focusmap.basics import INDEX, Progress, refuse_existing, require, silent, table_name
from focusmap.basics.files import Json, atomic_folder, read_table, write_json
from focusmap.evaluation import Requirement, compare_with_labels, decide, read_predictions, refuse_other_kinds
from focusmap.evaluation.writing import ACCEPTANCE, METRICS, PREDICTIONS
from focusmap.fitting import train_baseline, write_manifest
from focusmap.models import can_be_mapped
from focusmap.segmentation import check_lesions
from focusmap.study import LADDER, UNLABELLED, Declaration, Recipe, RunOptions, parts_of, read_recipe, read_study
from focusmap.study.cohort import Cohort, load_cohort, read_cohort
from focusmap.study.run import Run, open_run, start_run, writing
from focusmap.verbs.evaluate import evaluate, evaluate_other
from focusmap.verbs.explain import explain
from focusmap.verbs.report import report
from focusmap.verbs.requests import MASKS_FOLLOW, ExplainRequest, SegmentRequest
from focusmap.verbs.segment import segment
from focusmap.verbs.train import resume, train

DEMO_PIXELS = 48
# Of the budget: maps of the first answer, and all that follows the last training; and the time that a few maps take.
FIRST_MAPS, MOST_OF_BUDGET, LEAST_SECONDS = 0.015, 0.25, 5.0
# A larger rate than the default: the demo has to learn within three minutes.
DEMO_RECIPE = Recipe(
    model="small-residual", weights="none", epochs=20, batch_size=16, learning_rate=3e-3, ema_decay=0.97
)


def run(cohort: Cohort, folder: Path, options: RunOptions, masks: SegmentRequest | None = None) -> Run:
    """Do everything for a cohort; return the run, whose ``report.html`` is written last.

    With `masks` lesions are drawn too. What counts as one is looked at before anything is trained.

    Raises
    ------
    InputError, RefusedError
        As the steps do.
    """
    if options.track is not None:
        require(options.track)
    with writing(folder):
        if masks is not None:
            check_lesions(cohort, options.recipe, masks.targets, masks.negatives)
            options.say(MASKS_FOLLOW)
        options = replace(options, begun=monotonic())
        return _finish(train(cohort, folder, options, partial(_answer, options=options.alone)), options.alone, masks)


def resume_run(folder: Path, options: RunOptions, masks: SegmentRequest | None = None) -> Run:
    """Go on with a run that was stopped, with its own study, split and recipe; return it, finished.

    Masks that it has are left as they are; all else behind the training is done anew.

    Raises
    ------
    InputError
        As `focusmap.verbs.train.resume` does, and the steps behind the training.
    """
    with writing(folder):
        run = open_run(folder)
        if masks is not None and run.recipe.is_file():
            check_lesions(load_cohort(folder), read_recipe(run.recipe), masks.targets, masks.negatives)
        options = replace(options, begun=monotonic())
        if run.recipe.is_file():
            options = replace(options, recipe=read_recipe(run.recipe))
        return _finish(resume(folder, options, partial(_answer, options=options.alone)), options.alone, masks)


def _answer(made: Run, is_new: bool, options: RunOptions) -> float:
    """Evaluate, explain and report a trained run; return how long that will take of its next model.

    Maps are made beside those that are there, and take their place when they are whole. Those of the same model stay.
    """
    seconds: dict[str, float] = {}
    seconds["baseline"] = _timed(lambda: train_baseline(made, options))
    seconds["evaluate"] = _timed(lambda: evaluate(made.folder))
    if can_be_mapped(made.model) and (is_new or _can_map_more(made, options)):
        seconds["explain"] = _timed(lambda: _explain(made, _seconds_for_maps(made, options), options))
    elif not can_be_mapped(made.model):
        # Those of a net that was chosen before.
        rmtree(made.focus, ignore_errors=True)
    write_manifest(made, options, seconds)
    seconds["report"] = _timed(lambda: report(made.folder, options.language))
    options.say(f"evaluated, with maps and report, within {monotonic() - (options.begun or 0):.0f} s: {made.folder}")
    # The next model may be the mean of several, each of which is asked for its maps.
    maps = 2 * seconds["explain"] / (_share_mapped(made) or 1) if "explain" in seconds else 0.0
    return min(maps + seconds["evaluate"] + seconds["report"], MOST_OF_BUDGET * 60 * options.minutes)


def _share_mapped(made: Run) -> float:
    """Return of how many of its tested images a run has maps: those of some, where the time has ended."""
    index = [read_table(file) for file in made.focus.glob("**/index.csv")] if made.focus.is_dir() else []
    n_mapped = len({name for table in index for name in table["image_id"]})
    return n_mapped / max(1, sum(len(part.test) for part in parts_of(made)))


def _can_map_more(made: Run, options: RunOptions) -> bool:
    """Return whether a run's maps are of some of its images, and more of them fit into the time that is left."""
    seconds = _seconds_for_maps(made, options)
    return _share_mapped(made) < 1 and (seconds is None or seconds > 2 * FIRST_MAPS * 60 * options.minutes)


def _seconds_for_maps(made: Run, options: RunOptions) -> float | None:
    """Return how long the maps of a run with a budget may take: a little for the first answer, then what is left.

    None where the run has no budget.
    """
    if read_recipe(made.recipe).model != LADDER:
        return None
    left = (options.begun or monotonic()) + 60 * options.minutes - monotonic()
    return max(LEAST_SECONDS, left if made.focus.is_dir() else FIRST_MAPS * 60 * options.minutes)


def _explain(made: Run, seconds: float | None, options: RunOptions) -> None:
    with atomic_folder(made.focus) as folder:
        explain(made.folder, ExplainRequest(out=folder, seconds=seconds), options)


def _finish(made: Run, options: RunOptions, masks: SegmentRequest | None) -> Run:
    """Do what comes after the last model: masks, which take longest, and only where there are none."""
    seconds: dict[str, float] = {}
    if masks is not None and not (made.segmentation / INDEX).is_file():
        seconds["segment"] = _timed(lambda: segment(made.folder, masks, options))
        write_manifest(made, options, seconds)
    report(made.folder, options.language)
    if options.track is not None:
        options.say(f"tracked: {track(made)}")
    return made


def demo(
    folder: Path, *, seed: int = 0, force: bool = False, shuffle_labels: bool = False, progress: Progress = silent
) -> Run:
    """Make the phantom study in the folder's ``study``, run everything on it, and return the run.

    With `shuffle_labels` images and labels have nothing to do with each other, and nothing can be learnt.
    """
    from focusmap.phantom import PhantomOptions, make_phantom, write_phantom

    options = RunOptions(recipe=replace(DEMO_RECIPE, seed=seed), force=force, progress=progress)
    with writing(folder):
        start_run(folder, force=force)
        phantom = make_phantom(PhantomOptions(size=DEMO_PIXELS, seed=seed, shuffle_labels=shuffle_labels))
        labels = write_phantom(phantom, folder / "study")
        return run(read_cohort(labels), folder, replace(options, force=True))


def accept(
    folder: Path,
    label_file: Path,
    requirements: Sequence[Requirement],
    declaration: Declaration = Declaration(),
    out: Path | None = None,
    options: RunOptions = RunOptions(),
) -> dict[str, Json]:
    """Return whether a run's model reaches what is required on local images, and write it as ``acceptance.json``.

    Raises
    ------
    InputError, RefusedError
        As `focusmap.evaluate_other` does; if nothing is required, or something that is not measured.
    """
    out = out or open_run(folder).evaluation / table_name(label_file)
    refuse_existing(out / ACCEPTANCE, force=options.force)
    decision = decide(evaluate_other(folder, label_file, declaration, out, options), requirements)
    write_json(out / ACCEPTANCE, decision, sealed=True)
    return decision


def is_unlabelled(folder: Path) -> bool:
    """Return whether a run has learnt from images alone."""
    return read_study(open_run(folder).study).task == UNLABELLED


def evaluate_anomalies(
    folder: Path, label_file: Path | None, declaration: Declaration, out: Path | None, options: RunOptions
) -> dict[str, Json]:
    """Return AUROC and average precision of the anomaly score for the binary labels that are declared; write them.

    Parameters
    ----------
    folder
        The run, of a study without labels.
    label_file
        Of other images; None means the run's own test part and label file.
    declaration
        The targets; what else is said of another label file.
    out, options
        As for `focusmap.evaluate_other`.

    Raises
    ------
    InputError
        If a label is not binary, or the label file no longer has an image of the run.
    """
    run = open_run(folder)
    own = read_study(run.study)
    images = declaration.images or (own.images if label_file is None else None)
    declared = Declaration(images, declaration.targets, patient="none", uncertain=declaration.uncertain)
    labelled = read_cohort(label_file or own.label_file, declared)
    refuse_other_kinds(labelled.task)
    if label_file is None:
        metrics, table = evaluate(folder, out, force=options.force), run.predictions("test")
        place = out or run.evaluation
    else:
        metrics = evaluate_other(folder, label_file, replace(declaration, targets=()), out, options)
        place = out or run.evaluation / table_name(label_file)
        table = place / PREDICTIONS
    compared = compare_with_labels(read_predictions(table, UNLABELLED), labelled, options.recipe.seed)
    metrics = {**metrics, "targets": {**cast(dict[str, Json], metrics["targets"]), **compared}}
    write_json(place / METRICS, metrics)
    return metrics


def _timed(work: Callable[[], object]) -> float:
    """Do the work; return how many seconds it took."""
    started = monotonic()
    work()
    return monotonic() - started
