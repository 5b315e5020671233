"""Slices to volumes: pools between mean and max, labels of any slice, and truths that contradict each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusmap.basics import InputError
from focusmap.evaluation.case_pooling import POOLS, pool_cases
from focusmap.evaluation.predictions import Predictions
from focusmap.study import Target, Task

TASK = Task((Target("tumour"), Target("kind", "multiclass", ("x", "y", "z")), Target("age", "continuous")))


def slices(logits, cases):
    n = len(logits)
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "path": "a.png", "patient_id": "p", "case_id": cases})
    return Predictions(TASK, ids, logits, TASK.probabilities(logits))


@given(st.integers(1, 9), st.integers(0, 99))
def test_attention_lies_between_mean_and_max_and_one_slice_is_itself(n, seed):
    logits = np.random.default_rng(seed).normal(0, 3, (n, 4))
    mean, most, attention = (POOLS[how](logits) for how in ("mean", "max", "attention"))
    assert (mean - 1e-9 <= attention).all()
    assert (attention <= most + 1e-9).all()
    for how in POOLS:
        np.testing.assert_allclose(POOLS[how](logits[:1]), logits[0])
        np.testing.assert_allclose(POOLS[how](np.repeat(logits, 3, axis=0)), POOLS[how](logits))


def test_each_case_is_pooled_alone_in_the_order_that_it_comes():
    logits = np.arange(25, dtype=float).reshape(5, 5)
    truth = np.array([[0, 1, 40], [1, 1, 40], [0, 2, 50], [np.nan, 2, 50], [np.nan, 0, np.nan]], dtype=float)
    found, known = pool_cases(slices(logits, ["b", "b", "a", "a", "c"]), truth, "max")
    assert found.ids["image_id"].tolist() == ["b", "a", "c"]
    np.testing.assert_array_equal(found.logits[:, :4], logits[[1, 3, 4], :4])
    np.testing.assert_array_equal(found.logits[:, 4], [6.5, 16.5, 24])  # a continuous value is the mean
    np.testing.assert_array_equal(known, [[1, 1, 40], [0, 2, 50], [np.nan, 0, np.nan]])


def test_what_cannot_be_pooled_is_said():
    one = slices(np.zeros((2, 5)), ["a", "a"])
    with pytest.raises(InputError, match="case a: its images differ in kind"):
        pool_cases(one, np.array([[0, 1, 5], [0, 2, 5]], dtype=float), "mean")
    with pytest.raises(InputError, match="Did you mean 'mean'"):
        pool_cases(one, np.zeros((2, 3)), "meen")
    without = Predictions(TASK, one.ids.drop(columns="case_id"), one.logits, one.probabilities)
    with pytest.raises(InputError, match="--case COL"):
        pool_cases(without, np.zeros((2, 3)), "mean")
