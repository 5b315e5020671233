"""The recipe: what it refuses, and that it survives the disk."""

from dataclasses import replace

import pytest

from focusmap.basics import InputError, MissingFileError
from focusmap.study.recipe import Augmentation, Recipe, read_recipe, recipe_from
from focusmap.study.recipe_parts import PRESETS


def test_written_and_read_back_equal(tmp_path):
    recipe = replace(Recipe(), model="resnet18", learning_rate=3e-4, augmentation=Augmentation(mirror=True, shift=0.2))
    recipe.to_yaml(tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_mirroring_is_left_open_by_default():
    assert Recipe().augmentation.mirror is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs: 3", "Did you mean 'epochs'"),
        ("augmentation: {miror: true}", "Did you mean 'mirror'"),
        ("mirror: false", "Write augmentation: {mirror: ...}"),
        ("epochs: three", "int was expected"),
        ("epochs: 0", "at least 1"),
        ("optimizer: adamm", "adamw, adam, sgd"),
        ("threshold_for: sensitivity", "sensitivity=0.9"),
        ("augmentation: 3", "group of settings"),
        ("epochs: [", "not valid YAML"),
        ("- a", "settings such as"),
        ("loss: focl", "cross-entropy, focal, asymmetric"),
        ("sampling: none", "all, weighted, over, under"),
        ("schedule: onecycle", "cosine, constant, one-cycle, step, plateau"),
        ("layer_decay: 1.5", "layer_decay must be above 0 and at most 1"),
        ("accumulate: 0", "accumulate must be at least 1"),
        ("ensemble: 0", "ensemble and accumulate must be at least 1"),
        ("ensembl: 3", "Did you mean 'ensemble'"),
        ("tta: yes please", "bool was expected"),
        ("augmentation: {mixup: -1}", "augmentation.mixup must not be negative"),
        ("augmentation: {elastic: 1.0}", "augmentation.elastic must be at least 0 and below 1"),
        ("augmentation: {sheer_degrees: 3}", "Did you mean 'shear_degrees'"),
        ("preset: chest", "Did you mean 'chest-xray'"),
        ("presett: retina", "Did you mean 'preset'"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_scientific_notation_without_a_point_is_a_number():
    assert recipe_from({"learning_rate": "3e-4"}).learning_rate == 3e-4


def test_a_missing_recipe_is_missing(tmp_path):
    with pytest.raises(MissingFileError):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_a_recipe_that_survives_the_disk(tmp_path, name):
    recipe = recipe_from({"preset": name})
    assert recipe != Recipe()
    recipe.to_yaml(tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_no_preset_mirrors_chest_images():
    chest = recipe_from({"preset": "chest-xray"})
    assert (chest.size, chest.augmentation.mirror) == (320, False)
    assert not [name for name in PRESETS if ("chest" in name or "xray" in name) and name != "chest-xray"]


def test_settings_stand_over_the_preset_one_by_one(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("preset: chest-xray\nsize: 256\naugmentation: {shift: 0.2}\n")
    recipe = read_recipe(path)
    assert (recipe.model, recipe.size) == ("densenet121", 256)
    assert (recipe.augmentation.shift, recipe.augmentation.rotate_degrees) == (0.2, 7.0)
    assert read_recipe(path, "retina").channels == 3
    assert read_recipe(path, "retina").size == 256
