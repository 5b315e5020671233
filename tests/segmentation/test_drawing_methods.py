"""The methods that may be asked for are those that draw."""

from typing import get_args

from focusmap.segmentation.drawing import AUTO, DRAWN_BY, METHODS
from focusmap.verbs.requests import DrawnBy


def test_every_method_that_may_be_asked_for_draws() -> None:
    assert set(get_args(DrawnBy)) == {AUTO, *DRAWN_BY} == set(METHODS)
