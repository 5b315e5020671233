"""The page on volumes can be followed, with small volumes and one epoch."""

import pytest
import yaml

from focusmap.cli import main
from focusmap.nets import check_recipe
from focusmap.study import recipe_from
from support.options import quick
from support.pages import blocks, commands
from support.studies import phantom_study

QUICK = quick(size=0, more="--batch-size 4")
SMALLER = {"volumes": ["--model", "small-residual-3d", "--shape", "16,16,16"], "slices": ["--size", "28"]}


@pytest.mark.slow
def test_the_page_on_volumes_can_be_followed(tmp_path, monkeypatch, capsys):
    phantom_study(tmp_path / "volumes", patients=12, images=24, size=28, dimensions=3)
    monkeypatch.chdir(tmp_path)
    for command in commands("docs/volumes.md"):
        small = [*QUICK, *SMALLER[command[1].split("/")[0]]] if command[0] == "run" else []
        assert main(command + small) == 0, command
    assert "cases-attention" in capsys.readouterr().out


def test_the_recipes_of_the_page_are_ones():
    whole, small = (recipe_from(yaml.safe_load(text)) for text in blocks("docs/volumes.md", "yaml"))
    assert whole.shape == (96, 96, 24)
    assert (small.pooling, small.sharpness) == ("lse", 4.0)
    for recipe in (whole, small):
        check_recipe(recipe)
