"""Maps of the last feature map equal their papers' formulas, their closed forms, and Captum on every backbone."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import support.map_oracles as oracles
from focusmap.heatmaps.class_activation import grad_cam_plus_plus, positive_evidence
from focusmap.heatmaps.drawing import heat_maps
from focusmap.nets import FocusNet
from focusmap.nets.backbones import BACKBONES
from support.mapped_nets import N_LABELS, SmallNet, assert_close, batch_for, batch_of, images, net_of

LARGE = ("densenet121", "resnet50", "vgg16", "convnext-tiny", "densenet121-3d", "resnet18-3d", "resnet50-3d")
ALL = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in BACKBONES]
BY_GRADIENT = {"gradcam": oracles.grad_cam, "hirescam": oracles.hires_cam, "layercam": oracles.layer_cam}


def each_label(net: nn.Module, batch: Tensor, oracle: Callable[[Tensor, int], np.ndarray]) -> np.ndarray:
    """Return the oracle's maps ``(N, L, *grid)``, given the features of one image and a label."""
    with torch.no_grad():
        features = net.features(batch)
    return np.stack([[oracle(one[None], label) for label in range(N_LABELS)] for one in features])


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("head", ["linear", "log-sum-exp"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_maps_equal_the_papers_formulas(method, head, n_dims):
    net, batch = SmallNet(n_dims, head), images(2, n_dims)
    expected = each_label(
        net, batch, lambda features, label: BY_GRADIENT[method](*oracles.head_gradient(net.classify, features, label))
    )
    found = heat_maps(net, batch, method)
    assert_close(found.maps, expected, 1e-12)
    torch.testing.assert_close(found.logits, net(batch).detach())


@pytest.mark.parametrize("n_dims", [2, 3])
def test_grad_cam_plus_plus_equals_the_papers_derivatives(n_dims):
    net, batch = SmallNet(n_dims), images(2, n_dims, size=6)
    expected = each_label(net, batch, lambda features, label: oracles.grad_cam_plus_plus(net.classify, features, label))
    assert_close(heat_maps(net, batch, "gradcam++").maps, expected, 1e-10)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_behind_average_pooling_and_one_layer_maps_are_closed_forms_of_its_weights(n_dims):
    net, batch = SmallNet(n_dims), images(3, n_dims)
    with torch.no_grad():
        features, w = net.features(batch), net.head.weight
    n_cells, mean = features[0, 0].numel(), features.flatten(2).mean(dim=2)
    cams = torch.einsum("nk...,ck->nc...", features, w.detach())
    shares = w.detach().clamp(min=0) / (2 + w.detach() * mean[:, None])
    closed = {
        "cam": cams,
        "gradcam": cams.clamp(min=0) / n_cells,
        "hirescam": cams.clamp(min=0) / n_cells,
        "layercam": torch.einsum("nk...,ck->nc...", features, w.detach().clamp(min=0)) / n_cells,
        "gradcam++": torch.einsum("nk...,nck->nc...", features, shares),
        "ablationcam": torch.einsum("nk...,nck->nc...", features, w.detach() * mean[:, None]).clamp(min=0),
    }
    for method, expected in closed.items():
        assert_close(heat_maps(net, batch, method).maps, expected.numpy(), 1e-12)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_eigen_cam_is_the_projection_on_the_first_principal_direction(n_dims):
    net, batch = SmallNet(n_dims), images(2, n_dims)
    expected = each_label(net, batch, lambda features, _: oracles.eigen_cam(features[0].numpy()))
    assert_close(heat_maps(net, batch, "eigencam").maps, expected, 1e-9)


def test_grad_cam_plus_plus_gives_a_feature_without_a_say_no_weight():
    features, gradients = torch.ones(1, 2, 2), torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    torch.testing.assert_close(grad_cam_plus_plus(features, gradients), torch.full((1, 2), 1 / 3))
    assert grad_cam_plus_plus(features, torch.full((1, 2, 2), -1.0)).tolist() == [[0.0, 0.0]]


@cache
def backbone_net(name):
    """A net that tests share and leave as it is."""
    return net_of(name)


@pytest.mark.parametrize("name", ALL)
def test_cam_and_grad_cam_equal_their_formulas_on_backbones(name):
    net, batch = deepcopy(backbone_net(name)).double(), batch_for(name, 2).double()
    weights = net.head.weight.detach().numpy()
    cams = each_label(net, batch, lambda features, label: oracles.cam(weights[label], features[0].numpy()))
    gradcams = each_label(
        net, batch, lambda features, label: oracles.grad_cam(*oracles.head_gradient(net.classify, features, label))
    )
    assert (cams < 0).any()
    assert_close(heat_maps(net, batch).maps, cams)
    assert_close(heat_maps(net, batch, "gradcam").maps, gradcams)


@pytest.mark.parametrize("name", ALL)
def test_maps_equal_captum_on_the_same_layer(name):
    attr = pytest.importorskip("captum.attr")
    net, batch = backbone_net(name), batch_for(name, 2)
    gradcams, hirescams = heat_maps(net, batch, "gradcam").maps, heat_maps(net, batch, "hirescam").maps
    for label in range(N_LABELS):
        theirs = attr.LayerGradCam(net, net.backbone).attribute(batch, label, relu_attributions=True)
        assert_close(gradcams[:, label], theirs.detach()[:, 0].numpy())
        theirs = attr.LayerGradientXActivation(net, net.backbone).attribute(batch, label).sum(dim=1).clamp(min=0)
        assert_close(hirescams[:, label], theirs.detach().numpy())


@pytest.mark.parametrize("name", ALL)
def test_the_mean_of_a_cam_and_the_bias_make_the_logit(name):
    net = backbone_net(name)
    found = heat_maps(net, batch_for(name, 2))
    means = found.maps.flatten(2).mean(dim=2)
    torch.testing.assert_close(means + net.head.bias.detach(), found.logits, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_equals_one_by_one_on_backbones(name):
    # In float64: in float32 the convolutions themselves choose another order of summation for another batch size,
    # and differ by some 1e-6.
    net, batch = deepcopy(backbone_net(name)).double(), batch_for(name, 3).double()
    found, singles = heat_maps(net, batch), [heat_maps(net, image[None]) for image in batch]
    torch.testing.assert_close(found.logits, torch.cat([single.logits for single in singles]), rtol=1e-6, atol=1e-9)
    assert_close(found.maps, torch.cat([single.maps for single in singles]).numpy(), 1e-6)


def test_a_batch_equals_one_by_one_in_single_precision_too():
    net, batch = net_of("small-residual"), batch_of(8)
    assert_close(heat_maps(net, batch).maps, torch.cat([heat_maps(net, one[None]).maps for one in batch]).numpy(), 5e-6)


def test_a_planted_feature_is_found_where_it_lies():
    net = FocusNet(nn.Identity(), 2, 1).eval()
    with torch.no_grad():
        net.head.weight[:] = torch.tensor([[2.0, -1.0]])
        net.head.bias[:] = 0.5
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, 1, 2], features[0, 1, 3, 0] = 3.0, 5.0
    found = heat_maps(net, features)
    assert found.maps[0, 0, 1, 2] == 6
    assert found.maps[0, 0, 3, 0] == -5
    assert found.logits[0, 0] == pytest.approx(0.5 + (6 - 5) / 16)
    assert not features.requires_grad


def test_evidence_is_the_mean_of_the_positive_part_in_any_number_of_dimensions():
    cams = torch.tensor([-4.0, 2.0, 0.0, 6.0])
    assert positive_evidence(cams.reshape(1, 1, 2, 2)).tolist() == [[2.0]]
    assert positive_evidence(cams.reshape(1, 1, 2, 1, 2)).tolist() == [[2.0]]
