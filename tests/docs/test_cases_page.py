"""The page on cases can be followed, with a small net, small images and one epoch."""

import pytest
import yaml

from focusmap.cli import main
from focusmap.study import recipe_from
from support.options import quick
from support.pages import blocks, commands
from support.phantom_eyes import EyeOptions, make_eyes, write_eyes

QUICK = quick()


@pytest.mark.slow
def test_the_page_on_cases_can_be_followed(tmp_path, monkeypatch):
    write_eyes(make_eyes(EyeOptions(n_patients=16, size=28)), tmp_path / "exports")
    monkeypatch.chdir(tmp_path)
    for command in commands("docs/cases.md"):
        small = [word.replace("resnet18", "residual-cnn") for word in command]
        assert main(small + (QUICK if command[0] == "run" else [])) == 0, command
    assert (tmp_path / "answers/attention.csv").is_file()
    assert (tmp_path / "comparison/compare.html").is_file()


def test_the_recipe_of_the_page_is_one():
    for text in blocks("docs/cases.md", "yaml"):
        assert recipe_from(yaml.safe_load(text)).cases == "max"
