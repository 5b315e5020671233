"""Tables of other programs are read, and what is wrong in them is named with file, row and column."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from focusmap.basics import InputError, MissingFileError
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.prediction_table import read_prediction_table

GOOD = "image_id,patient_id,true_a,prob_a\ni1,p1,1,0.9\ni2,p1,0,0.2\ni3,p2,,0.4\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_a_table_is_read_plain_and_compressed(tmp_path: Path) -> None:
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(GOOD.encode()))
    for path in (write(tmp_path, GOOD), packed):
        predictions, truth = read_prediction_table(path)
        assert predictions.task.names == ("a",)
        assert predictions.ids["patient_id"].tolist() == ["p1", "p1", "p2"]
        np.testing.assert_array_equal(truth, [[1], [0], [np.nan]])
        np.testing.assert_array_equal(predictions.probabilities, [[0.9], [0.2], [0.4]])
        np.testing.assert_allclose(predictions.task.probabilities(predictions.logits), predictions.probabilities)


def test_ids_are_optional_and_probabilities_may_be_0_and_1(tmp_path: Path) -> None:
    predictions, _ = read_prediction_table(write(tmp_path, "true_a,prob_a\n1,1\n0,0\n"))
    assert predictions.ids["image_id"].tolist() == ["2", "3"]
    assert "patient_id" not in predictions.ids
    assert np.isfinite(predictions.logits).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.2", "1.2"), r"table.csv row 3: prob_a '1.2' is not a number from 0 to 1"),
        (("0.2", "-0.1"), r"row 3: prob_a '-0.1'"),
        (("0.2", "high"), r"row 3: prob_a 'high'"),
        (("0.2", ""), r"row 3: prob_a ''"),
        (("0.2", "nan"), r"row 3: prob_a 'nan'"),
        (("0.2", "inf"), r"row 3: prob_a 'inf'"),
        (("i1,p1,1", "i1,p1,maybe"), r"row 2: true_a 'maybe' is not 0, 1, a fraction between them, or empty"),
        (("i1,p1,1", "i1,p1,-1"), r"row 2: true_a '-1'"),
        (("i3", "i1"), r"row 4: image_id 'i1' stands in an earlier row too"),
        (("i2,p1", "i2,"), r"row 3: patient_id is empty"),
        (("prob_a", "prob_aa"), r"column 'prob_a' is missing. Did you mean 'prob_aa'\?"),
        (("true_a", "truth"), r"column 'true_a' is missing"),
    ],
)
def test_wrong_cells_and_columns_are_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_prediction_table(write(tmp_path, GOOD.replace(*change)))


def test_a_table_of_something_else_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no columns true_NAME and prob_NAME; found path, label"):
        read_prediction_table(write(tmp_path, "path,label\nx.png,1\n"))
    with pytest.raises(MissingFileError, match="no such file"):
        read_prediction_table(tmp_path / "absent.csv.gz")
    damaged = tmp_path / "cut.csv.gz"
    damaged.write_bytes(gzip.compress(GOOD.encode() * 50)[:-20])
    with pytest.raises(InputError, match=r"damaged|cannot be read"):
        read_prediction_table(damaged)
    text = tmp_path / "text.csv.gz"
    text.write_text(GOOD)
    with pytest.raises(InputError, match="is damaged"):
        read_prediction_table(text)


PUBLISHED = {
    "Atelectasis": 0.8213, "Cardiomegaly": 0.9085, "Effusion": 0.8832, "Infiltration": 0.7164, "Mass": 0.8371,
    "Nodule": 0.7777, "Pneumonia": 0.7742, "Pneumothorax": 0.8847, "Consolidation": 0.8058, "Edema": 0.8953,
    "Emphysema": 0.9341, "Fibrosis": 0.8263, "Pleural_Thickening": 0.7905, "Hernia": 0.9158,
}  # fmt: skip


@pytest.mark.skipif("FOCUSMAP_DATA" not in os.environ, reason="FOCUSMAP_DATA does not name a folder of public data")
def test_21818_chest_images_give_the_published_areas() -> None:
    path = Path(os.environ["FOCUSMAP_DATA"]) / "chexnet_predictions" / "predictions.csv.gz"
    found = evaluate_predictions(*read_prediction_table(path), EvaluationOptions())
    areas = {name: round(target["auroc"]["value"], 4) for name, target in found["targets"].items()}
    assert areas == PUBLISHED
    assert round(found["mean"]["auroc"]["value"], 4) == 0.8408
    assert (found["n_images"], found["n_patients"]) == (21818, 6026)


@pytest.mark.parametrize("words", [("yes", "no"), ("阳性", "阴性"), ("1.0", "0.0"), ("TRUE", "FALSE")])
def test_truth_and_numbers_are_read_as_hospitals_write_them(tmp_path, words):
    rows = [f"p{i};{'NA' if i == 5 else words[i % 2]};0,{i}" for i in range(8)]
    (tmp_path / "table.csv").write_text("patient_id;true_a;prob_a\n" + "\n".join(rows), encoding="utf-8")
    predictions, truth = read_prediction_table(tmp_path / "table.csv")
    np.testing.assert_array_equal(truth[:, 0], [1, 0, 1, 0, 1, np.nan, 1, 0])
    np.testing.assert_allclose(predictions.probabilities[:, 0], np.arange(8) / 10, atol=1e-9)
