"""Bars of scores: one panel a measure, one bar a row, as long as the value, with its interval."""

import pytest

from focusmap.figures.run_curves import ScoreRow, score_figure

SCORE = {"value": 0.6, "low": 0.5, "high": 0.7}
ROWS = [
    ScoreRow("a method with a very long name indeed", {"hit": SCORE, "chance": {"value": 0.1}}, is_baseline=False),
    ScoreRow("random $map$", {"hit": {"value": None, "reason": "none"}}, is_baseline=True),
]


def test_bars_are_as_long_as_the_values() -> None:
    figure = score_figure(ROWS, {"hit": "Pointing game", "dice": "Dice"}, ["hit"])
    hit, dice = figure.axes
    assert [bar.get_width() for bar in hit.patches] == [0.6, 0.0]
    assert [bar.get_width() for bar in dice.patches] == [0.0, 0.0]
    ends = hit.collections[0].get_segments()[0][:, 0]
    assert ends.tolist() == pytest.approx([0.5, 0.7])
    assert hit.lines[0].get_xdata() == [0.1, 0.1]
    assert not dice.lines
    assert figure.get_figwidth() <= 10.01


def test_methods_and_baselines_differ_in_colour() -> None:
    bars = score_figure(ROWS, {"hit": "Pointing game"}).axes[0].patches
    assert bars[0].get_facecolor() != bars[1].get_facecolor()
