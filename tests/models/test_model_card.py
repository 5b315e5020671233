"""The model card survives the disk, and refuses what it does not know."""

import json

import pytest

from focusmap.basics import ModelError
from focusmap.models.card import ModelCard, read_card, write_card
from focusmap.study import Target, Task

CARD = ModelCard(
    task=Task((Target("Effusion"),)),
    architecture={"model": "resnet18", "channels": 1, "n_logits": 1},
    preparation={"size": 64},
    thresholds={"Effusion": 0.3},
    threshold_for="youden",
    temperatures={"Effusion": 1.2},
    scales={},
    known_answer={"seed": 0, "logits": [0.1]},
    versions={"torch": "2"},
    training={"seed": 0},
)


def test_written_and_read_back_equal(tmp_path):
    write_card(CARD, tmp_path / "model.json")
    assert read_card(tmp_path / "model.json") == CARD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "Update focusmap"),
        ({"format": None}, "not a focusmap model"),
        ({"treshold": {}}, "not a key"),
    ],
)
def test_a_strange_card_is_refused(tmp_path, change, message):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**CARD.to_dict(), **change}))
    with pytest.raises(ModelError, match=message):
        read_card(path)


def test_a_card_that_lacks_a_key_is_refused(tmp_path):
    path = tmp_path / "model.json"
    values = CARD.to_dict()
    del values["thresholds"]
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="lacks thresholds"):
        read_card(path)
