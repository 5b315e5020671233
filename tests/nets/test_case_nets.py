"""Nets of cases: poolings equal their formulas as loops, and a case's answer is its own in any company and order."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from focusmap.nets.cases import WEIGHTINGS, CaseArchitecture, CaseBatch, build_case_net, segment_softmax

ARCHITECTURE = CaseArchitecture("small-residual", 1, 3, ("post", "pre"), "attention")
SIDE = 16


def cases(sizes: list[int], n_covariates: int = 0, seed: int = 0) -> CaseBatch:
    """Return cases of so many images each, with views in turn."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    return CaseBatch(
        torch.randn(n, 1, SIDE, SIDE, generator=generator),
        torch.tensor(np.repeat(np.arange(len(sizes)), sizes)),
        torch.tensor([k % 2 for size in sizes for k in range(size)]),
        torch.randn(len(sizes), n_covariates, generator=generator),
    )


def only(batch: CaseBatch, case: int) -> CaseBatch:
    own = batch.cases == case
    return CaseBatch(
        batch.images[own], torch.zeros(int(own.sum()), dtype=torch.int64), batch.views[own], batch.rows[[case]]
    )


def picked(batch: CaseBatch, images: list[int]) -> CaseBatch:
    return CaseBatch(batch.images[images], batch.cases[images], batch.views[images], batch.rows)


def net_of(architecture: CaseArchitecture) -> torch.nn.Module:
    return build_case_net(architecture, seed=1).eval()


def weights_by_loop(name: str, features: Tensor, weighing: torch.nn.Module) -> list[list[float]]:
    """The weights ``(n, K)`` of the n images of one segment, value by value."""
    rows, n = features.tolist(), len(features)
    if name == "mean":
        return [[1 / n for _ in row] for row in rows]
    if name == "max":
        highest = [max(column) for column in zip(*rows, strict=True)]
        ties = [sum(row[k] == high for row in rows) for k, high in enumerate(highest)]
        return [[(row[k] == high) / ties[k] for k, high in enumerate(highest)] for row in rows]
    scores = []
    for h in features:
        v, u = weighing.content(h).tolist(), weighing.gate(h).tolist()
        gated = [math.tanh(a) / (1 + math.exp(-b)) for a, b in zip(v, u, strict=True)]
        w = weighing.score.weight[0].tolist()
        scores.append(math.exp(sum(a * b for a, b in zip(w, gated, strict=True))))
    return [[score / sum(scores) for _ in rows[0]] for score in scores]


@pytest.mark.parametrize("name", list(WEIGHTINGS))
def test_each_pooling_weighs_as_its_formula_does(name):
    torch.manual_seed(0)
    weighing = WEIGHTINGS[name](4)
    features, segments = torch.randn(9, 4).round(decimals=1), torch.tensor([3, 0, 3, 3, 0, 5, 3, 0, 0])
    features[2] = features[3]
    with torch.no_grad():
        found = weighing(features, segments, 6).expand_as(features)
        for segment in (0, 3, 5):
            own = segments == segment
            expected = torch.tensor(weights_by_loop(name, features[own], weighing))
            torch.testing.assert_close(found[own], expected)


def test_a_segments_softmax_stands_large_scores():
    found = segment_softmax(torch.tensor([[1000.0], [1000.0], [-1000.0]]), torch.tensor([0, 0, 2]), 3)
    assert found.flatten().tolist() == [0.5, 0.5, 1.0]


def test_max_has_the_gradient_of_a_plain_maximum():
    features = torch.tensor([[1.0, 5.0], [3.0, 2.0], [9.0, 9.0]], requires_grad=True)
    segments = torch.tensor([0, 0, 1])
    (WEIGHTINGS["max"](2)(features, segments, 2) * features).sum().backward()
    assert features.grad.tolist() == [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("pooling", list(WEIGHTINGS))
@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_eight_cases_together_are_eight_alone(pooling, encoder):
    net, batch = net_of(replace(ARCHITECTURE, pooling=pooling, encoder=encoder)), cases([1, 4, 2, 1, 100, 3, 1, 5])
    with torch.no_grad():
        together = net(batch)
        alone = torch.cat([net(only(batch, case)) for case in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["joint", "gated"])
def test_the_order_of_images_changes_nothing_and_weights_go_with_their_image(fusion):
    architecture = replace(ARCHITECTURE, n_covariates=3, fusion=fusion, encoder="separate")
    net, batch = net_of(architecture), cases([3, 5, 2], n_covariates=3)
    order = np.random.default_rng(0).permutation(10).tolist()
    with torch.no_grad():
        torch.testing.assert_close(net(picked(batch, order)), net(batch), rtol=1e-4, atol=1e-5)
        encoded, weights = net.backbone.encode(batch)
        again, moved = net.backbone.encode(picked(batch, order))
    torch.testing.assert_close(again, encoded, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved, weights[order], rtol=1e-4, atol=1e-5)
    for case in range(3):
        for view in range(2):
            assert weights[(batch.cases == case) & (batch.views == view)].sum() == pytest.approx(1, abs=1e-5)


def test_a_view_that_is_missing_adds_nothing_whatever_the_others_have():
    net, batch = net_of(ARCHITECTURE), cases([2, 2])
    without = picked(batch, [0, 2, 3])
    width = net.backbone.n_features + 1
    with torch.no_grad():
        full, missing = net.backbone.encode(batch)[0], net.backbone.encode(without)[0]
        logits = net(without)
    assert missing[0, width:].abs().max() == 0
    assert (full[:, [width - 1, 2 * width - 1]] == 1).all()
    torch.testing.assert_close(missing[0, :width], full[0, :width], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(missing[1], full[1], rtol=1e-4, atol=1e-5)
    expected = missing[0, :width] @ net.head.weight[:, :width].T + net.head.bias
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-5)


def test_volumes_are_cases_too():
    net = net_of(replace(ARCHITECTURE, model="small-residual-3d"))
    batch = cases([2, 1])
    batch = batch._replace(images=batch.images[..., None].expand(-1, -1, -1, -1, SIDE))
    with torch.no_grad():
        torch.testing.assert_close(net(only(batch, 1))[0], net(batch)[1], rtol=1e-4, atol=1e-5)


def test_a_shared_encoder_is_one_and_separate_ones_are_as_many_as_views():
    sizes = {
        encoder: len(net_of(replace(ARCHITECTURE, encoder=encoder)).backbone.encoders)
        for encoder in ("shared", "separate")
    }
    assert sizes == {"shared": 1, "separate": 2}


def test_an_architecture_is_read_back_as_it_was_written():
    assert CaseArchitecture.from_dict(ARCHITECTURE.to_dict()) == ARCHITECTURE
