"""What a model says of a lesion in each case: how probable it is, and where; on the grid that masks are drawn on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from focusmap.heatmaps import ACAM, FOCUS
from focusmap.heatmaps.map_files import Item, items_of
from focusmap.heatmaps.view import NetView, evidence_in
from focusmap.images.prepare import AnyPlacement
from focusmap.nets.grids import on_grid
from focusmap.segmentation.lesions import Lesion
from focusmap.study.samples import Batch, Samples

CAM = "cam"
BATCH_SIZE = 16
# Masks are worked out on at most so many places, by the number of axes: 128 x 128, 64 x 64 x 64.
WORKING_PLACES = {2: 128**2, 3: 64**3}


@dataclass(frozen=True)
class LesionCase:
    """One case as the model sees it.

    Parameters
    ----------
    item, placement
        Which image, and where its prepared square comes from.
    image : (C, *spatial) float32
        Standardised, on the grid that masks are worked out on.
    maps
        Method to map ``(*spatial)``, as the net draws it, on that grid; the first is the one that masks start from.
    probability
        Calibrated, that there is a lesion.
    predicted
        Whether the model says that there is one.
    """

    item: Item
    placement: AnyPlacement
    image: np.ndarray
    maps: dict[str, np.ndarray]
    probability: float
    predicted: bool

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Of the image's own grid, in mm; None where its file does not say."""
        affine = getattr(self.placement, "affine", None)
        if affine is None:
            return None
        n_axes = len(self.placement.source_shape)
        return tuple(float(step) for step in np.linalg.norm(np.asarray(affine)[:3, :n_axes], axis=0))


def map_methods(view: NetView) -> tuple[str, ...]:
    """Return the maps that are drawn of a model: the one that masks start from, and the plain class activation map."""
    own = [name for name in (ACAM, FOCUS) if name in view.methods]
    return (*own[:1], CAM)


def read_cases(view: NetView, samples: Samples, lesion: Lesion) -> Iterator[LesionCase]:
    """Yield the cases that can be read, in order; the samples note the others."""
    for batch in samples.batches(view.preparations, BATCH_SIZE):
        yield from _cases_of(view, batch, lesion)


def _cases_of(view: NetView, batch: Batch, lesion: Lesion) -> Iterator[LesionCase]:
    images, columns = batch.images(view.preparations[0]), lesion.columns(view.card.task)
    shape = working_shape(images.pixels.shape[2:])
    sights = {name: view.see(batch, name, columns) for name in map_methods(view)}
    said = evidence_in(sights[CAM], view.card, CAM, columns)
    maps = {name: on_grid(torch.from_numpy(sight.maps), shape).numpy() for name, sight in sights.items()}
    shrunk = F.interpolate(torch.from_numpy(images.pixels), shape, mode="area").numpy()
    for i, (item, placement) in enumerate(zip(items_of(batch), images.placements, strict=True)):
        most = int(said.probabilities[i].argmax())
        yield LesionCase(
            item,
            placement,
            shrunk[i],
            {name: found[i, most] for name, found in maps.items()},
            float(min(said.probabilities[i].sum(), 1.0)),
            bool(said.predicted[i].any()),
        )


def working_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the grid that masks are worked out on: the net's own input, shrunk evenly to `WORKING_PLACES`.

    >>> working_shape((48, 48)), working_shape((224, 224))
    ((48, 48), (128, 128))
    """
    factor = (WORKING_PLACES[len(shape)] / np.prod(shape)) ** (1 / len(shape))
    return shape if factor >= 1 else tuple(max(round(side * factor), 1) for side in shape)
