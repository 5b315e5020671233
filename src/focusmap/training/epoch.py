"""One epoch: a pass over train that moves the weights, and a pass over tune that judges their average."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.errors import InputError
from focusmap.nets.heads import LossParts, TaskLoss
from focusmap.training.augmentation import augment
from focusmap.training.batches import TrainingData, epoch_order, read_batch, split_evenly
from focusmap.training.map_losses import draw_shift, equivariance, shifted, sparsity
from focusmap.training.optimisation import learning_rate, set_learning_rate
from focusmap.training.records import EpochRecord, tune_auroc
from focusmap.training.state import TrainingState
from focusmap.values.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer

    from focusmap.imaging.store import Store

LARGEST_GRADIENT = 1.0
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Session:
    """What one epoch works with; only `state` changes.

    `forward` and `optimizer` are Fabric's wrappers around those of `state`.
    """

    state: TrainingState
    data: TrainingData
    recipe: Recipe
    loss: TaskLoss
    fabric: "Fabric"
    forward: "_FabricModule"
    optimizer: "_FabricOptimizer"


def run_epoch(session: Session) -> EpochRecord:
    """Train for the next epoch and return its record, not yet compared with the earlier ones.

    Raises
    ------
    InputError
        If the loss is no longer finite.
    """
    started = time.perf_counter()
    epoch = len(session.state.records)
    total, positive, negative = train_epoch(session, epoch)
    if not np.isfinite(total):
        rate = session.recipe.learning_rate
        raise InputError(f"epoch {epoch + 1}: the training loss is {total}. Try a learning_rate below {rate:g}.")
    tune_loss, area = judge(session)
    return EpochRecord(
        epoch=epoch + 1,
        train_loss=total,
        tune_loss=tune_loss,
        tune_auroc=area,
        learning_rate=session.state.optimizer.param_groups[0]["lr"],
        positive_loss=positive,
        negative_loss=negative,
        seconds=time.perf_counter() - started,
    )


def train_epoch(session: Session, epoch: int) -> tuple[float, float, float]:
    """Take one step a batch; return the mean loss and what positives and negatives contribute to it."""
    seed, train = session.recipe.seed, session.data.train
    rows = session.data.store.rows(train.image_ids)
    batches = list(split_evenly(epoch_order(len(train), seed, epoch), session.recipe.batch_size))
    _set_mode(session.state.net, frozen=epoch < session.recipe.freeze_epochs)
    sums = torch.zeros(3, device=session.fabric.device)
    with _seeded(seed, epoch):
        for position, chosen in enumerate(batches):
            pictures = read_batch(session.data.store, rows[chosen])
            pictures = augment(pictures, session.recipe.augmentation, seed, epoch, rows[chosen])
            rate = learning_rate(session.recipe, epoch + (position + 0.5) / len(batches))
            set_learning_rate(session.state.optimizer, rate)
            parts = _step(session, pictures, torch.from_numpy(train.truth[chosen]).float())
            sums += len(chosen) * torch.stack([parts.total.detach(), parts.positive, parts.negative])
    total, positive, negative = (sums / len(train)).tolist()
    return total, positive, negative


def judge(session: Session) -> tuple[float | None, float | None]:
    """Return loss and mean AUROC of the averaged weights on tune; None where undefined."""
    tune = session.data.tune
    if not np.isfinite(tune.truth).any():
        return None, None
    with session.fabric.autocast():
        logits = forward_store(session.state.average.net, session.data.store, tune.image_ids)
    parts = session.loss(logits, torch.from_numpy(tune.truth).float().to(logits.device))
    return float(parts.total), tune_auroc(session.data.task, logits.double().cpu().numpy(), tune.truth)


def forward_store(
    net: nn.Module, store: "Store", image_ids: tuple[str, ...] | list[str], batch_size: int = EVALUATION_BATCH
) -> Tensor:
    """Return the float32 logits ``(N, L)`` of images of a store, without dropout and without gradients."""
    rows = store.rows(image_ids)
    device = next(net.parameters()).device
    net.eval()
    with torch.inference_mode():
        parts = [net(read_batch(store, chosen).to(device)).float() for chosen in split_evenly(rows, batch_size)]
    return torch.cat(parts)


def _step(session: Session, pictures: Tensor, truth: Tensor) -> LossParts:
    fabric, state = session.fabric, session.state
    logits, penalty = _forward(session, pictures.to(fabric.device))
    parts = session.loss(logits, truth.to(fabric.device))
    session.optimizer.zero_grad()
    fabric.backward(parts.total + penalty)
    nn.utils.clip_grad_norm_(state.net.parameters(), LARGEST_GRADIENT)
    session.optimizer.step()
    state.n_steps += 1
    state.average.update(state.n_steps)
    return parts


def _forward(session: Session, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and what the recipe adds to the loss for maps that are large or do not move along."""
    recipe = session.recipe
    if not recipe.sparsity and not recipe.equivariance:
        logits: Tensor = session.forward(pictures)
        return logits, logits.new_zeros(())
    logits, maps = session.forward.forward_with_focus(pictures)
    penalty = recipe.sparsity * sparsity(maps)
    if recipe.equivariance:
        grid = maps.shape[2:]
        cells = draw_shift(grid, recipe.seed, session.state.n_steps)
        pixels = [step * round(side / n) for step, side, n in zip(cells, pictures.shape[2:], grid, strict=True)]
        _, moved = session.forward.forward_with_focus(shifted(pictures, pixels))
        penalty = penalty + recipe.equivariance * equivariance(maps, moved, cells)
    return logits, penalty


def _set_mode(net: nn.Module, *, frozen: bool) -> None:
    """Put the net in training mode; a frozen backbone keeps its weights and its running statistics."""
    net.train()
    backbone = net.get_submodule("backbone")
    backbone.train(not frozen)
    backbone.requires_grad_(not frozen)


@contextmanager
def _seeded(seed: int, epoch: int) -> Iterator[None]:
    """Make dropout a function of (seed, epoch), and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed((seed << 20) + epoch)
        yield
