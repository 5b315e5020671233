"""Occlusion equals a patch after patch, and Captum; its patches cover every pixel, symmetrically.

Score-CAM and Ablation-CAM equal their papers, a feature after feature.
"""

import numpy as np
import pytest
import torch

import support.map_oracles as oracles
from focusmap.heatmaps.drawing import heat_maps
from focusmap.heatmaps.perturbation import N_PATCHES, occlusion, patches, score_cam
from support.mapped_nets import SmallNet, assert_close, images


@pytest.mark.parametrize(("n_dims", "size"), [(2, 10), (3, 6)])
def test_maps_equal_a_patch_after_patch(n_dims, size):
    net, batch = SmallNet(n_dims, "log-sum-exp", channels=2), images(2, n_dims, size, channels=2)
    found = list(patches(batch.shape[2:]))
    expected = np.stack([[oracles.occlusion(net, one, label, found) for label in (1, 2)] for one in batch])
    assert_close(heat_maps(net, batch, "occlusion", labels=(1, 2)).maps, expected, 1e-12)


def test_maps_equal_captum():
    attr = pytest.importorskip("captum.attr")
    net, batch = SmallNet(2), images(2, 2, 32)
    window = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 2, 2)}
    theirs = attr.Occlusion(net).attribute(batch, target=0, **window)
    assert_close(heat_maps(net, batch, "occlusion").maps[:, 0], theirs[:, 0].numpy())


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("head", ["linear", "log-sum-exp"])
def test_score_cam_and_ablation_cam_equal_a_feature_after_feature(head, n_dims):
    net, batch = SmallNet(n_dims, head, channels=2), images(2, n_dims, channels=2)
    with torch.no_grad():
        features = net.features(batch)
    for method, oracle in (
        ("scorecam", lambda i, label: oracles.score_cam(net, batch[i], features[[i]], label)),
        ("ablationcam", lambda i, label: oracles.ablation_cam(net.classify, features[[i]], label)),
    ):
        expected = np.stack([[oracle(i, label) for label in (2, 0)] for i in range(2)])
        assert_close(heat_maps(net, batch, method, labels=(2, 0)).maps, expected, 1e-10)


def test_score_cam_gives_a_constant_feature_an_empty_mask():
    features = torch.stack([torch.ones(3, 3), torch.eye(3)])[None]
    maps = score_cam(lambda x: x.mean(dim=(2, 3)), torch.ones(1, 1, 6, 6), features, [0])
    weights = torch.softmax(torch.tensor([0.0, float(_enlarged(torch.eye(3)).mean())]), dim=0)
    torch.testing.assert_close(maps[0, 0], weights[0] + weights[1] * torch.eye(3))


def _enlarged(feature):
    return torch.nn.functional.interpolate(feature[None, None], (6, 6), mode="bilinear")


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
