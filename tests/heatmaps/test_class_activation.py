"""Class activation maps equal the papers' formulas by autograd, and Captum on the same layer, on every backbone."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from focusmap.errors import InputError
from focusmap.heatmaps.class_activation import (
    METHODS,
    NO_EVIDENCE_BELOW,
    check_method,
    class_activation_maps,
    has_evidence,
    positive_evidence,
)
from focusmap.nets.backbones import BACKBONES
from focusmap.nets.build import Architecture, FocusNet, build_net

LARGE = ("densenet121", "resnet50", "vgg16", "convnext-tiny")
ALL = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in BACKBONES]
N_LABELS = 3


def net_of(name: str) -> FocusNet:
    """A net whose maps are positive here and negative there, as those of a trained one are."""
    net = build_net(Architecture(name, 1, N_LABELS), seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Normalisations with random statistics, or the features of an untrained net would hardly differ.
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
        features = net.features(batch_of(4))
        mean = features.mean(dim=(0, 2, 3))
        net.head.weight.normal_(0, 1, generator=generator)
        # Without the mean feature a map is positive in some places and negative in others; then of spread 1.
        net.head.weight -= torch.outer(net.head.weight @ mean, mean) / mean.square().sum()
        maps = torch.einsum("nkhw,ck->nchw", features, net.head.weight)
        net.head.weight /= maps.std(dim=(0, 2, 3))[:, None]
        net.head.bias.normal_(0, 1, generator=generator)
    return net


def batch_of(n: int, size: int = 64) -> Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(2))


def grad_cam_by_loop(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2, word by word: one backward pass, one loop over the features."""
    features = net.features(picture[None]).detach().requires_grad_()
    net.classify(features)[0, label].backward()
    gradient, activation = features.grad[0].numpy(), features.detach()[0].numpy()
    weighted = np.zeros(activation.shape[1:])
    for k in range(len(activation)):
        weighted += gradient[k].mean() * activation[k]
    return np.maximum(weighted, 0)


def cam_by_loop(net: FocusNet, picture: Tensor, label: int) -> np.ndarray:
    """Zhou et al. 2016, equation 2."""
    with torch.no_grad():
        activation = net.features(picture[None])[0].numpy()
    weights = net.head.weight[label].detach().numpy()
    return sum(w * a for w, a in zip(weights, activation, strict=True))


def close(found: Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal within a share of the greatest value."""
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


@pytest.mark.parametrize("name", ALL)
def test_closed_form_equals_the_formulas_by_autograd(name):
    net, batch = net_of(name).double(), batch_of(2).double()
    logits, cams = class_activation_maps(net, batch)
    _, gradcams = class_activation_maps(net, batch, "gradcam")
    assert (cams > 0).any()
    assert (cams < 0).any()
    for i in range(2):
        for label in range(N_LABELS):
            close(cams[i, label], cam_by_loop(net, batch[i], label))
            close(gradcams[i, label], grad_cam_by_loop(net, batch[i], label))
    with torch.no_grad():
        torch.testing.assert_close(logits, net(batch))


@pytest.mark.parametrize("name", ALL)
def test_grad_cam_equals_captum_on_the_same_layer(name):
    attr = pytest.importorskip("captum.attr")
    net, batch = net_of(name), batch_of(2)
    _, maps = class_activation_maps(net, batch, "gradcam")
    captum = attr.LayerGradCam(net, net.backbone)
    for label in range(N_LABELS):
        theirs = captum.attribute(batch, target=label, relu_attributions=True).detach()[:, 0].numpy()
        assert theirs.max() * theirs[0].size > 0.2, "a map without positive evidence proves nothing"
        close(maps[:, label], theirs)


@pytest.mark.parametrize("name", ALL)
def test_the_mean_of_a_cam_and_the_bias_make_the_logit(name):
    net = net_of(name)
    logits, maps = class_activation_maps(net, batch_of(2))
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + net.head.bias, logits, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_equals_one_by_one(name, method):
    # In float64: in float32 the convolutions themselves choose another order of summation for another batch size,
    # and differ by some 1e-6.
    net, batch = net_of(name).double(), batch_of(8).double()
    logits, maps = class_activation_maps(net, batch, method)
    singles = [class_activation_maps(net, picture[None], method) for picture in batch]
    close(logits, torch.cat([single[0] for single in singles]).numpy(), 1e-6)
    close(maps, torch.cat([single[1] for single in singles]).numpy(), 1e-6)


def test_a_batch_equals_one_by_one_in_single_precision_too():
    net, batch = net_of("small-residual"), batch_of(8)
    _, maps = class_activation_maps(net, batch)
    close(maps, torch.cat([class_activation_maps(net, picture[None])[1] for picture in batch]).numpy(), 5e-6)


def test_a_planted_feature_is_found_where_it_lies():
    net = FocusNet(nn.Identity(), 2, 1).eval()
    with torch.no_grad():
        net.head.weight[:] = torch.tensor([[2.0, -1.0]])
        net.head.bias[:] = 0.5
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, 1, 2], features[0, 1, 3, 0] = 3.0, 5.0
    logits, maps = class_activation_maps(net, features)
    assert maps[0, 0, 1, 2] == 6
    assert maps[0, 0, 3, 0] == -5
    assert logits[0, 0] == pytest.approx(0.5 + (6 - 5) / 16)


def test_evidence_is_what_the_positive_part_adds_to_the_logit_for_both_methods():
    net, batch = net_of("small-residual"), batch_of(3)
    _, cams = class_activation_maps(net, batch)
    _, gradcams = class_activation_maps(net, batch, "gradcam")
    torch.testing.assert_close(positive_evidence(cams), positive_evidence(gradcams, "gradcam"))
    assert positive_evidence(cams).max() > NO_EVIDENCE_BELOW


def test_a_map_that_is_positive_nowhere_or_hardly_has_no_evidence():
    maps = torch.full((1, 3, 4, 4), -2.0)
    maps[0, 1, 0, 0] = 16 * NO_EVIDENCE_BELOW * 0.9
    maps[0, 2, 0, 0] = 16 * NO_EVIDENCE_BELOW * 1.1
    assert has_evidence(maps).tolist() == [[False, False, True]]


def test_an_unknown_method_is_named_with_the_nearest():
    assert check_method("gradcam") == "gradcam"
    with pytest.raises(InputError, match="Did you mean 'gradcam'"):
        check_method("grad-cam")
