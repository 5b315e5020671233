"""Predictions: the columns of the contract, and every digit back from the disk."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.evaluation.prediction_table import read_template
from focusmap.evaluation.predictions import Predictions, of_images, of_targets, read_predictions, write_predictions
from focusmap.study import Flag, Target, Task

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


@pytest.mark.parametrize(
    "content", ["编号,CST\n".encode("gbk"), "编号;CST\n1;2\n".encode("utf-16"), "编号,CST".encode()]
)
def test_a_template_has_any_form_that_label_files_have(tmp_path, content):
    (tmp_path / "form.csv").write_bytes(content)
    assert read_template(tmp_path / "form.csv") == ["编号", "CST"]


def test_flags_are_written_as_text_and_stay_with_their_rows(tmp_path):
    low, new = Flag("outside", "age 9 lies below train"), Flag("unseen", "eye both is not in train")
    flagged = replace(_predictions(3), flags=((low, new), (), (new,)))
    assert list(flagged.to_table())[:4] == ["image_id", "path", "patient_id", "flags"]
    texts = ["age 9 lies below train; eye both is not in train", "", "eye both is not in train"]
    assert flagged.to_table()["flags"].tolist() == texts
    assert of_images(flagged, ["i2", "i0"]).flags == ((new,), (low, new))
    assert of_targets(flagged, ["CST"]).flags == flagged.flags
    write_predictions(flagged, tmp_path / "first.csv")
    write_predictions(read_predictions(tmp_path / "first.csv", TASK), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "first.csv").read_text()


def test_a_lost_column_is_named(tmp_path):
    write_predictions(_predictions(), tmp_path / "test.csv")
    with pytest.raises(InputError, match="no column 'Mass'"):
        read_predictions(tmp_path / "test.csv", Task((Target("Mass"),)))
