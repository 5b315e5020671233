"""Predictions: the columns of the contract, and every digit back from the disk."""

import numpy as np
import pandas as pd
import pytest

from focusmap.errors import InputError
from focusmap.values.predictions import Predictions, read_predictions, write_predictions
from focusmap.values.task import Target, Task

TASK = Task((Target("Effusion"), Target("label", "multiclass", ("a", "b")), Target("CST", "continuous")))


def _predictions(n=5):
    logits = np.random.default_rng(0).normal(size=(n, TASK.n_logits))
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "path": "x.png", "patient_id": "007"})
    return Predictions(TASK, ids, logits, TASK.probabilities(logits))


def test_columns_are_those_of_the_contract():
    assert list(_predictions().to_table()) == [
        "image_id", "path", "patient_id", "Effusion", "Effusion.logit",
        "label", "label=a", "label=a.logit", "label=b", "label=b.logit", "CST", "notice",
    ]  # fmt: skip


def test_written_and_read_back_equal(tmp_path):
    written = _predictions()
    write_predictions(written, tmp_path / "test.csv")
    read = read_predictions(tmp_path / "test.csv", TASK)
    np.testing.assert_array_equal(read.logits, written.logits)
    np.testing.assert_array_equal(read.probabilities, written.probabilities)
    assert read.ids.equals(written.ids.astype(read.ids.dtypes.to_dict()))


def test_a_lost_column_is_named(tmp_path):
    write_predictions(_predictions(), tmp_path / "test.csv")
    with pytest.raises(InputError, match="no column 'Mass'"):
        read_predictions(tmp_path / "test.csv", Task((Target("Mass"),)))
