"""What README and the guide tell a reader to type works, with fewer epochs."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from focusmap.cli import COMMANDS, main
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom

ROOT = Path(__file__).parents[2]
QUICK = ["--model", "small-residual", "--size", "32", "--epochs", "1", "--weights", "none"]


def blocks(page, language):
    """Return the fenced blocks of a language in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def commands(page):
    """Return the focusmap commands that stand in the page's shell blocks, in order."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("focusmap ")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the README's reader has it."""
    labels = write_phantom(make_phantom(PhantomOptions(n_patients=16, n_images=48, size=32)), tmp_path)
    picture = pd.read_csv(labels)["path"][0]
    (tmp_path / "images/0001.png").write_bytes((tmp_path / picture).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_can_be_followed(folder, capsys):
    typed = [command for command in commands("README.md") if command[0] != "demo"]
    assert [command[0] for command in typed] == ["audit", "run", "predict"]
    for command in typed:
        assert main(command + (QUICK if command[0] == "run" else [])) == 0, command
    snippet = blocks("README.md", "python")[0]
    exec(snippet.replace("epochs=40", "epochs=1, size=32, weights='none'"), {})


def test_the_guide_can_be_followed(folder):
    readings = next(block for block in blocks("docs/guide.md", "csv") if "reader" in block.splitlines()[0].split(","))
    (folder / "readers.csv").write_text(readings)
    for command in commands("docs/guide.md"):
        assert main(command) == 0, command


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_commands_that_pages_name_exist(page):
    named = set(re.findall(r"`focusmap ([a-z]+)", (ROOT / page).read_text()))
    assert named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/architecture.md", "docs/results.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
