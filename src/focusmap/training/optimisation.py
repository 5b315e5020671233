"""Optimisers and their state, the learning rate of each step, and the moving average of the weights."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from focusmap.nets import stages_of
from focusmap.study import Recipe, Schedule
from focusmap.training.history import EpochRecord

Groups = list[dict[str, object]]


def _adamw(groups: Groups, recipe: Recipe) -> Optimizer:
    return AdamW(groups, lr=recipe.learning_rate, fused=True)


def _adam(groups: Groups, recipe: Recipe) -> Optimizer:
    return Adam(groups, lr=recipe.learning_rate, fused=True)


def _sgd(groups: Groups, recipe: Recipe) -> Optimizer:
    return SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


OPTIMIZERS: dict[str, Callable[[Groups, Recipe], Optimizer]] = {"adamw": _adamw, "adam": _adam, "sgd": _sgd}


# He et al. 2016, Deep residual learning, section 4.2: a tenth after half of the steps, again after three quarters.
STEPS, STEP_FACTOR = (0.5, 0.75), 0.1
PLATEAU_EPOCHS, PLATEAU_FACTOR = 5, 0.3
# Smith and Topin 2018, Super-convergence, with the shape and the shares that torch's OneCycleLR has by default.
RISING, START_SHARE, END_SHARE = 0.3, 1 / 25, 1 / 25e4


def make_optimizer(net: torch.nn.Module, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimiser; biases and normalisation weights are not decayed (He et al. 2019, section 3.1).

    Each group knows its `rate_share` of the learning rate: `head_rate` behind the backbone, and `layer_decay` times
    less than 1 for each stage of the backbone that lies further from its end. Frozen stages take no steps.
    """
    shares = rate_shares(net, recipe)
    groups: Groups = []
    for share in sorted(set(shares.values()), reverse=True):
        members = [p for name, p in net.named_parameters() if shares.get(name) == share]
        matrices, vectors = [p for p in members if p.ndim > 1], [p for p in members if p.ndim <= 1]
        groups.append({"params": matrices, "weight_decay": recipe.weight_decay, "rate_share": share})
        groups.append({"params": vectors, "weight_decay": 0.0, "rate_share": share})
    return OPTIMIZERS[recipe.optimizer](groups, recipe)


def rate_shares(net: torch.nn.Module, recipe: Recipe) -> dict[str, float]:
    """Return the share of the learning rate of each parameter that is trained; frozen ones are left out.

    In the backbone it is decay^distance (Howard and Ruder 2018, section 3.2), where the distance is the number of
    stages between a stage and the head: 1 for the last stage.
    """
    names = [name for name, _ in net.named_parameters()]
    if recipe.layer_decay == 1 and not recipe.frozen_stages:
        return {name: 1.0 if name.startswith("backbone.") else recipe.head_rate for name in names}
    stages = {f"backbone.{name}": stage for name, stage in stages_of(net.get_submodule("backbone")).items()}
    n_stages = 1 + max(stages.values(), default=-1)
    shares = {name: recipe.layer_decay ** (n_stages - stage) for name, stage in stages.items()}
    return {
        name: shares.get(name, recipe.head_rate) for name in names if stages.get(name, n_stages) >= recipe.frozen_stages
    }


def learning_rate(recipe: Recipe, progress: float, records: Sequence[EpochRecord] = ()) -> float:
    """Return the learning rate at `progress` epochs since the start, a closed form without state.

    While the backbone is frozen the rate is constant. From then on it rises linearly over the warm-up, and the
    schedule says by how much it falls afterwards; ``one-cycle`` rises and falls on its own.

    >>> recipe = Recipe(epochs=12, warmup_epochs=2, learning_rate=1.0)
    >>> [round(learning_rate(recipe, epoch), 3) for epoch in (0, 1, 2, 7, 12)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    since = progress - recipe.freeze_epochs
    if since < 0:
        return recipe.learning_rate
    n_epochs = recipe.epochs - recipe.freeze_epochs
    if recipe.schedule == "one-cycle":
        return recipe.learning_rate * _one_cycle(min(since / n_epochs, 1.0))
    if since < recipe.warmup_epochs:
        return recipe.learning_rate * since / recipe.warmup_epochs
    falling = max(n_epochs - recipe.warmup_epochs, 1)
    share = min((since - recipe.warmup_epochs) / falling, 1.0)
    records_since = records[recipe.freeze_epochs + recipe.warmup_epochs :]
    return recipe.learning_rate * SCHEDULES[recipe.schedule](share, records_since)


def _cosine(share: float, records: Sequence[EpochRecord]) -> float:
    """Return half a cosine from 1 to 0 (Loshchilov and Hutter 2017, eq. 5)."""
    del records
    return 0.5 * (1 + math.cos(math.pi * share))


def _constant(share: float, records: Sequence[EpochRecord]) -> float:
    del share, records
    return 1.0


def _step(share: float, records: Sequence[EpochRecord]) -> float:
    del records
    return float(STEP_FACTOR ** sum(share >= step for step in STEPS))


def _plateau(share: float, records: Sequence[EpochRecord]) -> float:
    """Return the factor after the epochs so far: what they noted is all the state there is."""
    del share
    factor, waited = 1.0, 0
    for record in records:
        waited = 0 if record.improved else waited + 1
        if waited == PLATEAU_EPOCHS:
            factor, waited = factor * PLATEAU_FACTOR, 0
    return factor


def _one_cycle(share: float) -> float:
    if share < RISING:
        low, high, part = START_SHARE, 1.0, share / RISING
    else:
        low, high, part = 1.0, END_SHARE, (share - RISING) / (1 - RISING)
    return high + (low - high) * 0.5 * (1 + math.cos(math.pi * part))


SCHEDULES: dict[Schedule, Callable[[float, Sequence[EpochRecord]], float]] = {
    "cosine": _cosine, "constant": _constant, "step": _step, "plateau": _plateau,
}  # fmt: skip


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Make `rate` the learning rate, of each group its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_share"]


class WeightAverage:
    """The exponential moving average of a net's weights and running statistics; holds weights, so it has state.

    The decay rises to its value over the first steps, (1 + n) / (10 + n), so that the random start is forgotten.
    """

    def __init__(self, net: torch.nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._decay = decay
        pairs = list(zip(self.net.state_dict().values(), net.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, n_steps: int) -> None:
        """Move the average towards the net's weights after its step number `n_steps`, counted from 1."""
        decay = min(self._decay, (1 + n_steps) / (10 + n_steps))
        averages, weights = ([pair[i] for pair in self._floats] for i in range(2))
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, count in self._counts:
            average.copy_(count)


def state_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimiser's state, named ``position.name``."""
    tensors: dict[str, torch.Tensor] = {}
    for position, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{position}.{name}": value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return tensors


def restore_state(optimizer: Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give the optimiser the state that `state_tensors` returned.

    Each tensor takes its parameter's memory layout: the fused kernels walk both with one pointer.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        position, name = key.split(".", 1)
        parameter = parameters[int(position)]
        same_shape = value.shape == parameter.shape and value.ndim > 0
        restored = torch.empty_like(parameter).copy_(value) if same_shape else value
        state.setdefault(int(position), {})[name] = restored.detach()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
