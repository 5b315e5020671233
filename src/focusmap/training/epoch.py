"""One epoch: a pass over train that moves the weights, and a pass over tune that judges their average."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.nets import CaseBatch, LossParts, TaskLoss, stages_of
from focusmap.study import EncodedTable, Recipe, at_once, split_evenly
from focusmap.training import checkpoint, devices, history, map_losses, optimisation
from focusmap.training.augmentation import augment, draw_partners
from focusmap.training.batches import (
    CaseInputs,
    Inputs,
    SampledImages,
    Shown,
    TrainingData,
    draw_epoch,
    rarity_of,
    read_batch,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer


EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Session:
    """What one epoch works with; only `state` changes.

    `forward` and `optimizer` are Fabric's wrappers around those of `state`.
    """

    state: checkpoint.TrainingState
    data: TrainingData
    recipe: Recipe
    loss: TaskLoss
    fabric: "Fabric"
    forward: "_FabricModule"
    optimizer: "_FabricOptimizer"


@dataclass(frozen=True)
class Batch:
    """Images, and what is true of them.

    Parameters
    ----------
    images
        ``(N, C, *spatial)``, or N cases.
    truths
        ``(N, T)``, NaN unknown, each with the shares ``(N,)`` of the images that it holds for: one, or two of
        images that are blends. A loss that is linear in the label is so that of the blended label (Zhang et al.
        2018), for whatever kind of target.
    """

    images: Shown
    truths: tuple[tuple[Tensor, Tensor | None], ...]


def run_epoch(session: Session) -> history.EpochRecord:
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
    # One process's word holds for all: they stop together.
    tune_loss, area = session.fabric.broadcast(judge(session))
    return history.EpochRecord(
        epoch=epoch + 1,
        train_loss=total,
        tune_loss=tune_loss,
        tune_auroc=area,
        learning_rate=max(group["lr"] for group in session.state.optimizer.param_groups),
        positive_loss=positive,
        negative_loss=negative,
        seconds=time.perf_counter() - started,
    )


def train_epoch(session: Session, epoch: int) -> tuple[float, float, float]:
    """Take one step a batch, or a few batches; return the mean loss and what positives and negatives add to it."""
    recipe, data = session.recipe, session.data
    drawn = draw_epoch(rarity_of(data.task, data.train.truth), recipe.sampling, recipe.seed, epoch)
    batches = list(split_evenly(np.arange(len(drawn.positions)), recipe.batch_size))
    n_steps = -(-len(batches) // recipe.accumulate)
    _set_mode(session.state.net, recipe, frozen=epoch < recipe.freeze_epochs)
    sums = torch.zeros(3, device=session.fabric.device)
    with _seeded(recipe.seed, epoch + (session.fabric.global_rank << 40)):
        for step in range(n_steps):
            rate = optimisation.learning_rate(recipe, epoch + (step + 0.5) / n_steps, session.state.records)
            optimisation.set_learning_rate(session.state.optimizer, rate)
            together = batches[step * recipe.accumulate : (step + 1) * recipe.accumulate]
            sums += take_step(session, [drawn.take(chosen) for chosen in together], epoch)
    total, positive, negative = (session.fabric.all_reduce(sums, reduce_op="sum") / len(drawn.positions)).tolist()
    return total, positive, negative


def training_batch(session: Session, drawn: SampledImages, epoch: int) -> Batch:
    """Return augmented images with their truth, blended with others where the recipe says so."""
    recipe, n_images = session.recipe, len(session.data.train)
    images, truth, indices = _augmented(session, drawn, epoch)
    if not recipe.augmentation.mixup:
        return Batch(images, ((truth, None),))
    partners, own_shares = draw_partners(recipe.augmentation.mixup, recipe.seed, epoch, indices, n_images)
    blended, other_truth, _ = _augmented(session, SampledImages(partners, np.zeros_like(partners)), epoch)
    assert isinstance(images, Tensor), "a recipe that blends cases is refused"
    assert isinstance(blended, Tensor)
    shares = torch.from_numpy(own_shares).float()
    mixed = torch.lerp(blended, images, shares.reshape(-1, *[1] * (images.ndim - 1)))
    return Batch(mixed, ((truth, shares), (other_truth, 1 - shares)))


def _augmented(session: Session, drawn: SampledImages, epoch: int) -> tuple[Shown, Tensor, np.ndarray]:
    """Return images, their truth, and the indices that their augmentation was drawn by."""
    data, recipe = session.data, session.recipe
    rows = data.store.rows([data.train.image_ids[position] for position in drawn.positions])
    truth = torch.from_numpy(data.train.truth[drawn.positions]).float()
    # Each copy of an image that comes more than once is an image of its own to the augmentation.
    indices = rows + drawn.copies * len(data.store.image_ids)
    shown = read_batch(data.store, rows)
    if isinstance(shown, CaseBatch):
        assert isinstance(data.store, CaseInputs)
        copies = np.repeat(drawn.copies, data.store.sizes(rows))
        own = data.store.images[data.store.members(rows)] + copies * len(data.store.store)
        shown = shown._replace(images=augment(shown.images, recipe.augmentation, recipe.seed, epoch, own))
    elif not isinstance(data.store, EncodedTable):
        shown = augment(shown, recipe.augmentation, recipe.seed, epoch, indices)
    return shown, truth, indices


def judge(session: Session) -> tuple[float | None, float | None]:
    """Return loss and mean AUROC of the averaged weights on tune; None where undefined."""
    tune = session.data.tune
    if not np.isfinite(tune.truth).any():
        return None, None
    with session.fabric.autocast():
        logits = forward_store(session.state.average.net, session.data.store, tune.image_ids)
    parts = session.loss(logits, torch.from_numpy(tune.truth).float().to(logits.device))
    return float(parts.total), history.tune_auroc(session.data.task, logits.cpu().double().numpy(), tune.truth)


def forward_store(net: nn.Module, store: Inputs, image_ids: Sequence[str]) -> Tensor:
    """Return the float32 logits ``(N, L)`` of images of a store, without dropout and without gradients."""
    device = next(net.parameters()).device
    net.eval()
    with torch.inference_mode():
        parts = [net(read_batch(store, rows).to(device)).float() for rows in _chunks(store, store.rows(image_ids))]
    return torch.cat(parts)


def _chunks(store: Inputs, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows of a store, as many together as go through a net at once."""
    if isinstance(store, EncodedTable):
        return split_evenly(rows, EVALUATION_BATCH)
    if isinstance(store, CaseInputs):
        return store.batches(rows, at_once(store.store.pixels.shape[2:], EVALUATION_BATCH))
    return split_evenly(rows, at_once(store.pixels.shape[2:], EVALUATION_BATCH))


def take_step(session: Session, together: Sequence[SampledImages], epoch: int) -> Tensor:
    """Take one step along the mean gradient of some batches; return the loss and its positives' and negatives' part.

    Returns
    -------
    Tensor
        ``(3,)``, summed over the images.
    """
    fabric, state, clip_norm = session.fabric, session.state, session.recipe.clip_norm
    sums = torch.zeros(3, device=fabric.device)
    session.optimizer.zero_grad()
    for drawn in together:
        of_process = np.array_split(np.arange(len(drawn.positions)), fabric.world_size)[fabric.global_rank]
        batch = training_batch(session, drawn.take(of_process), epoch)
        with devices.DepthwiseInFloat32():
            parts, penalty = _loss_of(session, batch)
        fabric.backward((parts.total + penalty) / len(together))
        share = len(drawn.positions) / fabric.world_size
        sums += share * torch.stack([parts.total.detach(), parts.positive, parts.negative])
    if clip_norm:
        nn.utils.clip_grad_norm_(state.net.parameters(), clip_norm)
    session.optimizer.step()
    state.n_steps += 1
    state.average.update(state.n_steps)
    return sums


def _loss_of(session: Session, batch: Batch) -> tuple[LossParts, Tensor]:
    """Return the loss of the labels, and beside it the penalty of `_forward`."""
    device = session.fabric.device
    logits, penalty = _forward(session, batch.images.to(device))
    losses = [
        session.loss(logits, truth.to(device), None if shares is None else shares.to(device)).times(
            _weight_of_share(session.fabric, truth.to(device))
        )
        for truth, shares in batch.truths
    ]
    return reduce(LossParts.plus, losses), penalty


def _forward(session: Session, images: Shown) -> tuple[Tensor, Tensor]:
    """Return the logits, and what the recipe adds to the loss for maps that are large or do not move along."""
    recipe = session.recipe
    if not recipe.sparsity and not recipe.equivariance:
        logits: Tensor = session.forward(images)
        return logits, logits.new_zeros(())
    assert isinstance(images, Tensor), "a recipe for focus maps of cases is refused"
    logits, maps = session.forward.forward_with_focus(images)
    penalty = recipe.sparsity * map_losses.sparsity(maps)
    if recipe.equivariance:
        grid = maps.shape[2:]
        cells = map_losses.draw_shift(grid, recipe.seed, session.state.n_steps)
        pixels = [step * round(side / n) for step, side, n in zip(cells, images.shape[2:], grid, strict=True)]
        _, moved = session.forward.forward_with_focus(map_losses.shifted(images, pixels))
        penalty = penalty + recipe.equivariance * map_losses.equivariance(maps, moved, cells)
    return logits, penalty


def _weight_of_share(fabric: "Fabric", truth: Tensor) -> Tensor | float:
    """Return what a process's mean loss over its known truths is worth, so that the mean over processes is the batch's.

    Steps follow the mean of the processes' gradients; a share with more known truths than others must count more.
    """
    if fabric.world_size == 1:
        return 1.0
    known = (~truth.isnan()).sum().float()
    everywhere: Tensor = fabric.all_reduce(known.clone(), reduce_op="sum")
    weight: Tensor = fabric.world_size * known / everywhere.clamp(min=1)
    return weight


def _set_mode(net: nn.Module, recipe: Recipe, *, frozen: bool) -> None:
    """Put the net in training mode; what is frozen of the backbone keeps its weights and its running statistics."""
    net.train()
    backbone = net.get_submodule("backbone")
    backbone.train(not frozen)
    backbone.requires_grad_(not frozen)
    if not recipe.frozen_stages:
        return
    stage_of = stages_of(backbone)
    for name, weights in backbone.named_parameters():
        if stage_of[name] < recipe.frozen_stages:
            weights.requires_grad_(False)
            backbone.get_submodule(name.rpartition(".")[0]).eval()


@contextmanager
def _seeded(seed: int, epoch: int) -> Iterator[None]:
    """Make dropout a function of (seed, epoch), and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed((seed << 20) + epoch)
        yield
