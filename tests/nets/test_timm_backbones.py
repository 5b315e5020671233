"""Any net of timm's gives a map, laid out as the image is, that adds up to its logits; others are refused by name."""

import pytest
import torch

from focusmap.basics import InputError
from focusmap.nets.backbones import build_backbone, build_pyramid, check_size, levels, pyramid_strides
from focusmap.nets.build import Architecture, build_net, check_recipe
from focusmap.nets.decoders import split_model
from focusmap.study import Recipe

# One of each way that timm returns features: maps, maps with a head behind, tokens, channels last.
NAMES = ("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_a_map_is_the_logit_less_the_bias(name: str) -> None:
    net = build_net(Architecture(name, 1, n_logits=2)).eval()
    x = torch.randn(2, 1, 96, 96)
    with torch.inference_mode():
        features = net.features(x)
        logits, maps = net.classify(features), net.evidence(features)
        assert torch.allclose(logits, net(x), atol=1e-5)
    assert maps.shape[:2] == (2, 2)
    assert maps.shape[2] == maps.shape[3] > 1
    assert torch.allclose(maps.mean(dim=(2, 3)) + net.head.bias, logits, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_map_lies_as_the_image_does(name: str) -> None:
    """A change in the upper right corner changes the map there more than in the lower left."""
    net, _ = build_backbone(name, channels=1)
    x = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., :32, -32:] += 3
    with torch.inference_mode():
        difference = (net.eval()(changed) - net(x)).abs().sum(dim=1)[0]
    half = difference.shape[-1] // 2
    assert float(difference[:half, half:].sum()) > 1.2 * float(difference[half:, :half].sum())


def test_a_class_token_takes_no_place_on_the_map() -> None:
    net, n_features = build_backbone("vit_tiny_patch16_224", channels=3)
    assert net(torch.randn(1, 3, 64, 64)).shape == (1, n_features, 4, 4)


def test_a_net_of_one_size_is_refused_with_the_reason() -> None:
    check_size("vit_tiny_patch16_224", (48,))
    with pytest.raises(InputError, match=r"'mixer_s32_224' takes no images of \d+ pixels .*224"):
        check_size("mixer_s32_224", (128,))


def test_a_name_that_nobody_knows_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"nor a name of timm's, .*Did you mean 'mobilenetv3_large_100'\?"):
        split_model("mobilnetv3_large_100")
    with pytest.raises(InputError, match=r"with -fpn, -pan, .*Did you mean 'resnet10t-fpn'\?"):
        split_model("resnet10t-fpm")


# One of each way that timm lays levels out: with a stem before them, channels last, several levels on one grid.
PYRAMIDS = ("resnet10t", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050")


@pytest.mark.parametrize("name", PYRAMIDS)
def test_any_net_with_levels_on_several_grids_has_a_pyramid_and_becomes_a_focus_map_net(name: str) -> None:
    strides = pyramid_strides(name)
    net, channels = build_pyramid(name, 1, strides)
    found = levels(net.eval(), torch.randn(1, 1, 96, 96), list(channels))
    assert [tuple(level.shape[1:]) for level in found] == [
        (n, 96 // stride, 96 // stride) for n, stride in zip(channels.values(), strides, strict=True)
    ]
    focus = build_net(Architecture(f"{name}-fpn", 1, n_logits=2)).eval()
    logits, maps = focus.forward_with_focus(torch.randn(1, 1, 96, 96))
    assert logits.shape == (1, 2)
    assert maps.shape == (1, 2, 24, 24)


def test_a_net_with_all_its_levels_on_one_grid_takes_no_decoder() -> None:
    with pytest.raises(InputError, match=r"vit_tiny_patch16_224 has all its levels on one grid.* such as resnet18-fpn"):
        split_model("vit_tiny_patch16_224-fpn")


def test_a_pyramid_is_tried_on_images_of_the_size_asked_for() -> None:
    check_recipe(Recipe(model="resnet10t-pan", size=48))
    with pytest.raises(InputError, match="'maxvit_pico_rw_256' takes no images of"):
        check_recipe(Recipe(model="maxvit_pico_rw_256-fpn", size=100))
