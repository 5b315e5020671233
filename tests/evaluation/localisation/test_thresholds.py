"""Thresholds of focus maps: by masks the best mean IoU, without masks the smallest region that keeps the evidence."""

import numpy as np
import pytest

from focusmap.evaluation.localisation.measures import (
    KEPT_SHARE,
    THRESHOLDS,
    MapOnMask,
    iou_at,
    iou_at_thresholds,
    kept_at_thresholds,
    threshold_by_evidence,
    threshold_by_masks,
)

SHAPES = [(9, 7), (5, 6, 4)]


def drawn(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(shape, dtype=np.float32), rng.random(shape) < 0.3


def planted(background: float, lesion: float, side: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """A map of a background and a lesion of 16 pixels, and the lesion's mask."""
    mask = np.zeros((side, side), bool)
    mask[4:8, 10:14] = True
    return np.where(mask, lesion, background).astype(np.float32), mask


def iou(heat_map: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    return iou_at(MapOnMask.of(heat_map, mask), threshold)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_all_cuts_at_once_equal_one_by_one(shape, seed):
    heat_map, mask = drawn(shape, seed)
    np.testing.assert_allclose(
        iou_at_thresholds(heat_map, mask), [iou(heat_map, mask, threshold) for threshold in THRESHOLDS]
    )
    evidence = [max(value - float(np.median(heat_map)), 0) for value in heat_map.ravel().tolist()]
    for threshold, kept in zip(THRESHOLDS, kept_at_thresholds(heat_map), strict=True):
        inside = sum(e for e, value in zip(evidence, heat_map.ravel(), strict=True) if value >= threshold)
        assert kept == pytest.approx(inside / sum(evidence))


def test_a_smaller_region_never_keeps_more():
    heat_map, _ = drawn((30, 30), 0)
    assert (np.diff(kept_at_thresholds(heat_map)) <= 0).all()


def test_masks_choose_the_cut_that_fits_them_best():
    maps = [drawn((12, 12), seed) for seed in range(4)]
    ious = [iou_at_thresholds(*pair) for pair in maps]
    threshold = threshold_by_masks(ious)
    mean = [np.mean([iou(*pair, other) for pair in maps]) for other in THRESHOLDS]
    assert np.mean([iou(*pair, threshold) for pair in maps]) == pytest.approx(max(mean))


def test_without_masks_the_region_is_that_which_stands_out():
    maps = [planted(0.2, 0.7), planted(0.1, 0.9)]
    threshold = threshold_by_evidence([kept_at_thresholds(heat_map) for heat_map, _ in maps])
    assert 0.2 < threshold <= 0.7
    assert all(iou(heat_map, mask, threshold) == 1 for heat_map, mask in maps)


def test_the_region_keeps_the_share_and_no_higher_cut_does():
    kept = [kept_at_thresholds(drawn((20, 20), seed)[0] ** 4) for seed in range(5)]
    for share in (0.5, KEPT_SHARE, 0.95):
        at = int(np.flatnonzero(threshold_by_evidence(kept, share) == THRESHOLDS)[0])
        mean = np.mean(kept, axis=0)
        assert mean[at] >= share > mean[at + 1]


def test_maps_that_say_nothing_choose_nothing():
    flat = kept_at_thresholds(np.full((4, 4), 0.3))
    assert np.isnan(flat).all()
    heat_map, _ = planted(0.2, 0.7)
    assert threshold_by_evidence([flat, kept_at_thresholds(heat_map)]) == threshold_by_evidence(
        [kept_at_thresholds(heat_map)]
    )
    assert threshold_by_evidence([flat]) == THRESHOLDS[0]
