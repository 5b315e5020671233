"""Targets, their order and their coding."""

import numpy as np
import pytest

from focusmap.basics import InputError
from focusmap.study.task import Target, Task

TASK = Task(
    (Target("Effusion"), Target("label", "multiclass", ("benign", "malignant", "normal")), Target("age", "continuous"))
)


def test_logits_follow_the_targets():
    assert TASK.label_names == ("Effusion", "label=benign", "label=malignant", "label=normal", "age")
    assert [TASK.slice_of(name) for name in TASK.names] == [slice(0, 1), slice(1, 4), slice(4, 5)]


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'Effusion'"):
        TASK.index("Efusion")


def test_round_trip_through_plain_values():
    assert Task.from_dict(TASK.to_dict()) == TASK


@pytest.mark.parametrize(
    ("target", "cells", "codes"),
    [
        (Target("e"), ["0", "1", "", "0.3", "1.0"], [0, 1, np.nan, 0.3, 1]),
        (Target("l", "binary", ("benign", "malignant")), ["malignant", "benign", ""], [1, 0, np.nan]),
        (Target("c", "multiclass", ("1", "2", "3")), ["3", "1"], [2, 0]),
        (Target("v", "continuous"), ["-3.5", ""], [-3.5, np.nan]),
    ],
)
def test_cells_become_numbers(target, cells, codes):
    np.testing.assert_array_equal(target.encode(cells), codes)


@pytest.mark.parametrize("cell", ["2", "-0.1", "maybe", "inf", "<5", "-"])
def test_a_cell_that_is_no_label_is_refused_with_its_position(cell):
    with pytest.raises(InputError) as caught:
        Target("e").encode(["0", cell])
    assert caught.value.position == 1
    assert cell in str(caught.value)


def test_decoding_undoes_encoding():
    target = TASK.target("label")
    cells = ["normal", "", "benign"]
    assert target.decode(target.encode(cells)) == cells


def test_probabilities_of_a_class_list_sum_to_one():
    probabilities = TASK.probabilities(np.array([[0.0, 1.0, 2.0, 3.0, 40.0]]))
    assert probabilities[0, 0] == 0.5
    assert probabilities[0, 1:4].sum() == pytest.approx(1)
    assert probabilities[0, 4] == 40


def test_label_truth_spells_out_classes():
    truth = np.array([[1.0, 2.0, 60.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(TASK.label_truth(truth), [[1, 0, 0, 1, 60], [np.nan] * 5])
