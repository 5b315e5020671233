"""The recipe: what it refuses, and that it survives the disk."""

from dataclasses import replace

import pytest

from focusmap.errors import InputError, MissingFileError
from focusmap.values.recipe import Augmentation, Recipe, read_recipe, recipe_from


def test_written_and_read_back_equal(tmp_path):
    recipe = replace(Recipe(), model="resnet18", learning_rate=3e-4, augmentation=Augmentation(mirror=True, shift=0.2))
    recipe.to_yaml(tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_mirroring_is_off_by_default():
    assert Recipe().augmentation.mirror is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs: 3", "Did you mean 'epochs'"),
        ("augmentation: {miror: true}", "Did you mean 'mirror'"),
        ("epochs: three", "int was expected"),
        ("epochs: 0", "at least 1"),
        ("optimizer: adamm", "adamw, adam, sgd"),
        ("threshold_for: sensitivity", "sensitivity=0.9"),
        ("augmentation: 3", "group of settings"),
        ("epochs: [", "not valid YAML"),
        ("- a", "settings such as"),
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
