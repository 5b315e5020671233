"""XRAI equals the paper's greedy ranking of segments, adds up to its attributions, and finds a planted region."""

import numpy as np
import pytest
import torch
from scipy import ndimage

import support.map_oracles as oracles
from focusmap.heatmaps.drawing import heat_maps
from focusmap.heatmaps.gradients import (
    LEAST_ADDED,
    N_STEPS,
    PAPER_SIDE,
    attributions_of,
    membership,
    over_segmentations,
)
from support.mapped_nets import SmallNet, assert_close, images


def blobs(n_dims, size, seed=0):
    """An image ``(1, 1, *spatial)`` of smooth shapes, which have segments worth the name."""
    noise = np.random.default_rng(seed).standard_normal([1, 1, *[size] * n_dims])
    return torch.from_numpy(ndimage.gaussian_filter(noise, [0, 0, *[2] * n_dims]) * 10)


@pytest.mark.parametrize(("n_dims", "size"), [(2, 40), (3, 10)])
def test_maps_equal_the_papers_algorithm(n_dims, size):
    net, image = SmallNet(n_dims, "log-sum-exp"), blobs(n_dims, size)
    radius, least = round(5 * size / 224), max(round(LEAST_ADDED * size**n_dims / PAPER_SIDE**2), 1)
    segments = [
        oracles.grown(labels == number, radius)
        for labels in over_segmentations(image[0].numpy())
        for number in range(1, labels.max() + 1)
    ]
    assert len(segments) > 20
    low, high = (torch.full_like(image[0], float(end)) for end in (image.min(), image.max()))
    black = oracles.path_integral(net, image[0], low, 2, N_STEPS // 2)
    white = oracles.path_integral(net, image[0], high, 2, N_STEPS // 2)
    expected = oracles.xrai((black + white) / 2, segments, least)
    assert len(np.unique(expected)) > 5
    assert_close(heat_maps(net, image, "xrai", [2]).maps[0, 0], expected, 1e-10)


def test_attributions_equal_captum():
    attr = pytest.importorskip("captum.attr")
    net, batch = SmallNet(2, "log-sum-exp", channels=3), images(2, 2, channels=3)
    theirs = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    for end in (batch.amin, batch.amax):
        start = end(dim=(1, 2, 3), keepdim=True).expand_as(batch)
        settings = {"n_steps": N_STEPS // 2, "method": "riemann_middle"}
        theirs += attr.IntegratedGradients(net).attribute(batch, start, target=1, **settings).detach() / 2
    assert_close(attributions_of(net, batch, [1])[:, 0], theirs.sum(dim=1).numpy(), 1e-7)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_no_attribution_is_lost(n_dims):
    net, batch = SmallNet(n_dims), blobs(n_dims, 12)
    found, attributions = heat_maps(net, batch, "xrai").maps, attributions_of(net, batch, range(3))
    torch.testing.assert_close(found.flatten(2).sum(dim=2), attributions.flatten(2).sum(dim=2))


def test_a_bright_square_that_the_net_answers_to_is_one_region():
    image = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    image[..., 20:40, 24:44] = 3
    image += 0.01 * images(1, 2, 64)

    class Bright(torch.nn.Module):
        def features(self, x):
            return x.clamp(min=1)

        def classify(self, features):
            return features.flatten(2).mean(dim=2)

    maps = heat_maps(Bright().eval(), image, "xrai").maps[0, 0]
    assert float(maps[22:38, 26:42].min()) > 5 * float(maps[:14, :18].max())


def test_a_constant_image_is_one_segment_at_every_scale():
    segments = membership(np.zeros((1, 16, 16)))
    assert segments.shape == (6, 256)
    assert segments.nnz == 6 * 256
