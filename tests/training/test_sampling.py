"""Epochs show rare images as often as asked, and depend on seed, epoch and labels alone."""

import numpy as np
import pytest

from focusmap.study import Target, Task
from focusmap.training.batches import SAMPLINGS, draw_epoch, epoch_order, expected_draws, rarity_of

BINARY = Task((Target("a"),))
RARE = np.array([[1.0]] * 6 + [[0.0]] * 54)
TWO = Task((Target("a"), Target("b", "multiclass", ("x", "y", "z")), Target("c", "continuous")))


def counts(sampling, rarity, n_epochs=400):
    drawn = [draw_epoch(rarity, sampling, 0, epoch).positions for epoch in range(n_epochs)]
    return np.mean([np.bincount(positions, minlength=len(rarity)) for positions in drawn], axis=0)


def test_all_is_every_image_once_in_the_order_that_it_always_was():
    drawn = draw_epoch(rarity_of(BINARY, RARE), "all", 3, 7)
    assert np.array_equal(drawn.positions, epoch_order(60, 3, 7))
    assert not drawn.copies.any()


@pytest.mark.parametrize("sampling", list(SAMPLINGS))
def test_an_epoch_repeats_and_others_differ(sampling):
    rarity = rarity_of(BINARY, RARE)
    first, again = (draw_epoch(rarity, sampling, 1, 2).positions for _ in range(2))
    assert np.array_equal(first, again)
    for seed, epoch in ((1, 3), (2, 2)):
        other = draw_epoch(rarity, sampling, seed, epoch).positions
        assert len(other) != len(first) or not np.array_equal(other, first)


@pytest.mark.parametrize(("sampling", "n"), [("weighted", 60), ("over", 108), ("under", 12)])
def test_one_target_is_balanced(sampling, n):
    often = counts(sampling, rarity_of(BINARY, RARE))
    assert often[:6].sum() == pytest.approx(n / 2, rel=0.05)
    assert often[6:].sum() == pytest.approx(n / 2, rel=0.05)


@pytest.mark.parametrize("sampling", list(SAMPLINGS))
def test_images_come_as_often_as_expected(sampling):
    generator = np.random.default_rng(0)
    truth = np.stack([generator.random(30) < 0.2, generator.integers(0, 3, 30), generator.normal(size=30)], 1)
    rarity = rarity_of(TWO, truth)
    assert counts(sampling, rarity) == pytest.approx(expected_draws(rarity, sampling), abs=0.3)


def test_the_rarest_class_of_an_image_counts_and_unknown_ones_do_not():
    truth = np.array([[0, 0, 9.0], [0, 0, 1.0], [0, 0, 2.0], [1, 1, 3.0], [np.nan, 1, 4.0], [0, np.nan, np.nan]])
    assert rarity_of(TWO, truth).tolist() == [1, 1, 1, 4, 1.5, 1]


def test_copies_are_numbered():
    drawn = draw_epoch(rarity_of(BINARY, RARE), "over", 0, 0)
    for position in range(60):
        mine = drawn.copies[drawn.positions == position]
        assert mine.tolist() == list(range(len(mine)))
    assert drawn.copies.max() == 8
