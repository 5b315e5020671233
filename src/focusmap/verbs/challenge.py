"""Challenge: what a study's images would seem to tell if it were split otherwise, or asked something else."""

from dataclasses import replace
from pathlib import Path
from typing import cast

from focusmap.errors import InputError
from focusmap.evaluation import CHALLENGE
from focusmap.files import Json, branch, items, read_json, text, write_json
from focusmap.models import Challenge, challenged, climbing_on, frozen_features
from focusmap.study import Recipe, RunOptions, Task, load_cohort, open_run, read_recipe

SIZE = 224


def challenge(folder: Path, options: RunOptions = RunOptions()) -> dict[str, Json]:
    """Return how far a run's result rests on its split, its number of patients and its sources; write it to the run.

    All by linear probes on frozen features; the columns that are asked for are the study's groups and views.

    Raises
    ------
    InputError
        If the run has no images, or no target with classes.
    """
    from focusmap.nets import PROBE
    from focusmap.training import choose_devices

    run = open_run(folder)
    cohort, recipe = load_cohort(folder), read_recipe(run.recipe)
    targets = tuple(target for target in cohort.task.targets if target.classes)
    if not cohort.has_images or cohort.images is not None or recipe.shape or not targets:
        raise InputError(f"{folder}: only runs of single images with a target of classes can be challenged.")
    cohort = replace(cohort, study=replace(cohort.study, task=Task(targets)))
    probe = Recipe(
        model=f"{climbing_on(options.devices).backbone}-{PROBE}", size=SIZE, channels=recipe.channels or 1,
        scaling="range", pooling="average", seed=options.recipe.seed,
    )  # fmt: skip
    features = frozen_features(cohort, probe, choose_devices(options.devices).accelerator, options.progress)
    study = cohort.study
    names = [*study.groups, *([study.view_column] if study.view_column else [])]
    columns = {name: cohort.table[name].astype(str).tolist() for name in names if name in cohort.table}
    found = challenged(Challenge(features, cohort, _duplicates(folder), columns, options.recipe.seed), options.say)
    write_json(run.evaluation / CHALLENGE, found, sealed=True)
    return found


def _duplicates(folder: Path) -> list[tuple[str, str]]:
    """Return the pairs of exact and near duplicates that the run's audit has found."""
    audit = read_json(folder / "audit.json", checked=False) if (folder / "audit.json").is_file() else {}
    found = branch(audit, "overview", "duplicates")
    near = [branch(pair) for pair in items(found.get("near"))]
    exact = [cast(list[str], group) for group in items(found.get("exact"))]
    pairs = [(text(pair.get("a")), text(pair.get("b"))) for pair in near]
    return pairs + [(group[0], other) for group in exact for other in group[1:]]
