"""How long a training would take: steps of it are taken here and now, and multiplied."""

import time

import numpy as np
import torch

from focusmap.nets.focus_net import FocusNet
from focusmap.study.recipe import Recipe
from focusmap.training.batches import TrainingData
from focusmap.training.epoch import Session, take_step
from focusmap.training.loop import FitOptions, open_session
from focusmap.training.sampling import Drawn, expected_draws, rarity_of

SMALLEST = 2
# At the full batch size.
N_STEPS = 4
ENOUGH_SECONDS = 3.0
# Of a step: back and forth through a net is three times the work of forth.
FORWARD_SHARE = 1 / 3


def training_seconds(net: FocusNet, data: TrainingData, recipe: Recipe, device: str = "cpu") -> float | None:
    """Return about how long all epochs would take on one device, or None if a batch does not fit into its memory.

    Steps of growing size, at last of whole batches, are taken for some seconds, so that a net for which one batch takes
    minutes is timed by a few images. The fastest counts, an image: others waited for other programs.

    Parameters
    ----------
    net
        Trained a little; of no use afterwards.
    data, recipe
        As for `focusmap.training.loop.fit`; what the images show is of no account.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """
    session = open_session(net, data, recipe, FitOptions(devices=device))
    net.train()
    try:
        a_row = _seconds_a_row(session)
    except torch.OutOfMemoryError:
        return None
    n_drawn = expected_draws(rarity_of(data.task, data.train.truth), recipe.sampling).sum()
    return float(recipe.epochs * a_row * (n_drawn + FORWARD_SHARE * len(data.tune)))


def _seconds_a_row(session: Session) -> float:
    """Return what one image, row or case costs within a step."""
    most = min(session.recipe.batch_size, len(session.data.train))
    growing = [SMALLEST << k for k in range(most.bit_length()) if SMALLEST << k < most]
    # The first step makes ready what later ones find.
    _time_step(session, SMALLEST)
    started, found = time.perf_counter(), []
    for n in (*growing, *[most] * N_STEPS):
        found.append(_time_step(session, n) / n)
        if time.perf_counter() - started > ENOUGH_SECONDS:
            break
    return min(found)


def _time_step(session: Session, n: int) -> float:
    started = time.perf_counter()
    take_step(session, [Drawn(np.arange(n), np.zeros(n, dtype=np.int64))], epoch=0)
    if session.fabric.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started
