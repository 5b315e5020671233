"""What the tests of a climb share."""

import pytest

from focusmap.fitting import configure


@pytest.fixture
def small_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ladder on a small net from random weights: what it climbs is of no account here."""
    monkeypatch.setattr(configure, "ON_PROCESSOR", configure.LadderSettings("small-residual", (64,), (32,), 4))
    monkeypatch.setattr("focusmap.nets.has_local_weights", lambda _: True)
