"""What README and the guide tell a reader to type works, with fewer epochs."""

import re

import pandas as pd
import pytest

from focusmap.cli import COMMANDS, main
from support.cluster import typed_on_ray
from support.options import QUICK, quick
from support.pages import ROOT, blocks, commands
from support.studies import phantom_study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the README's reader has it."""
    labels = phantom_study(tmp_path)
    image = pd.read_csv(labels)["path"][0]
    (tmp_path / "images/0001.png").write_bytes((tmp_path / image).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_can_be_followed(folder, capsys):
    typed = [command for command in commands("README.md") if command[0] != "demo"]
    assert [command[0] for command in typed] == ["audit", "run", "predict"]
    for command in typed:
        assert main(command + (QUICK if command[0] == "run" else [])) == 0, command
    snippet = blocks("README.md", "python")[0]
    exec(snippet.replace("epochs=40", "epochs=1, size=32, weights='none'"), {})


@pytest.mark.slow
def test_the_guide_can_be_followed(folder):
    readings = next(block for block in blocks("docs/guide.md", "csv") if "reader" in block.splitlines()[0].split(","))
    (folder / "readers.csv").write_text(readings)
    labels = pd.read_csv("labels.csv")
    labels.drop(columns=[name for name in labels if name.startswith("mask_")]).to_csv("new.csv", index=False)
    (folder / "quick.yaml").write_text("segmentation: {n_steps: 3, max_cases: 8}")
    for command in commands("docs/guide.md") + commands("docs/models.md"):
        trains = command[0] in ("run", "train") and "--dry-run" not in command
        draws = command[0] == "segment" or "--segment" in command
        drawn = ["--recipe", "quick.yaml"] if draws else []
        tried = [*quick("small-residual"), "--trials", "1"] if command[0] == "tune" else []
        if "ray" in command:
            typed_on_ray(command)
            continue
        assert main(command + (quick() if trains else []) + drawn + tried) == 0, command


def test_the_readmes_tell_the_same_in_both_languages():
    for language in ("sh", "csv", "python"):
        assert blocks("README.zh.md", language) == blocks("README.md", language)
    english, chinese = ((ROOT / page).read_text() for page in ("README.md", "README.zh.md"))
    for mark in ("## ", "- ", "| "):
        counts = [sum(line.startswith(mark) for line in page.splitlines()) for page in (english, chinese)]
        assert counts[0] == counts[1], mark
    # What is to be typed is the same too: all that stands between backticks and holds no word of the language.
    typed = [set(re.findall(r"`([^`\n]+)`", page)) for page in (english, chinese)]
    assert typed[0] == typed[1]


def test_the_readmes_figures_are_those_of_the_results():
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    rows = rows[rows.index("| Public data | Aim | Reached |") + 2 :][:7]
    results = (ROOT / "docs/results.md").read_text()
    summary = results[results.index("## In short") : results.index("## The ladder on breast")]
    for row in rows:
        figures = re.findall(r"\.\d+|\d+ to \d+ s|\d+ s", row)
        assert len(figures) == 2, row
        assert all(figure in summary for figure in figures), row


PAGES = ["README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_pages_name_exist(page):
    named = set(re.findall(r"`focusmap ([a-z]+)", (ROOT / page).read_text()))
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
