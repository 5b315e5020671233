"""The images of train that an image looks most like, by the descriptions of `focusmap.models.ood`.

A model's folder holds descriptions and image_ids alone; labels and files are looked up in the run, if it is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from safetensors.numpy import load_file, save_file

from focusmap.basics import atomic, read_json, write_json
from focusmap.models.ood import ASPECTS
from focusmap.models.predictor import Predictor
from focusmap.study import Cohort, Run, Samples, load_cohort

DESCRIPTIONS, NAMES = "alike.safetensors", "alike.json"
N_SHOWN = 3


@dataclass(frozen=True)
class Neighbour:
    """An image of train that looks like the one asked about.

    Parameters
    ----------
    image_id
        As in the run's cohort.
    file
        Where it lies; it may be gone.
    labels
        By target what the reference says, as the label file writes it; targets of unknown truth are left out.
    distance
        Between the standardised descriptions: 0 for the same image, about 1 for two by chance.
    """

    image_id: str
    file: Path
    labels: dict[str, str]
    distance: float


def description(image: np.ndarray) -> np.ndarray:
    """Return what an image ``(C, *spatial)`` looks like, ``(D,)``: grey values, edges and layout."""
    return np.concatenate([describe(image) for describe in ASPECTS.values()])


def save_descriptions(descriptions: np.ndarray, image_ids: Sequence[str], model: Path) -> None:
    """Write descriptions ``(N, D)`` of images of train, and their names, into a model folder."""
    with atomic(model / DESCRIPTIONS) as temporary:
        save_file({"descriptions": descriptions.astype(np.float32)}, temporary)
    write_json(model / NAMES, {"image_ids": list(image_ids)})


def share_alike(run: Run) -> None:
    """Let the ensemble of a run's folds know the images of train of each fold, each once."""
    known: dict[str, np.ndarray] = {}
    for part in run.parts():
        if (part.model / DESCRIPTIONS).is_file():
            names = cast(list[str], read_json(part.model / NAMES)["image_ids"])
            known |= dict(zip(names, load_file(part.model / DESCRIPTIONS)["descriptions"], strict=True))
    if known:
        save_descriptions(np.stack(list(known.values())), list(known), run.model)


def nearest(image: np.ndarray, model: Path, n: int) -> list[tuple[str, float]]:
    """Return image_id and distance of the `n` images of train that look most like an image; none if none are known."""
    if not (model / DESCRIPTIONS).is_file() or n < 1:
        return []
    known = load_file(model / DESCRIPTIONS)["descriptions"].astype(np.float64)
    names, described = cast(list[str], read_json(model / NAMES)["image_ids"]), description(image)
    if known.shape != (len(names), len(described)):
        return []
    spread = known.std(axis=0)
    apart = (known - described)[:, spread > 0] / spread[spread > 0]
    # Two images by chance differ by sqrt(2) deviations in each direction.
    distances = np.sqrt(np.mean(apart**2, axis=1) / 2)
    order = np.argsort(distances, kind="stable")[:n]
    return [(names[k], float(distances[k])) for k in order]


def neighbours_of(folder: Path, model: Predictor, samples: Samples, n: int = N_SHOWN) -> list[Neighbour]:
    """Return the images of a run's train that look most like the first of the samples.

    None of a model folder without its run, of tables and cases, of a run that was trained before these were kept, of
    an image that cannot be read, and of one that shows nothing.
    """
    run = Run(folder)
    if not run.cohort.is_file() or not model.preparations or model.views or not (run.model / DESCRIPTIONS).is_file():
        return []
    batch = next(iter(samples.batches(model.preparations, 1)), None)
    if batch is None or not len(batch):
        return []
    images = batch.images(model.preparations[0])
    if images.is_blank[0]:
        return []
    cohort, found = load_cohort(folder), nearest(images.prepared[0], run.model, n)
    known = [(name, apart) for name, apart in found if name in cohort.positions]
    return [Neighbour(name, cohort.file(name), _labels(cohort, name), apart) for name, apart in known]


def _labels(cohort: Cohort, image_id: str) -> dict[str, str]:
    truth = cohort.of([image_id]).truth[0]
    pairs = zip(cohort.task.targets, truth, strict=True)
    return {target.name: target.in_words(float(value)) for target, value in pairs if not np.isnan(value)}
