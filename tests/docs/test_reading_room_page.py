"""The page on the reading room: its commands exist, its limits are those of the code."""

import re

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
    assert f"at least {SHORTEST_TOKEN} signs" in PAGE
    assert (MOST_UNZIPPED, MOST_UPLOADS) == (4, 8)
    assert {f"{MOST_FILES:,}", f"{MOST_WAITING:,}"} <= set(re.findall(r"[\d,]+\d", PAGE))
