"""focusmap: from medical images and a table of findings to an evaluated, explained and reported classifier.

The verbs of the command line are functions here; each returns the value that the command writes. Nothing is
imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from focusmap.cohort.cohort import read_cohort
    from focusmap.cohort.declaration import Declaration
    from focusmap.imaging.readers import read_image
    from focusmap.pipeline import RunOptions, audit, evaluate, explain, predict, report, split, train
    from focusmap.pipeline.models import load_model
    from focusmap.values.recipe import Recipe

_HOMES = {
    "Declaration": "focusmap.cohort.declaration",
    "Recipe": "focusmap.values.recipe",
    "RunOptions": "focusmap.pipeline",
    "audit": "focusmap.pipeline",
    "evaluate": "focusmap.pipeline",
    "explain": "focusmap.pipeline",
    "load_model": "focusmap.pipeline.models",
    "predict": "focusmap.pipeline",
    "read_cohort": "focusmap.cohort.cohort",
    "read_image": "focusmap.imaging.readers",
    "report": "focusmap.pipeline",
    "split": "focusmap.pipeline",
    "train": "focusmap.pipeline",
}

__all__ = [
    "Declaration", "Recipe", "RunOptions", "audit", "evaluate", "explain", "load_model", "predict", "read_cohort",
    "read_image", "report", "split", "train",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'focusmap' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
