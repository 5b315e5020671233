"""How it is built and why: places that are named exist, and every decision says what it rests on."""

import re
from datetime import date

import pytest

from support.pages import ROOT

RECORDS = sorted((ROOT / "docs/decisions").glob("0*.md"))
HEADS = ("Context", "Measured", "Decision", "Consequence")


def places(page: str) -> set[str]:
    """Return the Python files and folders of the source that a page names between backticks, without those of a run."""
    found = re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))[^`\s]*`", (ROOT / page).read_text())
    return {name for name in found if name not in ("model/", "store/", "predictions/")}


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_places_that_are_named_exist(page: str) -> None:
    roots = (ROOT, ROOT / "src/focusmap")
    assert len(places(page)) > 8
    assert {name for name in places(page) if not any((root / name).exists() for root in roots)} == set()


def test_decisions_are_numbered_and_listed() -> None:
    assert [path.name[:4] for path in RECORDS] == [f"{n:04}" for n in range(1, len(RECORDS) + 1)]
    listed = re.findall(r"\]\((0[^)]*)\)", (ROOT / "docs/decisions/index.md").read_text())
    assert listed == [path.name for path in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name[:4])
def test_a_decision_says_when_why_on_what_grounds_and_what_follows(record) -> None:
    text = record.read_text()
    title, dated, *_ = text.split("\n\n")
    assert re.fullmatch(rf"# {int(record.name[:4])}\. .+", title)
    assert date(2026, 11, 1) < date.fromisoformat(dated)
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.MULTILINE) == list(HEADS)
    scripts = re.findall(r"(benchmarks/\w+\.py|tests/[\w/]+\.py|tests/[\w/]+/)", text)
    assert scripts or "make " in text
    assert [name for name in scripts if not (ROOT / name).exists()] == []
