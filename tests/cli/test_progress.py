"""What a log file is told of a training: a line an epoch, none of what is over at once, none of other steps."""

import pytest

from focusmap.cli import progress
from focusmap.cli.progress import EpochLines, ProgressLine, terminal_progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_each_epoch_of_a_long_training_has_a_line_with_the_time_left(clock, capsys):
    tell = EpochLines()
    for done in range(1, 5):
        clock[0] += 60
        tell("training resnet18 (first, seed 0)", done, 4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"training resnet18 (first, seed 0): epoch {done} of 4, {left} left"
        for done, left in [(1, "3 min 0 s"), (2, "2 min 0 s"), (3, "1 min 0 s"), (4, "0 s")]
    ]


def test_short_epochs_share_a_line_and_short_trainings_have_none(clock, capsys):
    tell = EpochLines()
    for done in range(1, 101):
        clock[0] += 0.1
        tell("training table-net (first, seed 0)", done, 100)
    assert 4 <= len(capsys.readouterr().err.splitlines()) <= 5
    tell("training table-net (second, seed 0)", 1, 1)
    assert capsys.readouterr().err == ""


def test_other_steps_are_not_told(clock, capsys):
    tell = EpochLines()
    for done in range(1, 5):
        clock[0] += 60
        tell("preparing pictures", done, 4)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_line_that_is_kept_up_to_date(monkeypatch):
    assert isinstance(terminal_progress(), EpochLines)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    assert isinstance(terminal_progress(), ProgressLine)
