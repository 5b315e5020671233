"""The page on volumes can be followed, with small volumes and one epoch."""

import sys
from pathlib import Path

import pytest
import yaml

from focusmap.cli import main
from focusmap.nets.build import check_recipe
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.study.recipe import recipe_from

sys.path.insert(0, str(Path(__file__).parent))
from test_readme import blocks, commands

QUICK = ["--epochs", "1", "--weights", "none", "--workers", "1", "--batch-size", "4"]
SMALLER = {"volumes": ["--model", "small-residual-3d", "--shape", "16,16,16"], "slices": ["--size", "28"]}


@pytest.mark.slow
def test_the_page_on_volumes_can_be_followed(tmp_path, monkeypatch, capsys):
    write_phantom(make_phantom(PhantomOptions(n_patients=12, n_images=24, size=28, dimensions=3)), tmp_path / "volumes")
    monkeypatch.chdir(tmp_path)
    for command in commands("docs/volumes.md"):
        quick = [*QUICK, *SMALLER[command[1].split("/")[0]]] if command[0] == "run" else []
        assert main(command + quick) == 0, command
    assert "cases-attention" in capsys.readouterr().out


def test_the_recipes_of_the_page_are_ones():
    whole, small = (recipe_from(yaml.safe_load(text)) for text in blocks("docs/volumes.md", "yaml"))
    assert whole.shape == (96, 96, 24)
    assert (small.pooling, small.sharpness) == ("lse", 4.0)
    for recipe in (whole, small):
        check_recipe(recipe)
