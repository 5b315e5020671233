"""Attention along the axes equals the paper's sums written out position by position, in two and three dimensions."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from focusmap.audit import ImageSummary
from focusmap.basics import InputError
from focusmap.fitting.configure import resolve_recipe
from focusmap.heatmaps import heat_maps, methods_of
from focusmap.nets.build import Architecture, build_net, check_recipe
from focusmap.nets.decoders import strides_of
from focusmap.nets.focus_net import FocusLayers, FocusNet
from focusmap.nets.pooling import Average, AxisAttention, Maximum, PoolingOptions
from focusmap.study import Recipe


def attended(seed: int, dimensions: int, pooling: nn.Module | None = None) -> tuple[AxisAttention, Tensor, Tensor]:
    """A layer with weights as after some training, features and evidence."""
    torch.manual_seed(seed)
    layer = AxisAttention(pooling or Average(), 4, 3, dimensions)
    for weights in layer.parameters():
        nn.init.normal_(weights)
    grid = (5, 3, 4)[:dimensions]
    return layer, torch.randn(2, 4, *grid), torch.randn(2, 3, *grid)


def written_out(layer: AxisAttention, features: np.ndarray, evidence: np.ndarray, label: int) -> np.ndarray:
    """C' of one image and label: for each axis score, softmax, rescale; then the weighted sum."""
    grid = evidence.shape
    v = np.exp(layer.axis_logits[label].detach().numpy())
    v /= v.sum()
    total = np.zeros(grid)
    for axis, side in enumerate(grid):
        w = layer.scores[axis].weight[label].detach().numpy()
        g = np.array([w @ features.take(d, axis=axis + 1).reshape(4, -1).mean(axis=1) for d in range(side)])
        s = np.exp(g) / np.exp(g).sum()
        for place in np.ndindex(*grid):
            total[place] += v[axis] * side * s[place[axis]] * evidence[place]
    return total


@pytest.mark.parametrize("pooling", [Average(), Maximum()])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_maps_and_logits_are_what_the_paper_says(dimensions: int, pooling: nn.Module) -> None:
    layer, features, evidence = attended(0, dimensions, pooling)
    with torch.no_grad():
        maps, logits = layer.attention(features) * evidence, layer(evidence, features)
    for n, label in np.ndindex(2, 3):
        expected = written_out(layer, features[n].numpy(), evidence[n, label].numpy(), label)
        np.testing.assert_allclose(maps[n, label], expected, rtol=1e-4, atol=1e-5)
        pooled = expected.mean() if isinstance(pooling, Average) else expected.max()
        assert float(logits[n, label]) == pytest.approx(pooled, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_attention_is_of_mean_1_and_begins_as_none(dimensions: int) -> None:
    layer, features, evidence = attended(1, dimensions)
    a = layer.attention(features)
    torch.testing.assert_close(a.flatten(2).mean(dim=2), torch.ones(2, 3))
    assert a.min() >= 0
    fresh = AxisAttention(Average(), 4, 3, dimensions)
    torch.testing.assert_close(fresh(evidence, features), evidence.flatten(2).mean(dim=2))


def test_the_attentional_map_is_a_heat_map_whose_mean_is_the_logit() -> None:
    net = build_net(Architecture("small-residual-acam", 1, 2, PoolingOptions("average"))).eval()
    for weights in net.parameters():
        nn.init.normal_(weights, std=0.1)
    assert net.has_axis_attention
    assert methods_of(net)[:3] == ("focus", "acam", "cam")
    x = torch.randn(2, 1, 32, 32)
    found = heat_maps(net, x, "acam")
    torch.testing.assert_close(found.maps.mean(dim=(2, 3)) + net.head.bias, found.logits, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(heat_maps(net, x, "cam").maps, net.evidence(net.features(x)))
    plain = build_net(Architecture("small-residual", 1, 2)).eval()
    with pytest.raises(InputError, match=r"'acam' needs a net with attention along the axes, such as.*-acam"):
        heat_maps(plain, x, "acam")


@pytest.mark.parametrize("name", ["small-residual-acam2", "resnet18-acam8"])
def test_every_weight_of_an_attending_net_learns(name: str) -> None:
    net = build_net(Architecture(name, 1, 3, PoolingOptions("max"), ((1, 3),)))
    for score in net.focus.pooling.scores:
        nn.init.normal_(score.weight)
    logits, maps = net.forward_with_focus(torch.randn(2, 1, 64, 64))
    (logits.square().sum() + 0 * maps.sum()).backward()
    assert [key for key, weight in net.named_parameters() if weight.grad is None] == []
    assert 0 <= maps.min() <= maps.max() <= 1


def test_a_volume_is_attended_along_three_axes() -> None:
    from test_focus import Handed

    from focusmap.nets.decoders import Level

    focus = FocusLayers(Level((4,), 3), (0,), AxisAttention(Average(), 4, 2, 3), 2)
    net = FocusNet(Handed(), 4, 2, focus).eval()
    logits, maps = net.forward_with_focus(torch.rand(1, 4, 5, 4, 3))
    assert logits.shape == (1, 2)
    assert maps.shape == (1, 2, 5, 4, 3)


def test_an_attending_net_averages_unless_told_otherwise() -> None:
    assert strides_of("resnet18", "acam") == (32,)
    assert strides_of("resnet18", "acam8") == (8,)
    assert resolve_recipe(Recipe(model="resnet18-acam"), ImageSummary([(96, 96)], 1)).pooling == "average"
    assert resolve_recipe(Recipe(model="resnet18-acam", pooling="max"), ImageSummary([(96, 96)], 1)).pooling == "max"
    check_recipe(Recipe(model="resnet18-acam8", size=64))
