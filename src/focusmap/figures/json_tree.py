"""Reading JSON trees whose parts may be absent: one function for each type that is asked for."""

from collections.abc import Mapping

import numpy as np

from focusmap.files import Json


def branch(tree: Json, *keys: str) -> Mapping[str, Json]:
    """Return the object under `keys`, or an empty one.

    >>> branch({"a": {"b": {"c": 1}}}, "a", "b")
    {'c': 1}
    >>> branch({"a": 1}, "a", "b")
    {}
    """
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def number(value: Json) -> float | None:
    """Return a finite number as float; None for anything else.

    >>> number(3), number("3"), number(True)
    (3.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if np.isfinite(value) else None


def text(value: Json) -> str:
    """Return a string or number as text; an empty string for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def items(value: Json) -> list[Json]:
    """Return a list, or an empty one."""
    return value if isinstance(value, list) else []


def series(value: Json) -> np.ndarray:
    """Return a list of numbers as ``(n,) float``, NaN where an entry is not one."""
    return np.array([np.nan if (x := number(entry)) is None else x for entry in items(value)], dtype=np.float64)
