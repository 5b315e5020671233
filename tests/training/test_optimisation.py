"""Learning rates follow their closed form; the average and the optimiser's state are what they should be."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from focusmap.nets import Architecture, build_net
from focusmap.study import Recipe
from focusmap.training.history import EpochRecord
from focusmap.training.optimisation import (
    END_SHARE,
    OPTIMIZERS,
    PLATEAU_EPOCHS,
    PLATEAU_FACTOR,
    WeightAverage,
    learning_rate,
    make_optimizer,
    rate_shares,
    restore_state,
    set_learning_rate,
    state_tensors,
)


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


def test_one_cycle_is_torchs() -> None:
    recipe = Recipe(epochs=20, schedule="one-cycle", learning_rate=0.5, warmup_epochs=3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    n_steps = 201
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=n_steps)
    for step in range(n_steps):
        share = step / (n_steps - 1)
        # torch counts whole steps, so that its peak lies at 0.3 n - 1 and not at 0.3 of the way.
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(recipe, 20 * share) == pytest.approx(expected, abs=0.01)
        if step + 1 < n_steps:
            optimizer.step()
            peer.step()
    assert learning_rate(recipe, 20) == pytest.approx(0.5 * END_SHARE)
    assert learning_rate(recipe, 6) == pytest.approx(0.5)


def test_steps_fall_to_a_tenth_after_half_and_again_after_three_quarters() -> None:
    recipe = Recipe(epochs=14, warmup_epochs=2, schedule="step", learning_rate=1.0)
    rates = [learning_rate(recipe, progress) for progress in (1, 2, 7.9, 8.1, 10.9, 11.1, 14)]
    assert rates == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])


def record(*, improved: bool) -> EpochRecord:
    return EpochRecord(1, 0.5, 0.5, 0.5, 0.1, 0.2, 0.3, 1.0, improved)


def test_a_plateau_is_torchs_and_follows_from_the_records() -> None:
    recipe = Recipe(epochs=60, warmup_epochs=0, schedule="plateau", learning_rate=1.0)
    scores = [0.1, 0.2, *[0.2] * 5, 0.3, *[0.3] * 4, 0.4, *[0.4] * 12]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=PLATEAU_FACTOR, patience=PLATEAU_EPOCHS - 1, threshold=0.0
    )
    best, records = -1.0, []
    for epoch, score in enumerate(scores):
        assert learning_rate(recipe, epoch + 0.5, records) == pytest.approx(optimizer.param_groups[0]["lr"])
        records.append(record(improved=score > best))
        best = max(best, score)
        peer.step(score)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(PLATEAU_FACTOR**3)


def test_epochs_of_the_warm_up_do_not_count_as_a_plateau() -> None:
    recipe = Recipe(epochs=60, warmup_epochs=5, schedule="plateau", learning_rate=1.0)
    assert learning_rate(recipe, 6, [record(improved=False)] * 6) == 1.0


@pytest.mark.parametrize("model", ["small-residual", "resnet18", "densenet121", "vit_tiny_patch16_224"])
def test_rates_fall_by_a_constant_factor_from_stage_to_stage(model: str) -> None:
    net = build_net(Architecture(model, 1, 1))
    shares = rate_shares(net, Recipe(layer_decay=0.5))
    assert set(shares) == {name for name, _ in net.named_parameters()}
    assert shares["head.weight"] == 1
    levels = sorted(set(shares.values()), reverse=True)
    assert levels == [0.5**k for k in range(len(levels))]
    assert len(levels) == {"small-residual": 7, "resnet18": 6}.get(model, len(levels)) > 4
    of_backbone = [share for name, share in shares.items() if name.startswith("backbone")]
    assert of_backbone[0] == min(of_backbone)
    assert max(of_backbone) == 0.5


def test_every_group_gets_its_share_and_no_decay_means_one_rate() -> None:
    net = build_net(Architecture("resnet18", 1, 1))
    optimizer = make_optimizer(net, Recipe(layer_decay=0.5))
    set_learning_rate(optimizer, 2.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(net.head.weight)] == 2
    assert rates[id(net.backbone.layer4[0].conv1.weight)] == 1
    assert len(rates) == len(list(net.parameters()))
    assert len(make_optimizer(net, Recipe()).param_groups) == 2


def test_frozen_stages_take_no_steps_and_the_head_its_own_rate() -> None:
    net = build_net(Architecture("resnet18", 1, 1))
    shares = rate_shares(net, Recipe(frozen_stages=2, head_rate=3.0))
    assert shares["head.weight"] == 3
    left_out = {name for name, _ in net.named_parameters()} - set(shares)
    assert left_out == {
        name
        for name, _ in net.named_parameters()
        if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))
    }
