"""Learning rates follow their closed form; the average and the optimiser's state are what they should be."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from focusmap.training.optimisation import (
    OPTIMIZERS,
    WeightAverage,
    learning_rate,
    make_optimizer,
    restore_state,
    state_tensors,
)
from focusmap.values.recipe import Recipe


def test_a_frozen_start_is_followed_by_warm_up_and_cosine() -> None:
    recipe = Recipe(epochs=10, freeze_epochs=2, warmup_epochs=2, learning_rate=0.1)
    rates = [learning_rate(recipe, progress) for progress in (0, 1.9, 2, 3, 4, 7, 10)]
    assert rates == pytest.approx([0.1, 0.1, 0.0, 0.05, 0.1, 0.1 * 0.5 * (1 + math.cos(math.pi / 2)), 0.0])


def test_a_constant_schedule_stays() -> None:
    recipe = Recipe(epochs=5, warmup_epochs=0, schedule="constant", learning_rate=0.1)
    assert {learning_rate(recipe, progress) for progress in (0.0, 2.5, 5.0)} == {0.1}


def test_biases_and_normalisation_are_not_decayed() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, free = make_optimizer(net, Recipe(weight_decay=0.3)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    assert len(free["params"]) == 3


def test_the_average_forgets_the_random_start_and_follows_with_its_decay() -> None:
    net = nn.Linear(1, 1)
    average = WeightAverage(net, decay=0.9)
    expected = net.weight.item()
    for step in range(1, 200):
        with torch.no_grad():
            net.weight.fill_(step)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.net.weight.item() == pytest.approx(expected, rel=1e-5)
    assert not average.net.weight.requires_grad


def test_counts_are_copied_and_not_averaged() -> None:
    net = nn.BatchNorm2d(1)
    average = WeightAverage(net, decay=0.9)
    net(torch.zeros(2, 1, 2, 2))
    average.update(1)
    assert int(average.net.num_batches_tracked) == 1


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_restored_optimiser_takes_the_same_next_step(name: str) -> None:
    recipe = replace(Recipe(learning_rate=1e-3), optimizer=name)

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(torch.ones(1, 3, 5, 5)).square().sum().backward()
        optimizer.step()

    net, again = fresh(), fresh()
    optimizer, resumed = make_optimizer(net, recipe), make_optimizer(again, recipe)
    step(net, optimizer)
    again.load_state_dict(net.state_dict())
    restore_state(resumed, {key: value.contiguous().clone() for key, value in state_tensors(optimizer).items()})
    step(net, optimizer)
    step(again, resumed)
    assert torch.equal(net.weight, again.weight)
