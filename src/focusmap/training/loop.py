"""The training loop: a generator that yields one record per epoch; stopping, logging and drawing consume it.

How long a training would take is measured: steps of it are taken here and now, and multiplied.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.distributed import destroy_process_group
from torch.multiprocessing.spawn import ProcessExitedException

from focusmap.basics import FocusmapError, InputError
from focusmap.nets import FocusNet, LossOptions, task_loss
from focusmap.study import Recipe, check_learnable
from focusmap.training import batches, checkpoint, epoch, history
from focusmap.training.devices import choose_devices, open_fabric

if TYPE_CHECKING:
    from lightning_fabric import Fabric


# Batches of an epoch may be half as large as asked for, and batch norm needs two images.
SMALLEST_SHARE = 4


@dataclass(frozen=True)
class FitOptions:
    """Where a training keeps its state and computes.

    Parameters
    ----------
    checkpoint
        File that holds the state after each finished epoch, or None for none.
    resume
        Go on from `checkpoint`; the records of its epochs are yielded again first.
    devices
        ``auto``, ``cpu``, ``cuda`` or ``mps``, with ``:2`` two of them, or only how many.
    n_nodes
        Machines that train together. The same training runs on each, and they share the checkpoint's disk.
    """

    checkpoint: Path | None = None
    resume: bool = False
    devices: str = "auto"
    n_nodes: int = 1


def fit(
    net: FocusNet, data: batches.TrainingData, recipe: Recipe, options: FitOptions = FitOptions()
) -> Iterator[history.EpochRecord]:
    """Train `net` and yield a record after each epoch, its state saved by then.

    When the generator ends, `net` holds the averaged weights: of the best epoch on tune where the recipe has
    patience, otherwise of the last epoch, which no tune image has chosen. A training that was stopped and
    resumed ends with the same weights bit for bit on the same machine and number of threads.

    Several devices train in a process each, and records come when all epochs are done. Each takes its share of every
    batch; steps are those of one process, but for rounding, dropout, and batch norm, which sees its own share only.

    Parameters
    ----------
    net
        Trained in place.
    data
        Images and truths of train and tune; tune may be empty.
    recipe
        A resolved recipe.
    options
        Checkpoint and devices.

    Raises
    ------
    InputError
        If no target has two different values on train, the loss is no longer finite, the checkpoint is damaged
        or belongs to another training, the device is not there, or batches are too small for so many.
    """
    check_learnable(data.task, data.train.truth)
    devices = choose_devices(options.devices, options.n_nodes)
    if devices.n_processes > 1:
        _fit_in_processes(net, data, recipe, options)
        options = replace(options, resume=True, devices=devices.accelerator, n_nodes=1)
    session = open_session(net, data, recipe, options)
    yield from _epochs(session, options)
    net.load_state_dict(session.state.best or session.state.average.net.state_dict())
    net.requires_grad_(True).eval()


def _epochs(session: epoch.Session, options: FitOptions) -> Iterator[history.EpochRecord]:
    """Yield the records of the epochs that a checkpoint holds, then of those that are trained now."""
    state, recipe = session.state, session.recipe
    identity = checkpoint.identity_of(state.net, session.data, recipe)
    if options.resume:
        yield from state.records
    while not _ended(state.records, recipe):
        record = epoch.run_epoch(session)
        improved = history.is_improved(record, state.records, recipe.monitor)
        state.records.append(replace(record, improved=improved, note=history.note_on(record, recipe.monitor)))
        if improved and recipe.patience:
            checkpoint.keep_best(state)
        if options.checkpoint is not None and session.fabric.is_global_zero:
            checkpoint.write_checkpoint(checkpoint.to_checkpoint(state, identity), options.checkpoint)
        # Nobody reads the checkpoint before it is written.
        session.fabric.barrier()
        yield state.records[-1]


def _fit_in_processes(net: FocusNet, data: batches.TrainingData, recipe: Recipe, options: FitOptions) -> None:
    """Train in a process a device until the checkpoint holds the finished training."""
    devices = choose_devices(options.devices, options.n_nodes)
    if options.checkpoint is None:
        raise InputError("several processes meet at a checkpoint; name one.")
    share = min(recipe.batch_size, len(data.train)) // devices.n_processes
    if share < SMALLEST_SHARE:
        raise InputError(
            f"batch_size {recipe.batch_size} gives each of {devices.n_processes} processes {share} images or less; "
            f"{SMALLEST_SHARE} are needed. Take a larger batch_size, or fewer devices."
        )
    fabric = open_fabric(devices, recipe.precision)
    # As one value: Fabric looks into arguments, and into frozen ones it may not.
    try:
        refused = fabric.launch(partial(_work, net=net, data=data, recipe=recipe, options=options))
    except ProcessExitedException:
        raise InputError(
            "one of the processes that train together was ended from outside, most often for want of memory. What was "
            "trained before its epoch is kept: go on with --resume."
        ) from None
    if refused:
        raise InputError(refused)


def _work(fabric: "Fabric", net: FocusNet, data: batches.TrainingData, recipe: Recipe, options: FitOptions) -> str:
    """Train as one of several processes; return what the input is refused for, or an empty string."""
    # The weights came in memory that all processes share; each moves its own.
    net = copy.deepcopy(net)
    refused = ""
    try:
        for _ in _epochs(open_session(net, data, recipe, options, fabric), options):
            pass
    except FocusmapError as error:
        refused = str(error)
    # Left open, Gloo's threads may outlive the interpreter and abort the process.
    destroy_process_group()
    return refused


def open_session(
    net: FocusNet, data: batches.TrainingData, recipe: Recipe, options: FitOptions, fabric: "Fabric | None" = None
) -> epoch.Session:
    """Return a training ready for its next epoch: the first, or the one after the checkpoint's.

    Without a launched `fabric` it opens one on the options' one device.

    Raises
    ------
    MissingFileError, InputError
        As `fit`.
    """
    fabric = fabric or open_fabric(choose_devices(options.devices), recipe.precision)
    state = checkpoint.start_state(net, recipe, fabric.device)
    if options.resume and options.checkpoint is not None:
        saved = checkpoint.read_checkpoint(options.checkpoint)
        checkpoint.check_same(options.checkpoint, saved, checkpoint.identity_of(net, data, recipe))
        checkpoint.from_checkpoint(state, saved)
    weighted = recipe.class_weights and recipe.sampling == "all"
    options_of_loss = LossOptions(weighted, recipe.label_smoothing, recipe.loss, recipe.target_weights)
    loss = task_loss(data.task, data.train.truth, options_of_loss)
    forward, optimizer = fabric.setup(state.net, state.optimizer)
    forward.mark_forward_method("forward_with_focus")
    return epoch.Session(state, data, recipe, loss.to(fabric.device), fabric, forward, optimizer)


def _ended(records: list[history.EpochRecord], recipe: Recipe) -> bool:
    waited = bool(recipe.patience) and history.epochs_since_best(records) >= recipe.patience
    return len(records) >= recipe.epochs or (waited and bool(records))


SMALLEST = 2
# At the full batch size.
N_STEPS = 4
ENOUGH_SECONDS = 3.0
# Of a step: back and forth through a net is three times the work of forth.
FORWARD_SHARE = 1 / 3


def training_seconds(net: FocusNet, data: batches.TrainingData, recipe: Recipe, devices: str = "cpu") -> float | None:
    """Return about how long all epochs would take on one device, or None if a batch does not fit into its memory.

    Steps of growing size, at last of whole batches, are taken for some seconds, so that a net for which one batch takes
    minutes is timed by a few images. The fastest counts, an image: others waited for other programs.

    Parameters
    ----------
    net
        Trained a little; of no use afterwards.
    data, recipe
        As for `focusmap.training.loop.fit`; what the images show is of no account.
    devices
        As `choose_devices` takes them; of several one is timed.
    """
    session = open_session(net, data, recipe, FitOptions(devices=choose_devices(devices).accelerator))
    net.train()
    try:
        seconds_per_row = _seconds_per_row(session)
    except torch.OutOfMemoryError:
        return None
    n_drawn = batches.expected_draws(batches.rarity_of(data.task, data.train.truth), recipe.sampling).sum()
    return float(recipe.epochs * seconds_per_row * (n_drawn + FORWARD_SHARE * len(data.tune)))


def _seconds_per_row(session: epoch.Session) -> float:
    """Return what one image, row or case costs within a step."""
    most = min(session.recipe.batch_size, len(session.data.train))
    growing = [SMALLEST << k for k in range(most.bit_length()) if SMALLEST << k < most]
    # The first step makes ready what later ones find.
    _time_step(session, SMALLEST)
    started, seconds = time.perf_counter(), []
    for n in (*growing, *[most] * N_STEPS):
        seconds.append(_time_step(session, n) / n)
        if time.perf_counter() - started > ENOUGH_SECONDS:
            break
    return min(seconds)


def _time_step(session: epoch.Session, n: int) -> float:
    started = time.perf_counter()
    epoch.take_step(session, [batches.SampledImages(np.arange(n), np.zeros(n, dtype=np.int64))], epoch=0)
    if session.fabric.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started
