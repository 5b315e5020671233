"""The images and labels on which trust is measured, as a model sees them, and every method's maps of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from focusmap.errors import InputError
from focusmap.evaluation.calibration import apply
from focusmap.evaluation.localisation import edges_map
from focusmap.heatmaps import check_method, heat_maps
from focusmap.heatmaps.map_files import Item
from focusmap.images.prepare import standardised_file
from focusmap.models.net import Model
from focusmap.nets.grids import on_grid

BATCH_SIZE = 16


@dataclass(frozen=True)
class Subject:
    """One map to judge: an image, whose it is, the label that the map explains, and whether that is predicted."""

    item: Item
    patient_id: str
    label: str
    predicted: bool


@dataclass(frozen=True)
class Panel:
    """N subjects as one model sees them: images ``(N, C, *spatial)``, and each one's column among the logits."""

    model: Model
    batch: Tensor
    columns: Tensor

    def logit(self, images: Tensor) -> Tensor:
        """Return the logit ``(N,)`` of each subject's label, for images in the place of its own."""
        return self._logits(images).gather(1, self.columns[:, None])[:, 0]

    def probability(self, images: Tensor) -> Tensor:
        """Return the calibrated probability ``(N,)`` of each subject's label; of a continuous target, its value."""
        units = self.model.to_units(self._logits(images).cpu().double().numpy())
        found = torch.from_numpy(apply(self.model.task, units, self.model.card.temperatures))
        return found.to(self.columns.device).gather(1, self.columns[:, None])[:, 0]

    def _logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.model.net(part) for part in torch.split(images, BATCH_SIZE)])


Draw: TypeAlias = Callable[[Panel], Tensor]
"""From subjects to their maps ``(N, *spatial)``, on the grid of the net's input."""


def panel_of(model: Model, subjects: Sequence[Subject]) -> Panel:
    """Return the subjects as `model` sees them, each image read once; its net is set to eval mode.

    Raises
    ------
    InputError, MissingFileError
        If an image cannot be read, or the model does not know a label.
    """
    items = dict.fromkeys(subject.item for subject in subjects)
    pixels = {item: standardised_file(item.file, model.preparation)[0] for item in items}
    names = model.task.label_names
    for subject in subjects:
        if subject.label not in names:
            raise InputError(f"a model of {', '.join(names)} cannot be asked about {subject.label!r}.")
    device = next(model.net.eval().parameters()).device
    batch = torch.from_numpy(np.stack([pixels[subject.item] for subject in subjects])).to(device)
    return Panel(model, batch, torch.tensor([names.index(subject.label) for subject in subjects], device=device))


def method_maps(method: str) -> Draw:
    """Return how the maps of a heat map method are drawn; `InputError` if there is none of this name."""
    check_method(method)

    def draw(panel: Panel) -> Tensor:
        maps = torch.zeros_like(panel.batch[:, 0])
        for column in sorted(set(panel.columns.tolist())):
            own = torch.nonzero(panel.columns == column)[:, 0]
            for rows in torch.split(own, BATCH_SIZE):
                found = heat_maps(panel.model.net, panel.batch[rows], method, [column])
                maps[rows] = on_grid(found.maps.float(), maps.shape[1:])[:, 0]
        return maps

    return draw


def edge_maps(panel: Panel) -> Tensor:
    """Return the edges of each image, whatever the net and the label: a control."""
    edges = [edges_map(image) for image in panel.batch.cpu().numpy()]
    return torch.from_numpy(np.stack(edges)).to(panel.batch)


def noise_maps(seed: int) -> Draw:
    """Return how maps of pure noise are drawn, new ones with each call: a control."""
    generator = torch.Generator().manual_seed(seed)
    return lambda panel: torch.rand(panel.batch[:, 0].shape, generator=generator).to(panel.batch)
