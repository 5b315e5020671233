"""Each pooling equals its formula as a loop over places, in two and three dimensions, and keeps its promises."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from focusmap.basics import InputError
from focusmap.nets.pooling import POOLINGS, GatedAttention, LogSumExp, PoolingOptions, build_pooling

GRIDS = [(5, 4), (3, 4, 2)]
N_FEATURES = 6
N_LABELS = 3


def drawn(grid: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, N_LABELS, *grid, generator=generator, dtype=torch.float64),
        torch.randn(2, N_FEATURES, *grid, generator=generator, dtype=torch.float64),
    )


def made(name: str) -> torch.nn.Module:
    options = PoolingOptions(name, sharpness=2.5, top_share=0.2)
    torch.manual_seed(1)
    return build_pooling(options, N_FEATURES, N_LABELS).double()


def places(values: Tensor) -> list[float]:
    return [float(value) for value in values.flatten()]


def average(evidence: Tensor, _features: Tensor, _label: int, _pool: torch.nn.Module) -> float:
    return sum(places(evidence)) / evidence.numel()


def maximum(evidence: Tensor, _features: Tensor, _label: int, _pool: torch.nn.Module) -> float:
    return max(places(evidence))


def log_sum_exp(evidence: Tensor, _features: Tensor, _label: int, _pool: torch.nn.Module) -> float:
    """Pinheiro and Collobert 2015, equation 1."""
    return math.log(sum(math.exp(2.5 * value) for value in places(evidence)) / evidence.numel()) / 2.5


def top_share(evidence: Tensor, _features: Tensor, _label: int, _pool: torch.nn.Module) -> float:
    highest = sorted(places(evidence))[-round(0.2 * evidence.numel()) :]
    return sum(highest) / len(highest)


def gated_attention(evidence: Tensor, features: Tensor, label: int, pool: GatedAttention) -> float:
    """Ilse et al. 2018, equation 9, place by place."""
    score = []
    for h in features.flatten(1).T:
        v, u = pool.content.weight @ h + pool.content.bias, pool.gate.weight @ h + pool.gate.bias
        gated = [math.tanh(a) / (1 + math.exp(-b)) for a, b in zip(v.tolist(), u.tolist(), strict=True)]
        score.append(math.exp(sum(w * g for w, g in zip(pool.score.weight[label].tolist(), gated, strict=True))))
    return sum(a * e for a, e in zip(score, places(evidence), strict=True)) / sum(score)


ORACLES = {
    "average": average, "max": maximum, "lse": log_sum_exp, "topk": top_share, "attention": gated_attention,
}  # fmt: skip


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", list(POOLINGS))
def test_a_pooling_equals_its_formula(name, grid):
    (evidence, features), pool = drawn(grid), made(name)
    with torch.no_grad():
        pooled = pool(evidence, features)
    assert pooled.shape == (2, N_LABELS)
    for i in range(2):
        for label in range(N_LABELS):
            expected = ORACLES[name](evidence[i, label], features[i], label, pool)
            assert float(pooled[i, label]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", list(POOLINGS))
def test_a_constant_map_has_its_own_value_and_a_bias_moves_the_logit_by_itself(name, grid):
    """What lets the class weights be taken off the bias after training, and gives a place's evidence its meaning."""
    (evidence, features), pool = drawn(grid), made(name)
    with torch.no_grad():
        torch.testing.assert_close(
            pool(torch.full_like(evidence, 3.0), features), torch.full((2, N_LABELS), 3.0).double()
        )
        torch.testing.assert_close(pool(evidence - 1.7, features), pool(evidence, features) - 1.7)


@pytest.mark.parametrize("grid", GRIDS)
def test_log_sum_exp_lies_between_average_and_maximum(grid):
    evidence, features = drawn(grid)
    pooled = [LogSumExp(r).double()(evidence, features) for r in (1e-4, 1.0, 8.0, 1e4)]
    torch.testing.assert_close(pooled[0], made("average")(evidence, features), rtol=0, atol=1e-3)
    torch.testing.assert_close(pooled[-1], made("max")(evidence, features), rtol=0, atol=1e-3)
    assert all((low < high).all() for low, high in pairwise(pooled))


def test_sharpness_is_learned_where_none_is_given_and_stays_where_one_is():
    free, fixed = LogSumExp(), LogSumExp(3.0)
    assert [name for name, _ in free.named_parameters()] == ["log_r"]
    assert not list(fixed.parameters())
    assert float(fixed.state_dict()["log_r"].exp()) == pytest.approx(3)
    free(torch.randn(1, 1, 4, 4), torch.empty(0)).sum().backward()
    assert free.log_r.grad.abs() > 0


def test_average_spreads_the_gradient_and_max_gives_it_to_one_place():
    evidence = torch.randn(1, 1, 6, 6, requires_grad=True)
    shares = {}
    for name in ("average", "lse", "topk", "max"):
        (gradient,) = torch.autograd.grad(made(name)(evidence.double(), torch.empty(0)).sum(), evidence)
        assert float(gradient.sum()) == pytest.approx(1, rel=1e-5)
        shares[name] = float(gradient.max())
    assert shares["average"] == pytest.approx(1 / 36)
    assert shares["average"] < shares["topk"] < shares["lse"] < shares["max"] == 1


def test_top_share_keeps_one_place_at_least():
    pool = build_pooling(PoolingOptions("topk", top_share=0.01), N_FEATURES, 1)
    evidence = torch.randn(1, 1, 2, 2)
    assert float(pool(evidence, torch.empty(0))) == float(evidence.max())


def test_an_unknown_pooling_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"'averag' is not one of .*attention.*Did you mean 'average'"):
        PoolingOptions("averag")
