"""Infidelity, sensitivity-n and max-sensitivity equal their definitions, Captum, and closed forms of linear nets."""

import numpy as np
import pytest
import torch
from torch import Tensor

from focusmap.faithfulness.curves import (
    Perturbation,
    infidelity,
    measure_removals,
    random_features,
    sensitivity_n,
    squares,
    unexplained,
)
from focusmap.faithfulness.randomisation import max_sensitivity

SHAPES = [(8, 9), (4, 5, 6)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(weights: Tensor):
    return lambda x: (x * weights).flatten(1).sum(dim=1)


def curved(x: Tensor) -> Tensor:
    return torch.tanh(x.flatten(1) @ torch.linspace(-0.2, 0.2, x[0].numel(), dtype=x.dtype))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_times_input_of_a_linear_net_is_perfect(shape):
    batch, weights = drawn(3, 2, *shape), drawn(2, *shape, seed=1)
    maps = (batch * weights).sum(dim=1)
    removals = measure_removals(linear(weights), batch, squares(batch, 6))
    assert infidelity(removals, maps).max() < 1e-20
    assert unexplained(removals, maps).max() < 1e-20
    for n in (1, 5, 20):
        features = measure_removals(linear(weights), batch, random_features(batch, n, 12))
        torch.testing.assert_close(sensitivity_n(features, maps), torch.ones(3, dtype=torch.float64))


def test_the_gradient_of_a_linear_net_is_perfect_for_noise():
    batch, weights = drawn(3, 1, 6, 6), drawn(1, 6, 6, seed=1)
    noise = [0.3 * drawn(3, 1, 6, 6, seed=seed) for seed in range(10)]
    removals = measure_removals(linear(weights), batch, [Perturbation(less.sum(dim=1), batch - less) for less in noise])
    assert infidelity(removals, weights.expand(3, 6, 6)).max() < 1e-20


@pytest.mark.parametrize("shape", SHAPES)
def test_both_equal_their_definitions_word_by_word(shape):
    batch, maps = drawn(2, 2, *shape), drawn(2, *shape, seed=2)
    removals = measure_removals(curved, batch, squares(batch, 7, seed=4))
    for i in range(2):
        predicted, lost = [], []
        for perturbation in squares(batch, 7, seed=4):
            predicted.append(float((perturbation.weights[i] * maps[i]).sum()))
            lost.append(float(curved(batch[i : i + 1])[0] - curved(perturbation.images[i : i + 1])[0]))
        errors = [(p - d) ** 2 for p, d in zip(predicted, lost, strict=True)]
        assert float(infidelity(removals, maps)[i]) == pytest.approx(np.mean(errors))
        best = min(np.mean((beta * np.array(predicted) - lost) ** 2) for beta in np.linspace(-1, 1, 20001))
        assert float(infidelity(removals, maps, scaled=True)[i]) == pytest.approx(best, rel=1e-3)
        assert float(sensitivity_n(removals, maps)[i]) == pytest.approx(np.corrcoef(predicted, lost)[0, 1])


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_equals_captum(scaled):
    metrics = pytest.importorskip("captum.metrics")
    batch, maps = drawn(1, 1, 8, 8), drawn(1, 8, 8, seed=2)
    draws = list(squares(batch, 9))
    weights = torch.cat([draw.weights for draw in draws])[:, None]
    taken = torch.cat([draw.images for draw in draws])
    theirs = metrics.infidelity(
        curved, lambda _: (weights, taken), batch, maps[:, None], n_perturb_samples=9, normalize=scaled
    )
    torch.testing.assert_close(infidelity(measure_removals(curved, batch, draws), maps, scaled=scaled), theirs)


def test_squares_are_square_and_features_as_many_as_asked_for():
    batch = torch.ones(2, 1, 16, 12)
    for perturbation in squares(batch, 5):
        assert perturbation.weights.flatten(1).sum(dim=1).tolist() == [12, 12]
        assert torch.equal(perturbation.images[:, 0], 1 - perturbation.weights)
    for perturbation in random_features(batch, 3, 5, grid=4):
        assert perturbation.weights.flatten(1).sum(dim=1).tolist() == [36, 36]
    for perturbation in random_features(batch, 7, 5, grid=99):
        assert perturbation.weights.flatten(1).sum(dim=1).tolist() == [7, 7]


def test_an_empty_or_constant_map_says_nothing():
    batch = drawn(2, 1, 8, 8)
    removals = measure_removals(curved, batch, random_features(batch, 10, 15))
    torch.testing.assert_close(unexplained(removals, torch.zeros(2, 8, 8)), torch.ones(2, dtype=torch.float64))
    assert sensitivity_n(removals, torch.zeros(2, 8, 8)).isnan().all()


def test_the_right_map_explains_more_than_a_misplaced_one():
    batch, weights = drawn(4, 1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.float64)
    weights[:, 3:8, 3:8] = 1
    right, wrong = (batch * weights)[:, 0], (batch * weights)[:, 0].roll((8, 8), (1, 2))
    removals = measure_removals(lambda x: torch.sigmoid(linear(weights)(x)), batch, squares(batch, 40))
    assert (unexplained(removals, right) < unexplained(removals, wrong)).all()
    features = measure_removals(lambda x: torch.sigmoid(linear(weights)(x)), batch, random_features(batch, 20, 40))
    assert (sensitivity_n(features, right) > sensitivity_n(features, wrong)).all()


def test_max_sensitivity_equals_captum_on_the_same_draws():
    metrics = pytest.importorskip("captum.metrics")
    batch = drawn(1, 1, 6, 6)

    def explain(x: Tensor) -> Tensor:
        return torch.sin(3 * x)[:, 0]

    def perturb(x: Tensor) -> tuple[Tensor]:
        generator = torch.Generator().manual_seed(5)
        steps = [0.02 * (2 * torch.rand(batch.shape, generator=generator) - 1) for _ in range(10)]
        return (x + torch.cat(steps).to(x),)

    def of_tuples(x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (explain(x[0]),)

    theirs = metrics.sensitivity_max(of_tuples, batch, perturb_func=perturb, n_perturb_samples=10)
    torch.testing.assert_close(max_sensitivity(explain, batch, seed=5), theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_max_sensitivity_of_closed_forms(shape):
    batch = drawn(3, 1, *shape)
    assert max_sensitivity(lambda x: torch.ones(len(x), *shape), batch).tolist() == [0, 0, 0]
    assert max_sensitivity(lambda x: torch.zeros(len(x), *shape), batch).isnan().all()
    found = max_sensitivity(lambda x: x[:, 0], batch, radius=0.1)
    limit = 0.1 * batch[0].numel() ** 0.5 / batch.flatten(1).norm(dim=1)
    assert (found > 0.4 * limit).all()
    assert (found <= limit).all()
