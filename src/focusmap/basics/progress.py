"""How long steps tell how far they are: a callable that the caller supplies."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are (0: not known)."""
Say: TypeAlias = Callable[[str], None]
"""Called with a line that a reader should see at once, such as which model is done."""


def silent(doing: str, done: int, total: int) -> None:
    """Tell nobody."""


def unheard(line: str) -> None:
    """Say nothing."""
