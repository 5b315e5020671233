"""What a model says of picture files, and where it sees it: probabilities and maps from one forward pass a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from focusmap.errors import InputError, MissingFileError
from focusmap.evaluation.calibration import apply
from focusmap.heatmaps.class_activation import class_activation_maps, has_evidence, positive_evidence
from focusmap.heatmaps.focus import FOCUS, MapMethod, focus_maps
from focusmap.imaging.preparation import Preparation, content_statistics, prepare_file, standardise
from focusmap.inference.model import Model


@dataclass(frozen=True)
class Item:
    """One picture to explain: its id, the path to show for it, and the file."""

    image_id: str
    path: str
    file: Path


@dataclass(frozen=True)
class Picture:
    """A picture that was read: `pixels` ``(C, size, size) float32``, standardised; its (rows, columns) in the file."""

    item: Item
    pixels: np.ndarray
    source_shape: tuple[int, int]


@dataclass(frozen=True)
class Evidence:
    """What one forward pass says of N pictures and L labels.

    Parameters
    ----------
    probabilities
        ``(N, L)``, calibrated; a continuous target's value.
    predicted
        ``(N, L) bool``: at or above the operating point, or the most probable class.
    shown
        ``(N, L) bool``: false where there is no evidence worth showing.
    amounts
        ``(N, L)``: what the positive part of each map adds to its logit; of a focus map, its mean.
    maps
        ``(N, L, h, w)`` on the scale of the method; in its own units for a continuous target. A focus map lies between
        0 and 1, and is empty where its label is not predicted.
    units
        ``(L,)``: what one logit is on the maps.
    """

    probabilities: np.ndarray
    predicted: np.ndarray
    shown: np.ndarray
    amounts: np.ndarray
    maps: np.ndarray
    units: np.ndarray


def read_pictures(
    items: Sequence[Item], preparation: Preparation, failures: list[tuple[str, str]]
) -> Iterator[Picture]:
    """Yield the pictures that can be read; append (image_id, reason) of the others to `failures`."""
    for item in items:
        try:
            pixels, source_shape = prepare_file(item.file, preparation)
        except (InputError, MissingFileError) as error:
            failures.append((item.image_id, str(error)))
            continue
        mean, deviation = (np.array([value], np.float32) for value in content_statistics(pixels, source_shape))
        yield Picture(item, standardise(pixels[np.newaxis], mean, deviation)[0], source_shape)


def find_evidence(model: Model, pictures: Sequence[Picture], method: MapMethod) -> Evidence:
    """Return probabilities and maps of all labels for a batch of pictures; the net is set to eval mode."""
    device = next(model.net.parameters()).device
    pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures])).to(device)
    model.net.eval()
    if method == FOCUS:
        return _focus_evidence(model, *focus_maps(model.net, pixels))
    logits, maps = class_activation_maps(model.net, pixels, method)
    probabilities = _probabilities(model, logits)
    deviations = _deviations(model)
    return Evidence(
        probabilities=probabilities,
        predicted=predicted_labels(model, probabilities),
        shown=has_evidence(maps, method).cpu().numpy(),
        amounts=positive_evidence(maps, method).double().cpu().numpy(),
        maps=maps.float().cpu().numpy() * deviations[:, None, None],
        units=deviations if method == "cam" else deviations / maps[0, 0].numel(),
    )


def _focus_evidence(model: Model, logits: torch.Tensor, maps: torch.Tensor) -> Evidence:
    probabilities = _probabilities(model, logits)
    predicted = predicted_labels(model, probabilities)
    shown = maps.float().cpu().numpy() * predicted[..., None, None]
    return Evidence(
        probabilities=probabilities,
        predicted=predicted,
        shown=predicted,
        amounts=shown.mean(axis=(-2, -1), dtype=np.float64),
        maps=shown,
        units=np.ones(maps.shape[1], dtype=np.float32),
    )


def _probabilities(model: Model, logits: torch.Tensor) -> np.ndarray:
    return apply(model.task, model.to_units(logits.double().cpu().numpy()), model.card.temperatures)


def predicted_labels(model: Model, probabilities: np.ndarray) -> np.ndarray:
    """Return ``(N, L) bool``: at or above the operating point; the most probable class; always for continuous."""
    predicted = np.ones(probabilities.shape, dtype=bool)
    for target in model.task.targets:
        part = model.task.slice_of(target.name)
        if target.kind == "binary":
            predicted[:, part] = probabilities[:, part] >= model.card.thresholds.get(target.name, 0.5)
        elif target.kind != "continuous":
            predicted[:, part] = np.eye(target.n_logits, dtype=bool)[probabilities[:, part].argmax(axis=1)]
    return predicted


def _deviations(model: Model) -> np.ndarray:
    """Return ``(L,) float32``: 1, or the deviation that a continuous target was standardised by for training."""
    one, zero = np.ones((1, model.task.n_logits)), np.zeros((1, model.task.n_logits))
    return np.asarray((model.to_units(one) - model.to_units(zero))[0], dtype=np.float32)
