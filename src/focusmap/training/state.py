"""The parts of a training that change from step to step, and how they are kept and brought back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from focusmap.files import Json
from focusmap.nets.focus_net import FocusNet
from focusmap.nets.grids import CHANNELS_LAST
from focusmap.study.recipe import Recipe
from focusmap.training.batches import TrainingData
from focusmap.training.checkpoint import Checkpoint
from focusmap.training.optimisation import WeightAverage, make_optimizer, restore_state, state_tensors
from focusmap.training.records import EpochRecord


@dataclass
class TrainingState:
    """Net, averaged net, optimiser, the best weights so far (empty where none are kept), and the epochs done."""

    net: FocusNet
    average: WeightAverage
    optimizer: Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)
    n_steps: int = 0
    records: list[EpochRecord] = field(default_factory=list)


def start_state(net: FocusNet, recipe: Recipe, device: torch.device) -> TrainingState:
    """Return the state before the first epoch, the net on `device` with channels last in memory."""
    order = CHANNELS_LAST.get(max(weights.ndim for weights in net.parameters()), torch.preserve_format)
    net.to(device=device, memory_format=order)  # type: ignore[call-overload]
    return TrainingState(net, WeightAverage(net, recipe.ema_decay), make_optimizer(net, recipe))


def keep_best(state: TrainingState) -> None:
    """Keep a copy of the averaged weights as the best so far."""
    state.best = {name: value.clone() for name, value in state.average.net.state_dict().items()}


def to_checkpoint(state: TrainingState, identity: Mapping[str, Json]) -> Checkpoint:
    """Return what is written after an epoch."""
    tensors = {
        **_prefixed("net", state.net.state_dict()),
        **_prefixed("average", state.average.net.state_dict()),
        **_prefixed("best", state.best),
        **_prefixed("optimizer", state_tensors(state.optimizer)),
    }
    records = cast(Json, [asdict(record) for record in state.records])
    return Checkpoint({"identity": identity, "n_steps": state.n_steps, "records": records}, tensors)


def from_checkpoint(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Bring the state back to what the checkpoint holds; memory layouts stay."""
    state.net.load_state_dict(checkpoint.part("net"))
    state.average.net.load_state_dict(checkpoint.part("average"))
    state.best = checkpoint.part("best")
    restore_state(state.optimizer, checkpoint.part("optimizer"))
    state.n_steps = cast(int, checkpoint.facts["n_steps"])
    state.records = [EpochRecord(**row) for row in cast(list[dict[str, object]], checkpoint.facts["records"])]  # type: ignore[arg-type]


def identity_of(net: FocusNet, data: TrainingData, recipe: Recipe) -> dict[str, Json]:
    """Return what must be the same for a training to be continued: recipe, images, truths and shape of the net."""
    digest = sha256()
    for part in (data.train, data.tune):
        digest.update("\n".join(part.image_ids).encode())
        digest.update(part.truth.tobytes())
    settings = {name: value for name, value in asdict(recipe).items() if name != "segmentation"}
    return {
        # As JSON reads them back.
        **{name: list(value) if isinstance(value, tuple) else cast(Json, value) for name, value in settings.items()},
        "targets": data.task.to_dict(),
        "images": digest.hexdigest()[:16],
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def _prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in tensors.items()}
