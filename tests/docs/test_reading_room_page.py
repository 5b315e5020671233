"""The page on the reading room: its commands exist, its limits are those of the code."""

import json
import re
from pathlib import Path

import pytest

from focusmap.cli import main
from focusmap.reading_room.desk import MOST_WAITING
from focusmap.reading_room.guard import SHORTEST_TOKEN
from focusmap.reading_room.intake import MOST_FILES, MOST_UNZIPPED
from focusmap.reading_room.shelf import MOST_UPLOADS
from focusmap.verbs.requests import ServeRequest
from support.pages import ROOT, commands

PAGE = (ROOT / "docs/reading-room.md").read_text()


def test_its_commands_are_those_of_the_room() -> None:
    assert [command[0] for command in commands("docs/reading-room.md")] == ["serve", "corrections"]


def test_its_limits_are_those_of_the_code() -> None:
    usual = ServeRequest()
    assert f"`--largest` {usual.largest} MiB" in PAGE
    assert f"`--keep` {usual.keep:g} minutes" in PAGE
    assert f"`--seconds` {usual.seconds:g}, `--memory` {usual.memory:g} GiB" in PAGE
    assert f"at least {SHORTEST_TOKEN} characters" in PAGE
    assert (MOST_UNZIPPED, MOST_UPLOADS) == (4, 8)
    assert {f"{MOST_FILES:,}", f"{MOST_WAITING:,}"} <= set(re.findall(r"[\d,]+\d", PAGE))


def test_the_container_starts_the_room_for_those_who_know_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    started = [json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith(("ENTRYPOINT", "CMD"))]
    program, *asked = [word for part in started for word in part]
    assert program == "focusmap"
    monkeypatch.delenv("FOCUSMAP_TOKEN", raising=False)
    assert main([word.replace("/run-folder", str(tmp_path)) for word in asked]) == 2
    assert "Add --token" in capsys.readouterr().err
