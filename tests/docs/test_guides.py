"""The documentation's pages can be followed from the first to the last, and become a site."""

import shutil

import pytest
import yaml

from focusmap.cli import main
from focusmap.errors import MissingPartError
from focusmap.report import require_pdf
from support.options import QUICK
from support.pages import ROOT, blocks, commands
from support.studies import phantom_study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as a reader of the pages has it: own images, and the demo's study."""
    phantom_study(tmp_path)
    phantom_study(tmp_path / "runs/demo/study")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def follow(page):
    """Type every command of a page and run its Python, with less to compute; the demo has a test of its own."""
    for command in commands(page):
        trains = command[0] in ("run", "train")
        if command[0] != "demo":
            assert main(command + (QUICK if trains else [])) == expected_code(command), command
    for snippet in blocks(page, "python"):
        exec(snippet, {})


def expected_code(command):
    """Return 2 for a PDF where the system lacks what draws it, else 0."""
    try:
        if "--pdf" in command:
            require_pdf("en")
    except MissingPartError:
        return 2
    return 0


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_the_pages_can_be_followed_one_after_the_other():
    for page in ("docs/first-model.md", "docs/own-data.md", "docs/choosing-a-split.md"):
        follow(page)
    shutil.copytree("runs/own", "runs/first")
    follow("docs/reading-a-report.md")


def test_every_page_stands_in_the_sites_contents():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = [page for entry in nav for page in entry.values()]
    assert sorted(named) == sorted(["decisions/index.md", *(path.name for path in (ROOT / "docs").glob("*.md"))])


def test_the_site_can_be_built(tmp_path):
    pytest.importorskip("mkdocstrings", reason="the optional part docs is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    reference = (tmp_path / "site/reference/index.html").read_text()
    assert 'id="focusmap.study.cohort.read_cohort"' in reference
    assert "Raises" in reference
