"""The history of a training: the record of each epoch, and which of them is the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.statistics import auroc
from focusmap.study import Monitor, Task


@dataclass(frozen=True)
class EpochRecord:
    """One row of ``history.csv``.

    Parameters
    ----------
    epoch
        Counted from 1.
    train_loss, tune_loss
        Mean over the images; tune with the averaged weights. None without tune images.
    tune_auroc
        Mean over the labels that have both classes on tune; None if there are none. Higher is better.
    learning_rate
        At the epoch's last step.
    positive_loss, negative_loss
        What positives and negatives of binary labels contribute to the training loss.
    seconds
        Wall-clock.
    improved
        Whether this is the best epoch so far.
    note
        What the reader should know, such as that AUROC is undefined and the loss is monitored instead.
    """

    epoch: int
    train_loss: float
    tune_loss: float | None
    tune_auroc: float | None
    learning_rate: float
    positive_loss: float
    negative_loss: float
    seconds: float
    improved: bool = False
    note: str = ""


def tune_auroc(task: Task, logits: np.ndarray, truth: np.ndarray) -> float | None:
    """Return the mean AUROC over labels from logits ``(N, L)`` and truth ``(N, T)``; None if undefined for all.

    A multiclass target counts with each class against the rest; a label with one class only is left out.

    >>> from focusmap.study import Target
    >>> tune_auroc(Task((Target("a"),)), np.array([[0.2], [0.7]]), np.array([[0.0], [1.0]]))
    1.0
    """
    labels, scores = task.label_truth(truth), task.probabilities(logits)
    areas = []
    for target in task.targets:
        part = task.slice_of(target.name)
        if not target.is_number:
            areas += [auroc(*pair) for pair in zip(labels[:, part].T, scores[:, part].T, strict=True)]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else None


def monitored(record: EpochRecord, monitor: Monitor) -> tuple[float, float]:
    """Return what is compared between epochs, higher is better: AUROC with ties broken by the loss, or the loss."""
    loss = record.train_loss if record.tune_loss is None else record.tune_loss
    if monitor == "auroc" and record.tune_auroc is not None:
        return record.tune_auroc, -loss
    return -loss, 0.0


def is_improved(record: EpochRecord, earlier: Sequence[EpochRecord], monitor: Monitor) -> bool:
    """Return whether `record` is better than every earlier one."""
    return all(monitored(record, monitor) > monitored(other, monitor) for other in earlier if other.improved)


def note_on(record: EpochRecord, monitor: Monitor) -> str:
    """Return a sentence if the monitor is not what the recipe asked for, else an empty string."""
    if record.tune_loss is None:
        return "no tune image has a known truth: the training loss is monitored"
    if monitor == "auroc" and record.tune_auroc is None:
        return "AUROC is undefined on tune (no label has both classes there): the loss is monitored"
    return ""


def epochs_since_best(records: Sequence[EpochRecord]) -> int:
    """Return the number of epochs after the last one that improved."""
    return next((i for i, record in enumerate(reversed(records)) if record.improved), len(records))
