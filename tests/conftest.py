"""Fixtures that several directories use. A module whose tests share a study or a run has a wider one of its own."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from support.options import QUICK
from support.studies import phantom_study

# How long an example takes says how busy the machine is. The same examples every time: new ones are looked for with
# `pytest --hypothesis-profile=default`.
settings.register_profile("focusmap", deadline=None, derandomize=True)
settings.load_profile("focusmap")


@pytest.fixture(scope="session")
def original_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The label file of 48 images of 16 patients; no test may spoil it."""
    return phantom_study(tmp_path_factory.mktemp("original") / "study")


@pytest.fixture(scope="session")
def original_run(original_study: Path) -> Path:
    """A trained run of `original_study`, beside it; no test may spoil it."""
    from focusmap.cli import main

    run = original_study.parent.parent / "run"
    assert main(["train", str(original_study), "--out", str(run), *QUICK]) == 0
    return run


@pytest.fixture
def study(original_study: Path, tmp_path: Path) -> Path:
    """A copy of `original_study`; a test may spoil it."""
    return shutil.copytree(original_study.parent, tmp_path / "study") / original_study.name


@pytest.fixture
def trained(original_run: Path, study: Path, tmp_path: Path) -> Path:
    """A copy of `original_run`, a trained run of `study`; a test may spoil it."""
    return shutil.copytree(original_run, tmp_path / "run")
