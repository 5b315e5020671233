"""An anomaly score beside labels that it has never seen: does it rank what they name higher?"""

from typing import cast

import numpy as np

from focusmap.errors import InputError
from focusmap.evaluation import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions
from focusmap.files import Json
from focusmap.study.cohort import Cohort
from focusmap.study.task import Task

# A score is no probability: nothing is said of what depends on an operating point or on calibration.
KEPT = ("kind", "positive", "n", "n_positive", "auroc", "average_precision")


def refuse_other_kinds(task: Task) -> None:
    """Raise `InputError` where a label is not binary."""
    for target in task.targets:
        if target.kind != "binary":
            raise InputError(
                f"target {target.name!r} is {target.kind}; an anomaly score is compared with binary labels. Name the "
                "two classes, or make a column of 0 and 1."
            )


def compare_with_labels(scores: Predictions, labelled: Cohort, seed: int) -> dict[str, Json]:
    """Return how well anomaly scores rank the images of each binary label above the others.

    Raises
    ------
    InputError
        If the table of labels has no row for an image.
    """
    ids = list(scores.ids["image_id"])
    unknown = [image_id for image_id in ids if image_id not in labelled.positions]
    if unknown:
        raise InputError(f"{labelled.study.label_file}: has no row for {unknown[0]}, which the run has predicted.")
    task = labelled.task
    repeated = np.repeat(scores.logits, task.n_logits, axis=1)
    settings = EvaluationOptions(seed=seed)
    found = evaluate_predictions(Predictions(task, scores.ids, repeated, repeated), labelled.of(ids).truth, settings)
    targets = cast(dict[str, dict[str, Json]], found["targets"])
    return {name: {key: values[key] for key in KEPT} for name, values in targets.items()}
