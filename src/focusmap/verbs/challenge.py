"""Challenge: what a model would seem to reach with another split, fewer patients, or a confounder as its target."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from focusmap import nets, training
from focusmap.audit import metadata_of
from focusmap.basics import (
    Json,
    atomic_folder,
    branch,
    items,
    read_json,
    refuse_unwritable,
    text,
    write_json,
    write_table,
)
from focusmap.basics.errors import FocusmapError, InputError
from focusmap.evaluation import CHALLENGE, MOST_SHOWN, reference_of
from focusmap.figures import write_thumbnail
from focusmap.fitting import Challenge, covers_of, frozen_features, ladder_settings, run_challenge
from focusmap.images import middle_slice, read_image
from focusmap.study import Cohort, Recipe, RunOptions, Task, load_cohort, open_run, read_recipe

SIZE, SHOWN_PIXELS = 224, 240
DOUBTFUL = "label_errors.csv"
# Columns of a time, by their name; PS3.5 section 6.2 writes times as HHMMSS.FFFFFF, of which minutes may be the last.
TIME = re.compile(r"(?i)hour|time$")
HOUR = re.compile(r"(\d{1,2})(?:$|:\d|\d\d(?:\d\d)?(?:\.\d+)?$)")
QUARTERS = ("0 to 6", "6 to 12", "12 to 18", "18 to 24")
DOUBTED = ("image_id", "path", "patient_id", "target", "given", "suggested", "probability", "margin")


def challenge(folder: Path, options: RunOptions = RunOptions()) -> dict[str, Json]:
    """Return how far a run's result rests on its split, its number of patients and its sources; write it to the run.

    All by linear probes on frozen features; the columns that are asked for are the study's groups and views, and what
    files say of their size and hour.

    Raises
    ------
    InputError, DiskError
        If the run has no images, or no target with classes, or may not be written to.
    """
    run = open_run(folder)
    cohort, recipe = load_cohort(folder), read_recipe(run.recipe)
    targets = tuple(target for target in cohort.task.targets if target.classes)
    if not cohort.has_images or cohort.images is not None or recipe.shape or not targets:
        raise InputError(f"{folder}: only runs of single images with a target of classes can be challenged.")
    refuse_unwritable(run.evaluation / CHALLENGE)
    cohort = replace(cohort, study=replace(cohort.study, task=Task(targets)))
    probe = Recipe(
        model=f"{ladder_settings(options.devices).backbone}-{nets.PROBE}", size=SIZE, channels=recipe.channels or 1,
        scaling="range", pooling="average", seed=options.recipe.seed,
    )  # fmt: skip
    covers = covers_of(reference_of(cohort), options.recipe.seed)
    device = training.choose_devices(options.devices).accelerator
    features, covered = frozen_features(cohort, probe, device, options.progress, covers, run.store)
    columns, times = _columns_and_times(cohort)
    beside = {**_of_files(cohort), **times}
    setting = Challenge(features, cohort, _duplicates(folder), columns, beside, covered, options.recipe.seed)
    facts = run_challenge(setting, options.say)
    doubtful = [branch(doubt) for doubt in items(facts.pop("doubtful"))]
    facts["n_doubtful"] = len(doubtful)
    write_json(run.evaluation / CHALLENGE, facts, sealed=True)
    write_table(run.evaluation / DOUBTFUL, pd.DataFrame(doubtful, columns=DOUBTED))
    _write_images(cohort, [text(doubt["image_id"]) for doubt in doubtful[:MOST_SHOWN]], run.evaluation)
    return facts


def _columns_and_times(cohort: Cohort) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the study's groups and views; and, of those that are times, the quarter of the day."""
    study = cohort.study
    names = [*study.groups, *([study.view_column] if study.view_column else [])]
    columns = {name: cohort.table[name].astype(str).tolist() for name in names if name in cohort.table}
    times = {name: list(map(_quarter, columns.pop(name))) for name in list(columns) if TIME.search(name)}
    return columns, times


def _of_files(cohort: Cohort) -> dict[str, list[str]]:
    """Return what files say of their making: size, and the quarter of the day by header or EXIF; empty is unknown."""
    files = [cohort.file(image_id) for image_id in cohort.image_ids]
    sizes = np.array([file.stat().st_size for file in files])
    middle = np.median(sizes)
    return {
        "file size": ["above the median" if size > middle else "up to it" for size in sizes],
        "hour of acquisition": [_quarter(metadata_of(file).made.get("hour", "")) for file in files],
    }


def _quarter(time: str) -> str:
    """Return in which quarter of the day a time lies: an hour, ``HH:MM`` or DICOM's ``HHMMSS``; empty of none.

    >>> [_quarter(time) for time in ("7", "07:59", "183000.00", "2024", "25:00", "")]
    ['6 to 12', '6 to 12', '18 to 24', '18 to 24', '', '']
    """
    hour = HOUR.match(time.strip())
    return QUARTERS[int(hour[1]) // 6] if hour and int(hour[1]) < 24 else ""


def _write_images(cohort: Cohort, image_ids: Sequence[str], evaluation: Path) -> None:
    """Write a small image of each, called by its place; those that cannot be read are left out."""
    with atomic_folder(evaluation / Path(DOUBTFUL).stem) as folder:
        for place, image_id in enumerate(image_ids):
            try:
                pixels = middle_slice(read_image(cohort.file(image_id), at_least=SHOWN_PIXELS))
            except FocusmapError:
                continue
            write_thumbnail(folder / f"{place}.png", pixels, SHOWN_PIXELS)


def _duplicates(folder: Path) -> list[tuple[str, str]]:
    """Return the pairs of exact and near duplicates that the run's audit has found."""
    audit = read_json(folder / "audit.json", checked=False) if (folder / "audit.json").is_file() else {}
    duplicates = branch(audit, "overview", "duplicates")
    near = [branch(pair) for pair in items(duplicates.get("near"))]
    exact = [cast(list[str], group) for group in items(duplicates.get("exact"))]
    pairs = [(text(pair.get("a")), text(pair.get("b"))) for pair in near]
    return pairs + [(group[0], other) for group in exact for other in group[1:]]
