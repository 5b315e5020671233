"""What the images of a run's train look like: learnt beside its model, and asked where the model is shown others."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focusmap.models.ood import MOST, Likeness, fit_likeness, like_any, read_likeness, save_likeness
from focusmap.study.run import Run

if TYPE_CHECKING:
    from focusmap.models.training import Training

LIKENESS = "likeness.safetensors"


def write_likeness(training: "Training") -> None:
    """Write what train looks like into the model folder; nothing for tables, cases, and fewer than 20 images."""
    if training.store is None or training.cohort.images is not None:
        return
    likeness = fit_likeness(_some(training, "train"), _some(training, "tune"))
    if likeness is not None:
        save_likeness(likeness, training.run.model / LIKENESS)


def share_likeness(run: Run) -> None:
    """Let the ensemble of a run's folds know what each fold knows: an image may be like the train of any."""
    known = [likeness_of(part.folder) for part in run.parts()]
    if found := [likeness for likeness in known if likeness is not None]:
        save_likeness(like_any(found), run.model / LIKENESS)


def likeness_of(folder: Path) -> Likeness | None:
    """Return what train of a run, or of a model folder itself, looks like; None where that is not known."""
    place = folder if (folder / "model.json").is_file() else Run(folder).model
    return read_likeness(place / LIKENESS)


def _some(training: "Training", part: str) -> list[np.ndarray]:
    """Return images ``(C, *spatial)`` of a part of the split: all, or a fixed number of them by lot."""
    assert training.store is not None
    image_ids = training.cohort.of(training.split.ids(part)).image_ids
    chosen = np.random.default_rng(training.recipe.seed).permutation(len(image_ids))[:MOST]
    return [training.store.pixels[row] for row in training.store.rows([image_ids[i] for i in np.sort(chosen)])]
