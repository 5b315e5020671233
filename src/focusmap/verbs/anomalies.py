"""Compare an autoencoder's anomaly score with labels, which it has never seen: does it rank what they name higher?"""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from focusmap.errors import InputError
from focusmap.evaluation import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions, read_predictions
from focusmap.files import Json, table_name, write_json
from focusmap.study.cohort import Cohort, read_cohort
from focusmap.study.options import Declaration, RunOptions
from focusmap.study.run import open_run
from focusmap.study.study import read_study
from focusmap.study.task import UNLABELLED, Task
from focusmap.verbs.evaluate import METRICS, evaluate, evaluate_other

# A score is no probability: nothing is said of what depends on an operating point or on calibration.
KEPT = ("kind", "positive", "n", "n_positive", "auroc", "average_precision")


def is_unlabelled(folder: Path) -> bool:
    """Return whether a run has learnt from pictures alone."""
    return read_study(open_run(folder).study).task == UNLABELLED


def evaluate_anomalies(
    folder: Path, label_file: Path | None, said: Declaration, out: Path | None, options: RunOptions
) -> dict[str, Json]:
    """Return AUROC and average precision of the anomaly score for the binary labels that `said` names; write them.

    Parameters
    ----------
    folder
        The run, of a study without labels.
    label_file
        Of other pictures; None means the run's own test part and label file.
    said
        The targets; what else is said of another label file.
    out, options
        As for `focusmap.verbs.evaluate_other`.

    Raises
    ------
    InputError
        If a label is not binary, or the label file no longer has a picture of the run.
    """
    run = open_run(folder)
    own = read_study(run.study)
    labelled = _labels(label_file or own.label_file, said, said.images or (own.images if label_file is None else None))
    if label_file is None:
        metrics, table = evaluate(folder, out, force=options.force), run.predictions("test")
        place = out or run.evaluation
    else:
        metrics = evaluate_other(folder, label_file, replace(said, targets=()), out, options)
        place = out or run.evaluation / table_name(label_file)
        table = place / "predictions.csv"
    compared = compare_with_labels(read_predictions(table, UNLABELLED), labelled, options)
    metrics = {**metrics, "targets": {**cast(dict[str, Json], metrics["targets"]), **compared}}
    write_json(place / METRICS, metrics)
    return metrics


def compare_with_labels(scores: Predictions, labelled: Cohort, options: RunOptions) -> dict[str, Json]:
    """Return how well anomaly scores rank the pictures of each binary label above the others."""
    ids = list(scores.ids["image_id"])
    unknown = [image_id for image_id in ids if image_id not in labelled.positions]
    if unknown:
        raise InputError(f"{labelled.study.label_file}: has no row for {unknown[0]}, which the run has predicted.")
    task = labelled.task
    repeated = np.repeat(scores.logits, task.n_logits, axis=1)
    settings = EvaluationOptions(seed=options.recipe.seed)
    found = evaluate_predictions(Predictions(task, scores.ids, repeated, repeated), labelled.of(ids).truth, settings)
    targets = cast(dict[str, dict[str, Json]], found["targets"])
    return {name: {key: values[key] for key in KEPT} for name, values in targets.items()}


def _labels(label_file: Path, said: Declaration, images: Path | None) -> Cohort:
    cohort = read_cohort(label_file, Declaration(images, said.targets, patient="none", uncertain=said.uncertain))
    _refuse_other_kinds(cohort.task)
    return cohort


def _refuse_other_kinds(task: Task) -> None:
    for target in task.targets:
        if target.kind != "binary":
            raise InputError(
                f"target {target.name!r} is {target.kind}; an anomaly score is compared with binary labels. Name the "
                "two classes, or make a column of 0 and 1."
            )
