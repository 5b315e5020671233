"""Test predictions beside the truth, one row an image and label."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from focusmap.figures.json_tree import branch, number
from focusmap.report.files import RunFiles
from focusmap.report.words import Words
from focusmap.study.task import DEFAULT_THRESHOLD, Target


def judged_predictions(files: RunFiles, words: Words) -> pd.DataFrame | None:
    """Return test predictions with their truth; None if there are no predictions or no cohort.

    Returns
    -------
    DataFrame
        ``image_id, path, patient_id, target, label, truth`` (0, 1; NaN unknown), ``known`` (the truth in words:
        present, absent, or the class), ``probability, operating_point`` (0 for a class, which needs only to be the
        most probable), ``called`` (whether the label was predicted) and ``outcome`` (TP, FP, FN, TN, or an empty string
        where the truth is unknown). Continuous targets are left out.
    """
    if files.predictions is None or files.cohort is None:
        return None
    truth = _truth_by_label(files, files.cohort, files.predictions["image_id"])
    tables = [
        _of_target(files, files.predictions, target, truth, words)
        for target in files.task.targets
        if target.kind != "continuous"
    ]
    return pd.concat(tables, ignore_index=True) if tables else None


def threshold_of(files: RunFiles, target: str) -> float:
    """Return the operating point of a binary target; where folds have their own, the median over images."""
    found = number(branch(files.metrics, "targets", target).get("threshold"))
    if found is None and files.card is not None:
        found = files.card.threshold_of(target)
    return DEFAULT_THRESHOLD if found is None else found


def thresholds_of(files: RunFiles, target: str, image_ids: Sequence[str]) -> np.ndarray:
    """Return the operating point ``(N,)`` of a binary target for each image: that of the fold that predicted it."""
    usual = threshold_of(files, target)
    own = {fold: card.thresholds.get(target, usual) for fold, card in files.fold_cards.items()}
    return np.array([own.get(files.predicted_by.get(image_id, ""), usual) for image_id in image_ids])


def _truth_by_label(files: RunFiles, cohort: pd.DataFrame, image_ids: pd.Series) -> dict[str, np.ndarray]:
    positions = {image_id: position for position, image_id in enumerate(cohort["image_id"])}
    rows = np.array([positions.get(image_id, -1) for image_id in image_ids], dtype=np.intp)
    labels = files.task.label_truth(files.task.encode(cohort))[rows]
    labels[rows < 0] = np.nan
    return {name: labels[:, column] for column, name in enumerate(files.task.label_names)}


def _of_target(
    files: RunFiles, table: pd.DataFrame, target: Target, truth: Mapping[str, np.ndarray], words: Words
) -> pd.DataFrame:
    names = list(target.label_names)
    probabilities = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    points = np.zeros(len(table))
    if target.kind == "binary":
        points = thresholds_of(files, target.name, list(table["image_id"]))
        called = probabilities >= points[:, None]
    else:
        called = probabilities.argmax(axis=1)[:, None] == np.arange(len(names))
    ids = table[[name for name in ("image_id", "path", "patient_id") if name in table]]
    parts = []
    for column, label in enumerate(names):
        known, said = truth[label], called[:, column]
        part = ids.assign(target=target.name, label=label, truth=known, probability=probabilities[:, column])
        part = part.assign(known=_truth_words(target, truth, words), operating_point=points)
        parts.append(part.assign(called=said, outcome=_outcomes(known, said)))
    return pd.concat(parts, ignore_index=True)


def _truth_words(target: Target, truth: Mapping[str, np.ndarray], words: Words) -> np.ndarray:
    labels = np.stack([truth[label] for label in target.label_names], axis=1)
    if target.kind == "binary":
        known = np.where(labels[:, 0] >= 0.5, words("truth.present"), words("truth.absent"))
    else:
        known = np.array(target.classes)[np.nan_to_num(labels).argmax(axis=1)]
    return np.where(np.isnan(labels).any(axis=1), words("truth.unknown"), known)


def answers(judged: pd.DataFrame) -> pd.DataFrame:
    """Return one row an image and target: every binary label, and of several classes the one that was predicted."""
    return judged[(judged["label"] == judged["target"]) | judged["called"].astype(bool)]


def _outcomes(truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    positive = truth >= 0.5
    conditions = [np.isnan(truth), positive & called, ~positive & called, positive & ~called]
    return np.select(conditions, ["", "TP", "FP", "FN"], default="TN")
