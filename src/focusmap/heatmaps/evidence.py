"""What a model says of picture files, and where it sees it: probabilities and maps, a batch at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from focusmap.errors import InputError, MissingFileError
from focusmap.evaluation.calibration import apply
from focusmap.heatmaps import FOCUS, RECONSTRUCTION, HeatMaps, heat_maps, method_of, unit_of
from focusmap.heatmaps.class_activation import NO_EVIDENCE_BELOW
from focusmap.images.prepare import AnyPlacement, AnyPreparation, standardised_file
from focusmap.models.card import ModelCard
from focusmap.models.cases import CaseModel
from focusmap.models.net import Model
from focusmap.models.predictor import Looked
from focusmap.nets.case_pictures import PictureInCase
from focusmap.study.cohort import Cohort


@dataclass(frozen=True)
class Item:
    """One picture to explain: its id, the path to show for it, and the file; of a model of cases, its case and view."""

    image_id: str
    path: str
    file: Path
    case_id: str = ""
    view: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture that was read: `pixels` ``(C, *spatial) float32``, standardised; where they come from."""

    item: Item
    pixels: np.ndarray
    placement: AnyPlacement


@dataclass(frozen=True)
class Evidence:
    """What a model says of N pictures and the M labels asked for.

    An example: of a map of 4 x 4 cells one says .05 and the others nothing, so that .05 is added to the logit. With a
    unit of 1/16 that cell is shown as .8: what would be added if every cell said the same. Of a diameter that was
    standardised by 3 mm the cell is .15 and the unit 3/16; it is shown as .8 again, times the deviation as 2.4 mm.

    Parameters
    ----------
    probabilities
        ``(N, M)``, calibrated; a continuous target's value.
    predicted
        ``(N, M) bool``: at or above the operating point, or the most probable class.
    has_evidence
        ``(N, M) bool``: false where there is no evidence worth showing.
    amounts
        ``(N, M)``: what the positive part of the class activation map adds to the logit, whatever the method; of a
        focus map, its mean.
    maps
        ``(N, M, *grid)`` in the unit of the method; for a continuous target, in its own units in place of logits. A
        focus map is empty where its label is not predicted.
    units
        ``(M,)``: what one unit of the values that are shown is on the maps.
    deviations
        ``(M,)``: what one logit is in the unit of a continuous target; 1 for other labels.
    """

    probabilities: np.ndarray
    predicted: np.ndarray
    has_evidence: np.ndarray
    amounts: np.ndarray
    maps: np.ndarray
    units: np.ndarray
    deviations: np.ndarray


def read_pictures(
    items: Sequence[Item], preparation: AnyPreparation, failures: list[tuple[str, str]]
) -> Iterator[Picture]:
    """Yield the pictures that can be read; append (image_id, reason) of the others to `failures`."""
    for item in items:
        try:
            pixels, placement = standardised_file(item.file, preparation)
        except (InputError, MissingFileError) as error:
            failures.append((item.image_id, str(error)))
            continue
        yield Picture(item, pixels, placement)


def find_case_evidence(
    model: CaseModel, case: Cohort, pictures: Sequence[Picture], method: str, labels: Sequence[int]
) -> Evidence:
    """Return what a model says of one case, once for each of its P pictures, and what it sees in each of them.

    All else of the case is held fixed while a picture is explained (`focusmap.nets.case_pictures`). Since pictures add
    up, one has evidence worth showing from an even share of what a case needs.

    Parameters
    ----------
    case
        A cohort of one case with these pictures and no others, in this order.
    """
    parts = model.take_apart(np.stack([picture.pixels for picture in pictures]), case)
    logits, _ = model.learnt(Looked(tuple(looked for looked, _ in parts)), case)
    probabilities = apply(model.task, logits, model.card.temperatures)
    found = [_maps_of_pictures(nets, pictures, method, labels) for _, nets in parts]
    units = np.stack([deviations_of(part.card)[labels] for part in model.parts])
    unit, n, places = units.mean(axis=0), len(pictures), [1] * (found[0].maps.ndim - 2)
    amounts = np.mean([one.evidence.numpy() * own / unit for one, own in zip(found, units, strict=True)], axis=0)
    maps = [one.maps.numpy() * own.reshape(-1, *places) for one, own in zip(found, units, strict=True)]
    return Evidence(
        probabilities=np.repeat(probabilities[:, labels], n, axis=0),
        predicted=np.repeat(predicted_labels(model, probabilities)[:, labels], n, axis=0),
        has_evidence=n * amounts >= NO_EVIDENCE_BELOW,
        amounts=amounts,
        maps=np.mean(maps, axis=0),
        units=unit / found[0].maps[0, 0].numel() if unit_of(method).per_cell else unit,
        deviations=unit,
    )


def _maps_of_pictures(
    nets: Sequence[PictureInCase], pictures: Sequence[Picture], method: str, labels: Sequence[int]
) -> HeatMaps:
    """Return logits, maps and evidence of the P pictures of a case, each by its own net."""
    found = []
    for net, picture in zip(nets, pictures, strict=True):
        batch = torch.from_numpy(picture.pixels[np.newaxis]).to(net.weight.device)
        one = heat_maps(net, batch, method, labels)
        found.append((one.logits.cpu(), one.maps.float().cpu(), one.evidence.cpu()))
    return HeatMaps(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def find_evidence(model: Model, pictures: Sequence[Picture], method: str, labels: Sequence[int]) -> Evidence:
    """Return probabilities and maps of some labels for a batch of pictures; the net is set to eval mode."""
    found = heat_maps(model.net.eval(), pixels_of(model, pictures), method, labels)
    probabilities = apply(model.task, model.to_units(found.logits.cpu().double().numpy()), model.card.temperatures)
    predicted = predicted_labels(model, probabilities)[:, labels]
    if method_of(method) == FOCUS:
        return _focus_evidence(probabilities[:, labels], predicted, found.maps.float().cpu().numpy())
    deviations, n_cells = deviations_of(model.card)[labels], found.maps[0, 0].numel()
    return Evidence(
        probabilities=probabilities[:, labels],
        predicted=predicted,
        # What is well reconstructed as a whole may have one place that is not.
        has_evidence=found.has_evidence.cpu().numpy() | (method_of(method) == RECONSTRUCTION),
        amounts=found.evidence.cpu().double().numpy(),
        maps=found.maps.float().cpu().numpy() * deviations.reshape(-1, *[1] * (found.maps.ndim - 2)),
        units=deviations / n_cells if unit_of(method).per_cell else deviations,
        deviations=deviations,
    )


def pixels_of(model: Model, pictures: Sequence[Picture]) -> torch.Tensor:
    """Return the pictures as ``(N, C, *spatial)`` where the model computes."""
    device = next(model.net.parameters()).device
    return torch.from_numpy(np.stack([picture.pixels for picture in pictures])).to(device)


def _focus_evidence(probabilities: np.ndarray, predicted: np.ndarray, maps: np.ndarray) -> Evidence:
    places = tuple(range(2, maps.ndim))
    of_predicted = maps * np.expand_dims(predicted, places)
    return Evidence(
        probabilities=probabilities,
        predicted=predicted,
        has_evidence=predicted,
        amounts=of_predicted.mean(axis=places, dtype=np.float64),
        maps=of_predicted,
        units=np.ones(maps.shape[1], dtype=np.float32),
        deviations=np.ones(maps.shape[1], dtype=np.float32),
    )


def predicted_labels(model: Model | CaseModel, probabilities: np.ndarray) -> np.ndarray:
    """Return ``(N, L) bool``: at or above the operating point; the most probable class; always for continuous."""
    predicted = np.ones(probabilities.shape, dtype=bool)
    for target in model.task.targets:
        part = model.task.slice_of(target.name)
        if target.kind == "binary":
            predicted[:, part] = probabilities[:, part] >= model.card.threshold_of(target.name)
        elif target.kind != "continuous":
            predicted[:, part] = np.eye(target.n_logits, dtype=bool)[probabilities[:, part].argmax(axis=1)]
    return predicted


def deviations_of(card: ModelCard) -> np.ndarray:
    """Return ``(L,) float32``: 1, or the deviation that a continuous target was standardised by for training."""
    found = np.ones(card.task.n_logits, dtype=np.float32)
    for name, (_, deviation) in card.scales.items():
        found[card.task.slice_of(name)] = deviation
    return found
