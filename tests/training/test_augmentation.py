"""Augmentation depends on seed, epoch and image alone, and does what its settings say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focusmap.training.augmentation import augment, draw
from focusmap.values.recipe import Augmentation

NOTHING = Augmentation(shift=0, rotate_degrees=0, scale=0, brightness=0, contrast=0, noise=0, cutout=0)
EVERYTHING = Augmentation(cutout=0.25, mirror=True)
INDICES = np.array([3, 17, 4, 100_000])


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(4, 1, 20, 20, generator=torch.Generator().manual_seed(0))


def test_a_batch_equals_one_by_one(batch: torch.Tensor) -> None:
    together = augment(batch, EVERYTHING, 5, 2, INDICES)
    for i, index in enumerate(INDICES):
        alone = augment(batch[i : i + 1], EVERYTHING, 5, 2, np.array([index]))
        assert torch.equal(alone[0], together[i])


def test_it_repeats_and_leaves_its_argument_and_the_random_state_alone(batch: torch.Tensor) -> None:
    before, state = batch.clone(), torch.random.get_rng_state()
    first = augment(batch, EVERYTHING, 5, 2, INDICES)
    assert torch.equal(first, augment(batch, EVERYTHING, 5, 2, INDICES))
    assert torch.equal(batch, before)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(("seed", "epoch", "indices"), [(6, 2, INDICES), (5, 3, INDICES), (5, 2, INDICES + 1)])
def test_seed_epoch_and_image_each_matter(batch: torch.Tensor, seed: int, epoch: int, indices: np.ndarray) -> None:
    other = augment(batch, EVERYTHING, seed, epoch, indices)
    reference = augment(batch, EVERYTHING, 5, 2, INDICES)
    assert all(not torch.equal(a, b) for a, b in zip(other, reference, strict=True))


def test_all_turned_off_changes_nothing(batch: torch.Tensor) -> None:
    assert torch.equal(augment(batch, NOTHING, 0, 0, INDICES), batch)


def test_draws_stay_within_their_limits_and_fill_them() -> None:
    limits = Augmentation(shift=0.1, rotate_degrees=0, scale=0, brightness=0.3, contrast=0.2, noise=0.5)
    draws = draw(limits, 0, 0, np.arange(500))
    assert 0.19 < float(draws.geometry[:, :, 2].abs().max()) <= 0.2
    assert 0.29 < float(draws.brightness.abs().max()) <= 0.3
    assert 0.19 < float((draws.contrast - 1).abs().max()) <= 0.2
    assert 0.49 < float(draws.noise.max()) <= 0.5
    assert abs(float(draws.brightness.mean())) < 0.03


def test_geometry_keeps_angles_and_turns_by_no_more_than_asked() -> None:
    limits = Augmentation(rotate_degrees=30, scale=0.2, mirror=True)
    linear = draw(limits, 0, 0, np.arange(200)).geometry[:, :, :2].double()
    product = linear @ linear.transpose(1, 2)
    area = torch.linalg.det(linear)
    assert torch.allclose(product, area.abs()[:, None, None] * torch.eye(2).double(), atol=1e-6)
    assert float((1 / area.abs().sqrt()).max()) <= 1.2 + 1e-6
    assert 60 < int((area < 0).sum()) < 140
    assert bool((linear[:, 1, 1] / area.abs().sqrt() >= np.cos(np.radians(30)) - 1e-6).all())


def test_mirroring_is_off_unless_asked_for() -> None:
    assert bool((torch.linalg.det(draw(Augmentation(), 0, 0, np.arange(200)).geometry[:, :, :2]) > 0).all())


def test_a_mirrored_picture_is_the_mirror_image(batch: torch.Tensor) -> None:
    many = batch.repeat(8, 1, 1, 1)
    changed = augment(many, replace(NOTHING, mirror=True), 0, 0, np.arange(32))
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(changed, many, strict=True)]
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-4) for a, b in zip(changed, many, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 8 <= sum(mirrored) <= 24


def test_the_hole_has_the_size_asked_for_or_is_cut_by_the_edge() -> None:
    changed = augment(torch.ones(50, 3, 20, 20), replace(NOTHING, cutout=0.3), 0, 0, np.arange(50))
    holes = (changed == 0).sum(dim=(1, 2, 3)) / 3
    assert int(holes.max()) in range(25, 50)
    assert bool((changed.amin(1) == changed.amax(1)).all())
