"""An ensemble is one model folder: it survives the disk, keeps its members' units, and what is broken is said."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from focusmap.basics import FocusmapError, ModelError
from focusmap.heatmaps import Item
from focusmap.models.ensemble import combine
from focusmap.models.folder import CARD, WEIGHTS, load_model, save_model
from focusmap.models.net import Model, over_views
from focusmap.nets import AS_IT_IS, View
from support.maps import evidence_of
from support.models import edit, model_of, unseal, with_calibration

VIEWS = (AS_IT_IS, View(mirror=True))


def members() -> list[Model]:
    """Three models whose continuous target was standardised differently, as in folds."""
    models = [model_of(seed) for seed in range(3)]
    scales = [{"size": [10.0 + k, 2.0 + k]} for k in range(3)]
    cards = [replace(model.card, scales=scale) for model, scale in zip(models, scales, strict=True)]
    return [Model(model.net, card) for model, card in zip(models, cards, strict=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(with_calibration(combine(members(), VIEWS, "folds"), {"nodule": 1.3}, {"nodule": 0.4}), tmp_path)
    return tmp_path


def said(model: Model, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return model.to_units(model.net.eval()(x).double().numpy())


def test_an_ensemble_says_the_mean_of_what_its_members_say_in_their_own_units() -> None:
    x = torch.randn(3, 1, 32, 32)
    each = [said(model, x) for model in members()]
    assert np.allclose(said(combine(members(), (AS_IT_IS,), "folds"), x), np.mean(each, axis=0), atol=1e-4)


def test_an_ensemble_of_equal_models_is_that_model() -> None:
    x = torch.randn(2, 1, 32, 32)
    assert np.allclose(said(combine([model_of(), model_of()], (AS_IT_IS,), "seeds"), x), said(model_of(), x), atol=1e-5)


def test_what_was_saved_is_what_is_loaded(folder: Path) -> None:
    x = torch.randn(2, 1, 32, 32)
    saved, loaded = combine(members(), VIEWS, "folds"), load_model(folder)
    assert np.allclose(said(loaded, x), said(saved, x), atol=1e-6)
    assert loaded.card.members == ["members/0", "members/1", "members/2"]
    assert (loaded.card.temperatures, loaded.card.thresholds) == ({"nodule": 1.3}, {"nodule": 0.4})
    assert len(loaded.card.tta) == 2
    assert not (folder / WEIGHTS).exists()
    assert not loaded.net.training


def test_a_member_is_a_model_of_its_own(folder: Path) -> None:
    x = torch.randn(2, 1, 32, 32)
    member = load_model(folder / "members" / "1")
    assert np.allclose(said(member, x), said(members()[1], x), atol=1e-6)
    assert member.card.temperatures == {"nodule": 1.5}


def test_views_alone_make_a_folder_with_weights(tmp_path: Path) -> None:
    x = torch.randn(2, 1, 32, 32)
    model = over_views(model_of(), VIEWS)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert (tmp_path / WEIGHTS).is_file()
    assert np.allclose(said(loaded, x), (said(model_of(), x) + said(model_of(), x.flip(-1))) / 2, atol=1e-4)


def test_an_ensemble_of_ensembles_is_one_of_their_nets() -> None:
    x = torch.randn(2, 1, 32, 32)
    first, second, third = members()
    nested = combine([combine([first, second], (AS_IT_IS,), "seeds"), third], (AS_IT_IS,), "folds")
    assert len(nested.members) == 3
    assert np.allclose(said(nested, x), np.mean([said(model, x) for model in members()], axis=0), atol=1e-4)


def test_maps_are_the_mean_of_the_members_maps_in_the_targets_own_unit(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / "a.png")
    items = [Item("a", "a.png", tmp_path / "a.png")]
    together = evidence_of(combine(members(), (AS_IT_IS,), "folds"), items, "cam", [1, 0])
    alone = [evidence_of(model, items, "cam", [1, 0]) for model in members()]
    assert np.allclose(together.maps, np.mean([found.maps for found in alone], axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(members=["members/0"]), "does not give the logits"),
        (lambda card: card.update(members=["../other"]), "lies outside"),
        (lambda card: card.update(members=["members/9"]), "no such model folder"),
        (lambda card: card.update(members="members/0"), "a list was expected"),
        (lambda card: card.update(tta=[{"mirror": 3}]), "a view needs mirror"),
        (lambda card: card["preparation"].update(size=64), "its preparation is not that of the ensemble"),
        (lambda card: card["probe"].update(logits=[0.0, 9.0]), "does not give the logits"),
    ],
)
def test_an_ensemble_that_does_not_hold_is_refused(
    folder: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(FocusmapError, match=message):
        load_model(folder)


def test_a_member_that_was_swapped_is_noticed(folder: Path) -> None:
    shutil.copy(folder / "members/0" / WEIGHTS, folder / "members/1" / WEIGHTS)
    unseal(folder)
    with pytest.raises(ModelError, match="members/1: the model does not give"):
        load_model(folder)


def test_an_ensemble_within_an_ensemble_is_refused(folder: Path) -> None:
    edit(folder / "members/0", lambda card: card.update(tta=[AS_IT_IS.to_dict()]))
    with pytest.raises(ModelError, match="a member is a single net"):
        load_model(folder)


def test_a_single_models_card_is_written_as_it_always_was(tmp_path: Path) -> None:
    save_model(model_of(), tmp_path)
    assert not {"members", "tta"} & set(json.loads((tmp_path / CARD).read_text()))
