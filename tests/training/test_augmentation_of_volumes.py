"""Augmented volumes: as images, slice by slice, where that can be; a function of (seed, epoch, index) alone."""

import numpy as np
import pytest
import torch

from focusmap.study import Augmentation
from focusmap.training.augmentation import augment

NOTHING = Augmentation(shift=0, rotate_degrees=0, scale=0, brightness=0, contrast=0, noise=0, cutout=0)
EVERYTHING = Augmentation(cutout=0.25, mirror=True, shear_degrees=8, elastic=0.03, gamma=0.3, blur=0.8)
IN_PLANE = Augmentation(shift=0.1, rotate_degrees=20, scale=0.15, noise=0, mirror=True, shear_degrees=8, gamma=0.3)
INDICES = np.array([3, 17, 4, 100_000])


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(4, 2, 12, 10, 6, generator=torch.Generator().manual_seed(0))


def test_a_batch_equals_one_by_one_and_repeats(batch: torch.Tensor) -> None:
    together = augment(batch, EVERYTHING, 5, 2, INDICES)
    assert torch.equal(together, augment(batch, EVERYTHING, 5, 2, INDICES))
    for i, index in enumerate(INDICES):
        assert torch.equal(augment(batch[i : i + 1], EVERYTHING, 5, 2, np.array([index]))[0], together[i])


@pytest.mark.parametrize(("seed", "epoch", "indices"), [(6, 2, INDICES), (5, 3, INDICES), (5, 2, INDICES + 1)])
def test_seed_epoch_and_index_each_matter(batch: torch.Tensor, seed: int, epoch: int, indices: np.ndarray) -> None:
    other, reference = augment(batch, EVERYTHING, seed, epoch, indices), augment(batch, EVERYTHING, 5, 2, INDICES)
    assert all(not torch.equal(a, b) for a, b in zip(other, reference, strict=True))


def test_all_turned_off_changes_nothing(batch: torch.Tensor) -> None:
    assert torch.equal(augment(batch, NOTHING, 0, 0, INDICES), batch)


def test_a_volume_of_equal_slices_is_changed_as_the_image_is() -> None:
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    volumes = images.transpose(2, 3)[..., None].expand(-1, -1, -1, -1, 5).contiguous()
    found = augment(volumes, IN_PLANE, 5, 2, INDICES)
    expected = augment(images, IN_PLANE, 5, 2, INDICES)
    for k in range(5):
        torch.testing.assert_close(found[..., k].transpose(2, 3), expected, atol=1e-4, rtol=1e-4)


def test_the_third_axis_is_moved_too() -> None:
    volume = torch.zeros(1, 1, 8, 8, 20)
    volume[..., 10] = 1.0
    moved = [
        int(augment(volume, Augmentation(shift=0.3, rotate_degrees=0, scale=0, brightness=0, contrast=0, noise=0), 0,
                    0, np.array([i]))[0, 0, 4, 4].argmax())
        for i in range(30)
    ]  # fmt: skip
    assert max(moved) >= 14
    assert min(moved) <= 6
    assert all(4 <= place <= 16 for place in moved)


def test_a_hole_is_a_cube() -> None:
    blanked = augment(
        torch.ones(1, 1, 40, 40, 40), Augmentation(**{**vars(NOTHING), "cutout": 0.25}), 0, 1, INDICES[:1]
    )
    hole = np.argwhere(blanked[0, 0].numpy() == 0)
    assert all(np.ptp(hole, axis=0) + 1 <= 10)
    assert len(hole) == np.prod(np.ptp(hole, axis=0) + 1)
