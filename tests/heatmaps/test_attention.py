"""Attention roll-out equals the paper's product of layers, from the weights that timm's own unfused attention has."""

import math

import pytest
import torch

import support.map_oracles as oracles
from focusmap.basics import InputError
from focusmap.heatmaps.class_activation import AttentionRecorder, attention_rollout
from focusmap.heatmaps.drawing import heat_maps
from focusmap.heatmaps.methods import methods_of
from focusmap.nets import Architecture, build_net
from support.mapped_nets import TokenNet, assert_close, images


def slow_attentions(net, image):
    """Return the attention of each layer of a `TokenNet` for one image ``(heads, T, T)``, head by head."""
    patches = net.patches(image)
    tokens = torch.cat([net.token, patches.flatten(2).transpose(1, 2)], dim=1)[0]
    found = []
    for layer in net.layers:
        query, key, value = (part.reshape(-1, 2, 3) for part in layer(tokens).chunk(3, dim=1))
        scores = [query[:, h] @ key[:, h].T / 3**0.5 for h in range(2)]
        found.append(torch.stack([score.softmax(dim=1) for score in scores]))
        tokens = tokens + torch.cat([found[-1][h] @ value[:, h] for h in range(2)], dim=1)
    return [weights.detach().numpy() for weights in found]


@pytest.mark.parametrize("n_dims", [2, 3])
def test_maps_equal_the_papers_product(n_dims):
    net, batch = TokenNet(n_dims), images(2, n_dims)
    found = heat_maps(net, batch, "rollout").maps
    for image, maps in zip(batch, found, strict=True):
        rolled = oracles.rollout(slow_attentions(net, image[None]))
        expected = rolled[1:, 1:].mean(axis=0).reshape(maps.shape[1:])
        for of_label in maps:
            assert_close(of_label, expected, 1e-12)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_the_weights_are_those_that_timms_own_attention_has_where_it_is_not_fused(name):
    net, seen = build_net(Architecture(name, 1, 2)).eval(), []
    batch = images(2, 2, 56).float()
    with torch.no_grad(), AttentionRecorder() as fused:
        expected = net.features(batch)
    layers = [module for module in net.modules() if hasattr(module, "fused_attn")]
    for layer in layers:
        layer.fused_attn = False
        layer.attn_drop.register_forward_hook(lambda _module, _inputs, weights: seen.append(weights.mean(dim=1)))
    with torch.no_grad():
        torch.testing.assert_close(net.features(batch), expected, rtol=1e-4, atol=1e-4)
    assert len(seen) == len(fused.layers) == 12
    for ours, theirs in zip(fused.layers, seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_transformer_is_mapped_patch_by_patch_and_nets_without_attention_are_not():
    net = build_net(Architecture("vit_tiny_patch16_224", 1, 2)).eval()
    found = heat_maps(net, images(1, 2, 64).float(), "rollout")
    assert found.maps.shape == (1, 2, 4, 4)
    assert 0.9 < float(found.maps[0, 0].sum()) < 1
    assert torch.equal(found.maps[:, 0], found.maps[:, 1])
    for name in ("small-residual", "swin_tiny_patch4_window7_224"):
        assert "rollout" not in methods_of(build_net(Architecture(name, 1, 2)))


def test_attention_among_some_patches_only_is_refused():
    def features(x):
        tokens = x.flatten(2).transpose(1, 2).reshape(2 * len(x), 1, -1, 1)  # two windows an image
        passed = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return passed.reshape(x.shape)

    with pytest.raises(InputError, match="every patch attends to all"):
        attention_rollout(features, images(1, 2))
    with pytest.raises(InputError, match="every patch attends to all"):
        attention_rollout(lambda x: x, images(1, 2))


def test_a_mask_of_the_attention_counts():
    query, key, value = (torch.ones(1, 1, 2, 1) for _ in range(3))
    attend, added = torch.nn.functional.scaled_dot_product_attention, torch.tensor([[0.0, -math.log(3)]])
    with AttentionRecorder() as seen:
        attend(query, key, value, attn_mask=added)
        attend(query, key, value, attn_mask=torch.tensor([[True, False]]))
    torch.testing.assert_close(seen.layers[0], torch.tensor([[[0.75, 0.25]] * 2]))
    torch.testing.assert_close(seen.layers[1], torch.tensor([[[1.0, 0.0]] * 2]))
