"""Stacking weighs two answers as a regression does, and is their mean where tune cannot say."""

import numpy as np
import pytest

from focusmap.fitting.fit_nets import stack_of
from focusmap.study import Target

RNG = np.random.default_rng(0)


def answer(stack, both):
    return both @ np.array(stack["weights"]).T + np.array(stack["bias"])


def test_the_answer_that_knows_weighs_more():
    truth = RNG.normal(300, 60, 400)
    good, bad = truth + RNG.normal(0, 5, 400), RNG.normal(300, 60, 400)
    both = np.stack([good, bad], axis=1)
    stack = stack_of(Target("CST", "continuous"), both, truth)
    assert stack["weights"][0][0] == pytest.approx(1, abs=0.05)
    assert abs(stack["weights"][0][1]) < 0.05
    assert np.abs(answer(stack, both)[:, 0] - truth).mean() < 5


def test_few_rows_of_tune_leave_the_mean():
    truth = np.array([310.0, 290.0])
    stack = stack_of(Target("CST", "continuous"), truth[:, None] + np.array([[5.0, 8.0], [-4.0, 9.0]]), truth)
    np.testing.assert_allclose(stack["weights"], [[0.5, 0.5]], atol=0.25)


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
@pytest.mark.parametrize("n", [2, 3])
def test_classes_keep_their_order_among_the_logits(kind, n):
    target = Target("grade", kind, tuple("abc"[:n]))
    truth = RNG.integers(n, size=300).astype(float)
    good = 4 * (truth[:, None] == np.arange(n)) + RNG.normal(0, 1, (300, n))
    stack = stack_of(target, np.hstack([good, RNG.normal(0, 1, (300, n))]), truth)
    assert np.shape(stack["weights"]) == (n, 2 * n)
    assert (answer(stack, np.hstack([good, np.zeros((300, n))])).argmax(axis=1) == truth).mean() > 0.9


def test_a_binary_answer_of_two_equal_ones_is_between_them_and_unknown_truth_has_no_say():
    truth = RNG.integers(2, size=200).astype(float)
    both = np.repeat((2 * truth - 1 + RNG.normal(0, 1, 200))[:, None], 2, axis=1)
    stack = stack_of(Target("sick"), both, truth)
    assert stack["weights"][0][0] == pytest.approx(stack["weights"][0][1], rel=1e-3)
    unknown = np.concatenate([truth, np.full(50, np.nan)])
    padded = np.concatenate([both, RNG.normal(0, 9, (50, 2))])
    assert stack_of(Target("sick"), padded, unknown) == stack


@pytest.mark.parametrize("truth", [np.zeros(5), np.full(5, np.nan), np.array([0.5, 0.2, 1.0, 0.0, 0.1])])
def test_without_both_classes_the_answer_is_the_mean(truth):
    stack = stack_of(Target("sick"), RNG.normal(size=(5, 2)), truth)
    assert stack == {"weights": [[0.5, 0.5]], "bias": [0.0]}
