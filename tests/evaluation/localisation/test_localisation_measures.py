"""Measures of one map against one mask equal their definitions, pixel by pixel, in two and three dimensions."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import support.localisation_oracles as slow
from focusmap.evaluation.localisation.measures import (
    MapOnMask,
    area_threshold,
    best_threshold,
    dice_at,
    iou_at,
    measure,
    otsu_threshold,
)
from focusmap.evaluation.localisation.summary import random_map

SHAPES = [(9, 7), (5, 6, 4)]
# A perfect score, and that of a map upside down, with a mask of a quarter of the image.
QUARTER = np.arange(64).reshape(8, 8) < 16
PERFECT = {"pointing_hit": 1, "energy_pointing": 1, "energy_ratio": 4, "rank_accuracy": 1, "auprc": 1, "iou": 1,
           "dice": 1, "miou": 1, "iou_best": 1, "dice_best": 1, "chance": 0.25}  # fmt: skip
INVERTED = {"pointing_hit": 0, "energy_pointing": 0, "energy_ratio": 0, "rank_accuracy": 0, "auprc": 0.25, "iou": 0,
            "dice": 0, "miou": 0, "iou_best": 0.25, "dice_best": 0.4, "chance": 0.25}  # fmt: skip
# One value everywhere: nothing is pointed at, no region is shown, and what ranks pixels scores chance.
CONSTANT = {"pointing_hit": 0, "energy_pointing": 0.25, "energy_ratio": 1, "rank_accuracy": 0.25, "auprc": 0.25,
            "iou": 0, "dice": 0, "miou": np.nan, "iou_best": 0.25, "dice_best": 0.4, "chance": 0.25}  # fmt: skip


def drawn(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A map whose values tie, for every second seed, and a mask that is not empty."""
    rng = np.random.default_rng(seed)
    heat_map = rng.normal(size=shape) if seed % 2 else rng.integers(-2, 3, size=shape).astype(np.float32)
    return heat_map, rng.random(shape) < 0.3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_measures_equal_their_definitions(shape, seed):
    heat_map, mask = drawn(shape, seed)
    pixels, pair = slow.pixels_of(heat_map, mask), MapOnMask.of(heat_map, mask)
    found, otsu = measure(pair), otsu_threshold(pair)
    for name in ("pointing_hit", "chance", "energy_pointing", "rank_accuracy"):
        assert found[name] == pytest.approx(getattr(slow, name)(pixels)), name
    assert found["auprc"] == pytest.approx(slow.pixel_auprc(pixels))
    assert found["energy_ratio"] == pytest.approx(slow.energy_pointing(pixels) / slow.chance(pixels))
    assert (found["iou"], found["dice"]) == pytest.approx((slow.iou_at(pixels, otsu), slow.dice_at(pixels, otsu)))
    assert found["iou_best"] == pytest.approx(slow.best_iou(pixels))
    assert found["dice_best"] == pytest.approx(max(slow.dice_at(pixels, threshold) for threshold, _ in pixels))


@pytest.mark.parametrize(
    ("heat_map", "expected"),
    [(QUARTER * 1.0, PERFECT), (~QUARTER * 1.0, INVERTED), (np.ones((8, 8)), CONSTANT)],
    ids=["perfect", "inverted", "constant"],
)
def test_closed_forms(heat_map, expected):
    assert measure(MapOnMask.of(heat_map, QUARTER)) == pytest.approx(expected, nan_ok=True)


def test_a_map_without_evidence_has_no_energy():
    assert measure(MapOnMask.of(np.zeros((8, 8)), QUARTER))["energy_pointing"] == 0


def test_every_measure_of_an_empty_mask_is_undefined():
    found = measure(MapOnMask.of(np.eye(8), np.zeros((8, 8), bool)))
    assert all(np.isnan(value) for value in found.values())


@given(st.integers(0, 1000), st.sampled_from([0.25, 4.0]), st.permutations(range(24)))
def test_only_order_and_membership_count(seed, scale, places):
    """Pixels that change places together change nothing; a map that is scaled changes nothing."""
    heat_map, mask = drawn((24,), seed)
    if mask.any():
        moved = MapOnMask.of(scale * heat_map[places].reshape(2, 3, 4), mask[places].reshape(2, 3, 4))
        assert measure(moved) == pytest.approx(measure(MapOnMask.of(heat_map, mask)), nan_ok=True)


@given(st.integers(0, 1000))
def test_no_cut_is_better_than_the_best_one(seed):
    heat_map, mask = drawn((6, 5), seed)
    pair = MapOnMask.of(heat_map, mask)
    if mask.any():
        best = iou_at(pair, best_threshold(pair))
        assert all(iou_at(pair, threshold) <= best for threshold in (otsu_threshold(pair), *heat_map.ravel()))
        assert dice_at(pair, best_threshold(pair)) == pytest.approx(2 * best / (1 + best))


@pytest.mark.parametrize("seed", range(4))
def test_pixel_auprc_is_that_of_scikit_learn(seed):
    heat_map, mask = drawn((20, 30), seed)
    expected = average_precision_score(mask.ravel(), heat_map.ravel())
    assert measure(MapOnMask.of(heat_map, mask))["auprc"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_otsu_splits_with_the_least_variance_within(seed):
    """Otsu 1979: the cut with the greatest variance between is that with the least within; tried on every value."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 1, 300), rng.normal(6, 1, 100)])

    def within(threshold: float) -> float:
        low, high = values[values < threshold], values[values >= threshold]
        return float(len(low) * low.var() + len(high) * high.var())

    best = min(within(threshold) for threshold in np.sort(values)[1:])
    assert within(otsu_threshold(MapOnMask.of(values, values > 6))) == pytest.approx(best, rel=0.02)


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_otsu_moves_with_the_map(scale, shift):
    values = np.random.default_rng(0).normal(size=200)
    moved = scale * values + shift
    threshold, moved_threshold = (otsu_threshold(MapOnMask.of(one, values > 1)) for one in (values, moved))
    np.testing.assert_array_equal(moved >= moved_threshold, values >= threshold)


@pytest.mark.parametrize("seed", range(4))
def test_mean_iou_is_that_of_chexlocalize(seed):
    """Its definition: the map from 0 to 255 as bytes, cut by OpenCV's Otsu, IoU where mask and region are not empty."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((64, 48), bool)
    mask[10:30, 8:30] = True
    heat_map = cv2.GaussianBlur(mask * 3.0, (0, 0), 5) + rng.normal(0, 0.2, mask.shape)
    as_bytes = (255 * (heat_map - heat_map.min()) / np.ptp(heat_map)).astype(np.uint8)
    region = cv2.threshold(as_bytes, 0, 255, cv2.THRESH_OTSU)[1] > 0
    expected = (region & mask).sum() / (region | mask).sum()
    assert measure(MapOnMask.of(heat_map, mask))["miou"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("n", [0, 1, 7, 24])
def test_a_region_of_an_area_has_that_area(n):
    pair = MapOnMask.of(np.random.default_rng(0).random((6, 4)), QUARTER[:6, :4])
    assert pair.reaching(area_threshold(pair, n))[0] == n


def test_a_random_map_scores_chance():
    mask = np.zeros((20, 20), bool)
    mask[:10, :4] = True
    found = [measure(MapOnMask.of(random_map(mask.shape, (0, i)), mask)) for i in range(1000)]
    for name in ("pointing_hit", "energy_pointing", "rank_accuracy"):
        assert np.mean([one[name] for one in found]) == pytest.approx(0.1, abs=0.03), name
