"""The training loop: a generator that yields one record an epoch; stopping, logging and drawing consume it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from focusmap.errors import InputError
from focusmap.nets.build import FocusNet
from focusmap.nets.heads import LossOptions, task_loss
from focusmap.training.batches import TrainingData
from focusmap.training.checkpoint import check_same, read_checkpoint, write_checkpoint
from focusmap.training.devices import open_fabric
from focusmap.training.epoch import Session, run_epoch
from focusmap.training.records import EpochRecord, epochs_since_best, is_improved, note_on
from focusmap.training.state import from_checkpoint, identity_of, keep_best, start_state, to_checkpoint
from focusmap.values.recipe import Recipe

__all__ = ["EpochRecord", "FitOptions", "TrainingData", "fit"]


@dataclass(frozen=True)
class FitOptions:
    """Where a training keeps its state and computes.

    Parameters
    ----------
    checkpoint
        File that holds the state after each finished epoch, or None for none.
    resume
        Go on from `checkpoint`; the records of its epochs are yielded again first.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    checkpoint: Path | None = None
    resume: bool = False
    device: str = "auto"


def fit(net: FocusNet, data: TrainingData, recipe: Recipe, options: FitOptions = FitOptions()) -> Iterator[EpochRecord]:
    """Train `net` and yield a record after each epoch, its state saved by then.

    When the generator ends, `net` holds the averaged weights: of the best epoch on tune where the recipe has
    patience, otherwise of the last epoch, which no tune image has chosen. A training that was stopped and
    resumed ends with the same weights bit for bit on the same machine and number of threads.

    Parameters
    ----------
    net
        Trained in place.
    data
        Pictures and truths of train and tune; tune may be empty.
    recipe
        A resolved recipe.
    options
        Checkpoint and device.

    Raises
    ------
    InputError
        If no target has two different values on train, the loss is no longer finite, the checkpoint is damaged
        or belongs to another training, or the device is not there.
    """
    check_learnable(data)
    identity = identity_of(net, data, recipe)
    session = open_session(net, data, recipe, options)
    state = session.state
    if options.resume:
        yield from state.records
    while not _ended(state.records, recipe):
        record = run_epoch(session)
        improved = is_improved(record, state.records, recipe.monitor)
        state.records.append(replace(record, improved=improved, note=note_on(record, recipe.monitor)))
        if improved and recipe.patience:
            keep_best(state)
        if options.checkpoint is not None:
            write_checkpoint(to_checkpoint(state, identity), options.checkpoint)
        yield state.records[-1]
    net.load_state_dict(state.best or state.average.net.state_dict())
    net.requires_grad_(True).eval()


def open_session(net: FocusNet, data: TrainingData, recipe: Recipe, options: FitOptions) -> Session:
    """Return a training ready for its next epoch: the first, or the one after the checkpoint's.

    Raises
    ------
    MissingFileError, InputError
        As `fit`.
    """
    fabric = open_fabric(options.device, recipe.precision)
    state = start_state(net, recipe, fabric.device)
    if options.resume and options.checkpoint is not None:
        saved = read_checkpoint(options.checkpoint)
        check_same(options.checkpoint, saved, identity_of(net, data, recipe))
        from_checkpoint(state, saved)
    weighted = recipe.class_weights and recipe.sampling == "all"
    loss = task_loss(data.task, data.train.truth, LossOptions(weighted, recipe.label_smoothing, recipe.loss))
    forward, optimizer = fabric.setup(state.net, state.optimizer)
    forward.mark_forward_method("forward_with_focus")
    return Session(state, data, recipe, loss.to(fabric.device), fabric, forward, optimizer)


def check_learnable(data: TrainingData) -> None:
    """Raise `InputError` unless at least one target has two different known values on train."""
    columns = [column[~np.isnan(column)] for column in data.train.truth.T]
    if all(len(np.unique(column)) < 2 for column in columns):
        names = ", ".join(data.task.names)
        raise InputError(f"train: {names} has one known value only; at least two are needed to learn from.")


def _ended(records: list[EpochRecord], recipe: Recipe) -> bool:
    waited = bool(recipe.patience) and epochs_since_best(records) >= recipe.patience
    return len(records) >= recipe.epochs or (waited and bool(records))
