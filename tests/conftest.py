"""Fixtures that several directories use. A module whose tests share a study or a run has a wider one of its own."""

from pathlib import Path

import pytest
from hypothesis import settings

from support.options import QUICK
from support.studies import phantom_study

# How long an example takes says how busy the machine is. The same examples every time: new ones are looked for with
# `pytest --hypothesis-profile=default`.
settings.register_profile("focusmap", deadline=None, derandomize=True)
settings.load_profile("focusmap")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The label file of 48 images of 16 patients; a test may spoil it."""
    return phantom_study(tmp_path / "study")


@pytest.fixture
def trained(study: Path, tmp_path: Path) -> Path:
    """A trained run of `study`; a test may spoil it."""
    from focusmap.cli import main

    assert main(["train", str(study), "--out", str(tmp_path / "run"), *QUICK]) == 0
    return tmp_path / "run"
