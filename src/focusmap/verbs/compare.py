"""Compare: two or more runs on the same test images, with paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import cast

from focusmap.basics import (
    InputError,
    Json,
    Language,
    atomic,
    command_line,
    read_json,
    read_table,
    refuse_existing,
    write_json,
)
from focusmap.evaluation import EvaluationOptions, better_of, compare_predictions, folds_of, frozen_thresholds
from focusmap.evaluation.predictions import Predictions, of_images, read_predictions
from focusmap.study import Cohort, Run, load_cohort, open_run, read_recipe, short_names


@dataclass(frozen=True)
class Contender:
    """A run to be compared: its test predictions, their truth and its metrics."""

    name: str
    run: Run
    cohort: Cohort
    predictions: Predictions
    metrics: dict[str, Json]


def compare(
    folders: Sequence[Path], out: Path | None = None, language: Language = "en", *, force: bool = False
) -> dict[str, Json]:
    """Return metrics side by side and paired differences of every metric; write them to `out` if it is given.

    Raises
    ------
    InputError
        If fewer than two runs are given, two runs share no test image, or `out` holds a comparison already and
        `force` is not given.
    """
    if out is not None:
        refuse_existing(out / "compare.json", out / "compare.html", force=force)
    if len(folders) < 2:
        raise InputError("give two runs or more.")
    names = short_names([folder.resolve() for folder in folders])
    contenders = [_contender(folder, name) for folder, name in zip(folders, names, strict=True)]
    pairs = [_differences(a, b) for a, b in combinations(contenders, 2)]
    comparison: dict[str, Json] = {
        "runs": [
            {"name": c.name, "folder": called, "metrics": c.metrics}
            for c, called in zip(contenders, short_names(folders), strict=True)
        ],
        "answers": [answer for rows in pairs if (answer := better_of(rows))],
        "settings": _settings(contenders),
        "differences": [row for rows in pairs for row in rows],
    }
    if out is not None:
        from focusmap.report import render_comparison

        # A model that is fitted in one step has none.
        written = {c.name: c.run.parts()[0].history for c in contenders}
        histories = {name: read_table(path) for name, path in written.items() if path.is_file()}
        # Neither stands there without the other.
        with atomic(out / "compare.json") as temporary:
            write_json(temporary, comparison)
            render_comparison(comparison, histories, out, language)
    return comparison


def _settings(contenders: Sequence[Contender]) -> dict[str, Json]:
    """Return the settings of the recipes that are not the same in all runs: by name, each run's value as text."""
    recipes = {c.name: read_recipe(c.run.recipe).flat() for c in contenders}
    names = dict.fromkeys(name for recipe in recipes.values() for name in recipe)
    values = {name: {run: str(recipe.get(name)) for run, recipe in recipes.items()} for name in names}
    return {name: {**of_runs} for name, of_runs in values.items() if len(set(of_runs.values())) > 1}


def _contender(folder: Path, name: str) -> Contender:
    run = open_run(folder)
    metrics = run.evaluation / "metrics.json"
    if not metrics.is_file() or not run.predictions("test").is_file():
        raise InputError(f"{folder}: is not evaluated yet. Do it with: {command_line('evaluate', folder)}")
    cohort = load_cohort(run.folder)
    predictions = read_predictions(run.predictions("test"), cohort.task)
    return Contender(name, run, cohort, predictions, read_json(metrics))


def _differences(a: Contender, b: Contender) -> list[dict[str, Json]]:
    """Return b - a, one row per target and metric, on the test images that both have predicted."""
    of_b = set(b.predictions.ids["image_id"])
    shared = [image_id for image_id in a.predictions.ids["image_id"] if image_id in of_b]
    if not shared:
        raise InputError(f"{a.run.folder} and {b.run.folder} share no test image; they cannot be compared.")
    chosen = [of_images(contender.predictions, shared) for contender in (b, a)]
    folds = [folds_of(c.run, p) for c, p in zip((b, a), chosen, strict=True)]
    settings = [EvaluationOptions(frozen_thresholds(c.run, f)) for c, f in zip((b, a), folds, strict=True)]
    compared = compare_predictions(chosen[0], chosen[1], a.cohort.of(shared).truth, (settings[0], settings[1]))
    counts: dict[str, Json] = {"n_images": compared["n_images"], "n_patients": compared["n_patients"]}
    tables = cast(dict[str, dict[str, Json]], {**cast(dict[str, Json], compared["targets"]), "mean": compared["mean"]})
    rows: list[dict[str, Json]] = []
    for name, values in tables.items():
        for metric, value in values.items():
            if isinstance(value, dict) and "value" in value:
                row: dict[str, Json] = {"a": a.name, "b": b.name, "target": name, "metric": metric}
                rows.append({**row, "difference": value, "p": value.get("p"), **counts})
    return rows
