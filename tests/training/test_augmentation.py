"""Augmentation depends on seed, epoch and image alone, and does what its settings say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focusmap.study import Augmentation
from focusmap.training.augmentation import augment, draw, draw_partners

NOTHING = Augmentation(shift=0, rotate_degrees=0, scale=0, brightness=0, contrast=0, noise=0, cutout=0)
EVERYTHING = Augmentation(cutout=0.25, mirror=True, shear_degrees=8, elastic=0.03, gamma=0.3, blur=0.8)
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
    assert not draw(limits, 0, 0, np.arange(2)).displacement.any()
    product = linear @ linear.transpose(1, 2)
    area = torch.linalg.det(linear)
    assert torch.allclose(product, area.abs()[:, None, None] * torch.eye(2).double(), atol=1e-6)
    assert float((1 / area.abs().sqrt()).max()) <= 1.2 + 1e-6
    assert 60 < int((area < 0).sum()) < 140
    assert bool((linear[:, 1, 1] / area.abs().sqrt() >= np.cos(np.radians(30)) - 1e-6).all())


def test_mirroring_is_off_unless_asked_for() -> None:
    assert bool((torch.linalg.det(draw(Augmentation(), 0, 0, np.arange(200)).geometry[:, :, :2]) > 0).all())


def test_a_mirrored_image_is_the_mirror_image(batch: torch.Tensor) -> None:
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


def test_what_was_drawn_before_there_was_more_to_draw_is_drawn_still() -> None:
    """Runs of earlier versions go on as they began: new kinds of change take numbers after the old ones."""
    key = np.array([5, (2 << 32) | 3], dtype=np.uint64)
    first = np.random.Generator(np.random.Philox(key=key)).random(10)
    draws = draw(Augmentation(), 5, 2, INDICES[:1])
    assert float(draws.brightness[0]) == pytest.approx(0.15 * (2 * first[4] - 1), rel=1e-6)
    assert float(draws.hole[0, 1]) == pytest.approx(first[8], rel=1e-6)


def test_shear_leans_upright_lines_and_keeps_areas_and_level_ones() -> None:
    limits = replace(NOTHING, shear_degrees=20)
    linear = draw(limits, 0, 0, np.arange(300)).geometry[:, :, :2].double()
    assert torch.allclose(torch.linalg.det(linear), torch.ones(300).double(), atol=1e-6)
    assert torch.allclose(linear[:, :, 0], torch.tensor([1.0, 0.0]).double().expand(300, 2), atol=1e-6)
    lean = linear[:, 0, 1].atan().rad2deg().abs()
    assert 19 < float(lean.max()) <= 20


def test_elastic_moves_places_by_no_more_than_asked_and_neighbours_alike() -> None:
    rows = torch.arange(64.0)[None, None, :, None].expand(20, 1, 64, 64).contiguous()
    moved = augment(rows, replace(NOTHING, elastic=0.05), 0, 0, np.arange(20)) - rows
    # Cubic curves swing a little beyond the places that they pass.
    inner = moved[:, :, 8:-8, 8:-8].abs()
    assert 0.5 * 0.05 * 64 < float(inner.max()) <= 1.3 * 0.05 * 64
    assert float(moved[:, :, 8:-8, 1:].sub(moved[:, :, 8:-8, :-1]).abs().max()) < 0.5
    assert len({round(float(one.sum()), 3) for one in moved}) == 20


def test_gamma_by_hand_keeps_darkest_and_brightest(batch: torch.Tensor) -> None:
    limits = replace(NOTHING, gamma=0.5)
    exponents = draw(limits, 5, 2, INDICES).gamma
    changed = augment(batch, limits, 5, 2, INDICES)
    for image, new, exponent in zip(batch, changed, exponents, strict=True):
        low, high = image.min(), image.max()
        assert torch.allclose(new, low + (high - low) * ((image - low) / (high - low)) ** exponent, atol=1e-5)
    many = draw(limits, 0, 0, np.arange(400)).gamma
    assert 1.45 < float(many.max()) <= 1.5
    assert float(many.min()) >= 1 / 1.5 - 1e-6
    assert float(many.log().mean().abs()) < 0.05


def test_gamma_leaves_an_image_of_one_value_alone() -> None:
    flat = torch.full((4, 1, 8, 8), 3.0)
    assert torch.allclose(augment(flat, replace(NOTHING, gamma=0.5), 5, 2, INDICES), flat)


def test_blur_is_scipys_gaussian(batch: torch.Tensor) -> None:
    from scipy.ndimage import gaussian_filter

    limits = replace(NOTHING, blur=1.5)
    draws = draw(limits, 5, 2, INDICES)
    changed = augment(batch, limits, 5, 2, INDICES)
    for image, new, sigma in zip(batch.numpy(), changed.numpy(), draws.blur.tolist(), strict=True):
        expected = gaussian_filter(image[0].astype(np.float64), sigma, mode="nearest", radius=draws.blur_radius)
        assert np.allclose(new[0], expected, atol=1e-5)


def test_partners_depend_on_the_image_alone_and_shares_are_betas() -> None:
    partners, shares = draw_partners(0.4, 1, 2, np.arange(2000), 50)
    again, same = draw_partners(0.4, 1, 2, np.array([7, 1999]), 50)
    assert np.array_equal(again, partners[[7, 1999]])
    assert np.array_equal(same, shares[[7, 1999]])
    assert set(partners) == set(range(50))
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)
    assert not np.array_equal(draw_partners(0.4, 1, 3, np.arange(2000), 50)[0], partners)
