"""Every backbone becomes a net whose maps add up to its logits, whatever the channels."""

import pytest
import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.nets.backbones import BACKBONES, build_backbone, check_size, dimensions_of
from focusmap.nets.build import Architecture, build_net


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_mean_of_a_map_is_the_logit_less_the_bias(name: str, channels: int) -> None:
    net = build_net(Architecture(name, channels, n_logits=3)).eval()
    nn.init.normal_(net.head.weight)
    nn.init.normal_(net.head.bias)
    x = torch.randn(2, channels, *[64, 64] if dimensions_of(name) == 2 else [32, 32, 32])
    with torch.inference_mode():
        features = net.features(x)
        logits, maps = net.classify(features), net.evidence(features)
        assert torch.allclose(logits, net(x), atol=1e-5)
    assert logits.shape == (2, 3)
    assert maps.shape == (2, 3, *features.shape[2:])
    assert torch.allclose(maps.flatten(2).mean(dim=2) + net.head.bias, logits, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["densenet121", "vgg16", "efficientnet-b0"])
def test_what_a_hook_stores_is_not_changed_afterwards(name: str) -> None:
    net, _ = build_backbone(name, channels=1)
    stored: list[tuple[Tensor, Tensor]] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda _, __, output: stored.append((output, output.clone())))
    net.eval()(torch.randn(1, 1, 64, 64))
    assert stored
    assert all(torch.equal(output, copy) for output, copy in stored)


def test_the_map_of_densenet_lies_after_its_last_relu() -> None:
    net, n_features = build_backbone("densenet121", channels=1)
    features = net.eval()(torch.randn(1, 1, 64, 64))
    assert features.shape == (1, n_features, 2, 2)
    assert features.min() >= 0


def test_the_small_net_keeps_a_quarter_of_the_side() -> None:
    net = build_net(Architecture("small-residual", 1, 1))
    assert net.features(torch.zeros(2, 1, 28, 28)).shape == (2, 96, 7, 7)
    assert net.features(torch.zeros(2, 1, 64, 64)).shape == (2, 96, 16, 16)


def test_a_seed_fixes_the_weights_and_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_net(Architecture("small-residual", 1, 1), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.backbone.stem.weight, again.backbone.stem.weight)
    assert not torch.equal(first.backbone.stem.weight, other.backbone.stem.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'densenet12' is not one of .*resnet50.* Did you mean 'densenet121'\?"):
        Architecture("densenet12", 1, 1)


def test_an_image_too_small_is_refused_with_a_way_out() -> None:
    check_size("small-residual", (28,))
    with pytest.raises(InputError, match=r"at least 32 pixels, not 28.*small-residual"):
        check_size("vgg16", (28,))


@pytest.mark.parametrize("values", [{}, {"model": "resnet18", "channels": 1}, {"model": "resnet18", "channels": "1"}])
def test_an_architecture_that_is_not_whole_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="needs model, channels and n_logits"):
        Architecture.from_dict(values)


def test_an_architecture_survives_writing() -> None:
    architecture = Architecture("resnet50", 3, 14)
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    with pytest.raises(InputError, match="needs model"):
        Architecture.from_dict({**architecture.to_dict(), "depth": 3})
