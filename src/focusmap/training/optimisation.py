"""Optimisers, the learning rate of each step, and the moving average of the weights."""

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from focusmap.values.recipe import Recipe

Groups = list[dict[str, object]]


def _adamw(groups: Groups, recipe: Recipe) -> Optimizer:
    return AdamW(groups, lr=recipe.learning_rate, fused=True)


def _adam(groups: Groups, recipe: Recipe) -> Optimizer:
    return Adam(groups, lr=recipe.learning_rate, fused=True)


def _sgd(groups: Groups, recipe: Recipe) -> Optimizer:
    return SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


OPTIMIZERS: dict[str, Callable[[Groups, Recipe], Optimizer]] = {"adamw": _adamw, "adam": _adam, "sgd": _sgd}


def make_optimizer(net: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimiser; biases and normalisation weights are not decayed (He et al. 2019, section 3.1)."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    groups: Groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[recipe.optimizer](groups, recipe)


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Return the learning rate at `progress` epochs since the start, a closed form without state.

    While the backbone is frozen the rate is constant. From then on it rises linearly over the warm-up and falls
    along half a cosine to zero at the end (Loshchilov and Hutter 2017, eq. 5).

    >>> recipe = Recipe(epochs=12, warmup_epochs=2, learning_rate=1.0)
    >>> [round(learning_rate(recipe, epoch), 3) for epoch in (0, 1, 2, 7, 12)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    since = progress - recipe.freeze_epochs
    if since < 0:
        return recipe.learning_rate
    if since < recipe.warmup_epochs:
        return recipe.learning_rate * since / recipe.warmup_epochs
    if recipe.schedule == "constant":
        return recipe.learning_rate
    falling = max(recipe.epochs - recipe.freeze_epochs - recipe.warmup_epochs, 1)
    share = min((since - recipe.warmup_epochs) / falling, 1.0)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Make `rate` the learning rate of every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class WeightAverage:
    """The exponential moving average of a net's weights and running statistics; holds weights, so it has state.

    The decay rises to its value over the first steps, (1 + n) / (10 + n), so that the random start is forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
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


def state_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state, named ``position.name``."""
    found: dict[str, Tensor] = {}
    for position, state in optimizer.state_dict()["state"].items():
        found |= {f"{position}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    return found


def restore_state(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimiser the state that `state_tensors` returned.

    Each tensor takes its parameter's memory layout: the fused kernels walk both with one pointer.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        position, name = key.split(".", 1)
        parameter = parameters[int(position)]
        same_shape = value.shape == parameter.shape and value.ndim > 0
        restored = torch.empty_like(parameter).copy_(value) if same_shape else value
        state.setdefault(int(position), {})[name] = restored.detach()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
