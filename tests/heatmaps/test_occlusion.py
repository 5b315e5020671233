"""Occlusion equals a patch after patch, and Captum; its patches cover every pixel, symmetrically."""

import map_oracles as oracles
import numpy as np
import pytest
import torch
from mapped_nets import SmallNet, close, net_of, pictures

from focusmap.heatmaps import heat_maps
from focusmap.heatmaps.perturbation import N_PATCHES, occlusion, patches


@pytest.mark.parametrize(("n_dims", "size"), [(2, 10), (3, 6)])
def test_maps_equal_a_patch_after_patch(n_dims, size):
    net, batch = SmallNet(n_dims, "log-sum-exp", channels=2), pictures(2, n_dims, size, channels=2)
    found = list(patches(batch.shape[2:]))
    expected = np.stack([[oracles.occlusion(net, one, label, found) for label in (1, 2)] for one in batch])
    close(heat_maps(net, batch, "occlusion", labels=(1, 2)).maps, expected, 1e-12)


def test_maps_equal_captum():
    attr = pytest.importorskip("captum.attr")
    net, batch = net_of("small-residual"), pictures(2, 2, 32).float()
    window = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 2, 2)}
    theirs = attr.Occlusion(net).attribute(batch, target=0, **window)
    close(heat_maps(net, batch, "occlusion").maps[:, 0], theirs[:, 0].numpy())


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (28, 28), (32, 32), (100, 101), (224, 320), (6, 40, 64)])
def test_patches_cover_all_and_are_symmetric(shape):
    found = list(patches(shape))
    assert len(found) <= N_PATCHES
    covered = np.zeros(shape, int)
    for patch in found:
        covered[patch] += 1
    assert covered.min() >= 1
    for axis, length in enumerate(shape):
        sides = {(patch[axis].start, patch[axis].stop) for patch in found}
        assert {(length - stop, length - start) for start, stop in sides} == sides
        assert all(stop <= length for _, stop in sides)


def test_hiding_what_speaks_against_gives_a_negative_value():
    maps = occlusion(lambda x: -x.flatten(1).sum(dim=1, keepdim=True), torch.ones(1, 1, 32, 32), [0])
    assert torch.equal(maps, torch.full((1, 1, 32, 32), -16.0))
