"""Seeds on a stated scale: their thresholds are those of an exhaustive search, and no mask chooses them unasked."""

import numpy as np
import pytest

from focusmap.basics import InputError
from focusmap.segmentation.seeds import (
    N_BINS,
    SeedThresholds,
    noise_level,
    otsu_thresholds,
    raised,
    scaled,
    seed_thresholds,
    seed_thresholds_by_masks,
    seeds_of,
    standing_out,
)


def exhaustive(counts: np.ndarray) -> tuple[int, int]:
    """The two thresholds that leave the least variance within three classes."""
    values = np.arange(len(counts)) + 0.5

    def within(part: slice) -> float:
        n = counts[part].sum()
        mean = (counts[part] * values[part]).sum() / n if n else 0.0
        return float((counts[part] * (values[part] - mean) ** 2).sum())

    pairs = [(a, b) for a in range(1, len(counts)) for b in range(a + 1, len(counts))]
    return min(
        pairs,
        key=lambda threshold: sum(
            within(slice(*ends)) for ends in ((0, threshold[0]), threshold, (threshold[1], len(counts)))
        ),
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_cuts_leave_the_least_variance_within_three_classes(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(1, 50, 12).astype(float)
    assert otsu_thresholds(counts) == exhaustive(counts)


@pytest.mark.parametrize("shape", [(9, 7), (4, 5, 3)])
def test_a_map_becomes_seeds_whatever_its_unit(shape: tuple[int, ...]) -> None:
    heat_map = np.random.default_rng(0).normal(size=shape)
    thresholds = SeedThresholds(0.2, 0.6)
    marked = seeds_of(scaled(heat_map), thresholds)
    assert scaled(heat_map).max() == 1
    assert (seeds_of(scaled(7 * heat_map), thresholds) == marked).all()
    assert (marked[heat_map <= 0] == 0).all()
    assert (marked[heat_map >= 0.6 * heat_map.max()] == 1).all()
    assert set(np.unique(marked)) == {-1, 0, 1}


def test_maps_without_values_choose_nothing() -> None:
    assert seed_thresholds([np.zeros((4, 4))]) == SeedThresholds(0.3, 0.6)
    assert (seeds_of(scaled(np.full((3, 3), -1.0)), SeedThresholds(0.3, 0.6)) == 0).all()


def test_cuts_count_the_cases_and_the_masks_that_chose_them() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((16, 16), bool)
    mask[4:9, 5:11] = True
    maps = [scaled(0.7 * mask + 0.3 * rng.random(mask.shape)) for _ in range(3)]
    thresholds = seed_thresholds(maps)
    assert (thresholds.n_cases, thresholds.n_masks) == (3, 0)
    assert 0 < thresholds.background < thresholds.foreground < 1
    by_masks = seed_thresholds_by_masks(maps, [mask] * 3)
    assert (by_masks.n_cases, by_masks.n_masks) == (3, 3)
    assert all(((heat_map >= by_masks.foreground) == mask).all() for heat_map in maps)
    assert round(thresholds.background * N_BINS) == thresholds.background * N_BINS


@pytest.mark.parametrize("unit", [1.0, 30.0])
def test_cuts_are_not_below_what_maps_reach_without_a_lesion(unit: float) -> None:
    """A lesion of 8 in 4,096 voxels on noise: Otsu's method parts the noise, cases without a lesion tell of it."""
    rng = np.random.default_rng(0)
    mask = np.zeros((16, 16, 16), bool)
    mask[4:6, 5:7, 6:8] = True
    with_lesion = [unit * (rng.random(mask.shape) * 0.5 + 0.5 * mask) for _ in range(6)]
    without = [unit * rng.random(mask.shape) * 0.5 for _ in range(6)]
    noise = noise_level(with_lesion, without)
    assert noise == pytest.approx(0.495 / np.median([heat_map.max() for heat_map in with_lesion]) * unit, rel=0.01)
    maps = [scaled(heat_map) for heat_map in with_lesion]
    by_otsu = seed_thresholds(maps)
    thresholds = raised(by_otsu, noise)
    assert (by_otsu.background + by_otsu.foreground) / 2 < noise
    assert (thresholds.background + thresholds.foreground) / 2 == pytest.approx(noise)
    assert thresholds.n_cases == 6
    assert all((heat_map >= thresholds.foreground)[~mask].mean() < 0.01 for heat_map in maps)


def test_without_cases_without_a_lesion_and_without_maps_there_is_no_noise() -> None:
    empty, heat_map = np.zeros((3, 3)), np.ones((3, 3))
    assert noise_level([heat_map], []) == noise_level([empty], [heat_map]) == noise_level([], [heat_map]) == 0
    assert raised(SeedThresholds(0.2, 0.6), 5.0) == SeedThresholds(0.95, 0.95)


def test_cuts_out_of_order_are_refused() -> None:
    with pytest.raises(InputError, match="background at or below foreground"):
        SeedThresholds(0.7, 0.6)


def test_evidence_that_every_image_has_at_a_place_is_no_mark_of_a_lesion():
    rng = np.random.default_rng(0)
    without = [0.1 * rng.random((8, 8)) for _ in range(40)]
    lesion = 0.1 * rng.random((8, 8))
    for heat_map in (*without, lesion):
        heat_map[0, :2] = 0.3 + 0.02 * rng.random(2)
    lesion[4:6, 4:6] = 0.4
    found = standing_out([lesion], without)[0]
    np.testing.assert_array_equal(found, lesion > np.quantile(without, 0.99, axis=0))
    assert found[4:6, 4:6].all()
    assert not found[0, :2].any()
    assert np.count_nonzero(found) <= 4 + 3, "chance alone, as in one of a hundred"
    assert standing_out([lesion], without[:19]).all()
