"""The documentation's pages can be followed from the first to the last, and become a site."""

import itertools
import re
import shutil
from pathlib import Path

import pytest
import yaml

from focusmap.basics import MissingPartError
from focusmap.cli import COMMANDS, build_parser, main
from focusmap.report import require_pdf
from support.cluster import typed_on_ray
from support.options import QUICK, quick
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
    assert Path("runs/first/report.html").is_file()


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


def rows_of(page, header):
    """Return the cells of the table of a page that begins with a header."""
    lines = (ROOT / page).read_text().splitlines()
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[lines.index(header) + 2 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_hours_and_cost_of_an_archive_follow_from_what_was_measured():
    measured = {step: float(ms) for step, ms in rows_of("docs/scale.md", "| step | milliseconds |")}
    reckoned = rows_of("docs/scale.md", "| command | milliseconds | core hours | hours | cost |")
    assert len(reckoned) == 3
    for command, *told in reckoned:
        ms = sum(measured[step.strip()] for step in command.split("=")[1].split("+"))
        core_hours = ms * 10_000_000 / 3_600_000
        assert [float(cell) for cell in told] == [round(ms, 1), *(
            round(value, 1) for value in (core_hours, core_hours / 64, core_hours * 0.05)
        )], command  # fmt: skip
    of_cores = measured["prepare"] + measured["cluster"]
    text = (ROOT / "docs/scale.md").read_text()
    assert f"{of_cores:.1f} ms or {of_cores * 10_000_000 / 3_600_000:.1f} core hours" in text


def test_under_slurm_a_node_starts_its_own_processes(monkeypatch):
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert not SLURMEnvironment.detect()
    assert LightningEnvironment().node_rank() == 1


@pytest.mark.slow
def test_the_page_on_clusters_can_be_followed(folder):
    assert (
        main(["train", "labels.csv", "--patient", "patient_id", "--out", "runs/first", *quick("small-residual")]) == 0
    )
    for command in commands("docs/scale.md"):
        if command[0] in ("run", "tune"):
            # As few trials and as small nets as a test has time for.
            command = [*("2" if word == "30" else word for word in command), *quick("small-residual")[:-2]]
        typed_on_ray(command)
    assert list(folder.glob("maps/files/*/overlays/*.png"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_stands_on_a_page(command):
    pages = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    told = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", pages))
    actions = build_parser(command)[1]._actions
    options = [action.option_strings for action in actions if action.option_strings and action.dest != "help"]
    assert [names for names in options if told.isdisjoint(names)] == []
