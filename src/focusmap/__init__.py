"""focusmap: from medical images and a table of findings to an evaluated, explained and reported classifier.

The verbs of the command line are functions here; each returns the value that the command writes. Nothing is
imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from focusmap.images.read import read_image
    from focusmap.models.any import load_model
    from focusmap.study.cohort import read_cohort
    from focusmap.study.declaration import Declaration
    from focusmap.study.recipe import Recipe
    from focusmap.verbs import RunOptions, audit, evaluate, explain, predict, report, segment, split, train

_HOMES = {
    "Declaration": "focusmap.study.declaration",
    "Recipe": "focusmap.study.recipe",
    "RunOptions": "focusmap.verbs",
    "audit": "focusmap.verbs",
    "evaluate": "focusmap.verbs",
    "explain": "focusmap.verbs",
    "load_model": "focusmap.models.any",
    "predict": "focusmap.verbs",
    "read_cohort": "focusmap.study.cohort",
    "read_image": "focusmap.images.read",
    "report": "focusmap.verbs",
    "segment": "focusmap.verbs",
    "split": "focusmap.verbs",
    "train": "focusmap.verbs",
}

__all__ = [
    "Declaration", "Recipe", "RunOptions", "audit", "evaluate", "explain", "load_model", "predict", "read_cohort",
    "read_image", "report", "segment", "split", "train",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'focusmap' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
