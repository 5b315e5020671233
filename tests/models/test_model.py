"""A model folder gives back the same model, and anything wrong with it is said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from focusmap.basics import FocusmapError, InputError, MissingFileError, ModelError
from focusmap.models.folder import CARD, WEIGHTS, load_model, save_model
from focusmap.models.predictor import calibrated
from support.models import edit, model_of, unseal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(model_of(), tmp_path)
    return tmp_path


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = save_model(model_of(), tmp_path / "new" / "model")
    loaded = load_model(tmp_path / "new" / "model")
    assert loaded.card == saved.card
    assert len(loaded.card.known_answer["logits"]) == 2
    assert loaded.preparation.size == 32
    assert not loaded.net.training
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(loaded.net(x), saved.net(x))


def test_a_channels_last_net_is_saved(tmp_path: Path) -> None:
    model = model_of()
    model.net.to(memory_format=torch.channels_last)
    save_model(model, tmp_path)
    assert torch.equal(load_model(tmp_path).net.head.weight, model.net.head.weight)


def test_continuous_targets_are_in_their_own_units() -> None:
    assert np.allclose(model_of().to_units(np.array([[0.3, -1.0]])), [[0.3, 8.0]])


def test_calibration_makes_a_new_model() -> None:
    model, truth = model_of(), np.tile([[0.0, 10.0], [1.0, 12.0]], (20, 1))
    logits = truth + np.random.default_rng(0).normal(size=truth.shape)
    card = calibrated(model, logits, truth).card
    assert card.temperatures["nodule"] != 1.5
    assert card.thresholds["nodule"] != 0.4
    assert (model.card.temperatures, model.card.thresholds) == ({"nodule": 1.5}, {"nodule": 0.4})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(format=99), "format 99"),
        (lambda card: card.update(tresholds={}), "tresholds"),
        (lambda card: card.pop("probe"), "lacks probe"),
        (lambda card: card["architecture"].update(model="resnet99"), "'resnet99' is not one of"),
        (lambda card: card["architecture"].update(model="resnet18"), "do not fit the net"),
        (lambda card: card["architecture"].update(n_logits=3), "3 logits for 2 labels"),
        (lambda card: card["probe"].update(logits=[0.0, 9.0]), "does not give the logits it was saved with"),
        (lambda card: card["probe"].update(logits=[0.0]), "the probe has 1 logits"),
        (lambda card: card["probe"].clear(), "probe"),
    ],
)
def test_a_card_that_does_not_hold_is_refused(
    folder: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_weights_of_another_training_are_noticed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    save_model(model_of(seed=1), other)
    (folder / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    unseal(folder)
    with pytest.raises(ModelError, match="belong to different models"):
        load_model(folder)


def test_weights_cut_in_half_are_named(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"^{path}: was changed or damaged"):
        load_model(folder)
    unseal(folder)
    with pytest.raises(ModelError, match=f"^{path}: is damaged"):
        load_model(folder)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=name):
        load_model(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FocusmapError, match="no such model folder"):
        load_model(tmp_path / "none")
