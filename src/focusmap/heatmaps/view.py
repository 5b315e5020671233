"""What heat maps need of a model: its logits for a batch of images, and the evidence behind them place by place.

Models give a view of themselves by their method ``explainable()``, one of `focusmap.heatmaps.net_views`. Nothing here
knows what a model is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from focusmap.evaluation import MapThreshold, calibrated_probabilities
from focusmap.heatmaps.class_activation import NO_EVIDENCE_BELOW
from focusmap.heatmaps.methods import FOCUS, RECONSTRUCTION, method_of, unit_of
from focusmap.images import AnyPreparation
from focusmap.study import Batch, Task


class Card(Protocol):
    """How a model's logits are read."""

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""

    @property
    def temperatures(self) -> Mapping[str, float]:
        """Divisor of each target's logits."""

    @property
    def scales(self) -> Mapping[str, list[float]]:
        """Mean and deviation of each continuous target."""

    @property
    def map_thresholds(self) -> Mapping[str, MapThreshold]:
        """Threshold of each label's focus maps."""

    def threshold_of(self, target: str) -> float:
        """Return the operating point of a binary target."""


@dataclass(frozen=True)
class BatchMaps:
    """The logits of L labels for P images, and heat maps of M of these labels.

    Parameters
    ----------
    logits
        ``(P, L)``; a continuous target's value in its own unit. Images of a case share those of the case.
    maps
        ``(P, M, *grid)`` in the unit of the method; of a continuous target in its own unit in place of logits.
    amounts
        ``(P, M)``, in logits: what the positive part of the class activation map adds, whatever the method; of a map
        that is the net's own output its mean.
    deviations
        ``(M,)``: what one logit is in the unit of a continuous target; 1 for other labels.
    sharing
        ``(P,) float``: how many images share what is added to the logits: those of the image's case, or 1.
    """

    logits: np.ndarray
    maps: np.ndarray
    amounts: np.ndarray
    deviations: np.ndarray
    sharing: np.ndarray


class NetView(Protocol):
    """A model as heat maps see it."""

    @property
    def card(self) -> Card:
        """How its logits are read."""

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """How images are prepared for it; the grids of its maps cover images in the first of these ways."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that can draw its maps, first those that are its own output if it has any."""

    def check(self, method: str | None) -> str:
        """Return the method of this name, or the usual one; `InputError` if there is none, or it needs another net."""

    def map_batch(self, batch: Batch, method: str, labels: Sequence[int]) -> BatchMaps:
        """Return the logits of a batch's images, and heat maps of the labels at these positions."""


@dataclass(frozen=True)
class Evidence:
    """Probabilities and maps of M labels in P images, as they are shown.

    An example: of a map of 4 x 4 cells one says .05 and the others nothing, so that .05 is added to the logit. With a
    unit of 1/16 that cell is shown as .8: what would be added if every cell said the same. Of a diameter that was
    standardised by 3 mm the cell is .15 and the unit 3/16; it is shown as .8 again, times the deviation as 2.4 mm.

    Parameters
    ----------
    probabilities
        ``(P, M)``, calibrated; a continuous target's value.
    predicted
        ``(P, M) bool``: at or above the operating point, or the most probable class.
    has_evidence
        ``(P, M) bool``: false where there is no evidence worth showing.
    amounts
        ``(P, M)``, as `BatchMaps` has them; of a focus map, the mean of what is shown.
    maps
        ``(P, M, *grid)``, as `BatchMaps` has them. A focus map is empty where its label is not predicted.
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

    def of_image(self, i: int) -> "Evidence":
        """Return the evidence of image `i` alone, its arrays without the first axis."""
        names = ("probabilities", "predicted", "has_evidence", "amounts", "maps")
        return replace(self, **{name: getattr(self, name)[i] for name in names})


def evidence_in(mapped: BatchMaps, card: Card, method: str, labels: Sequence[int]) -> Evidence:
    """Return the calibrated probabilities of these labels, and what is shown of their maps by a method."""
    probabilities = calibrated_probabilities(card.task, mapped.logits, card.temperatures)
    predicted = predicted_labels(card, probabilities)[:, labels]
    n_cells = mapped.maps[0, 0].size
    evidence = Evidence(
        probabilities=probabilities[:, labels],
        predicted=predicted,
        # What is well reconstructed as a whole may have one place that is not.
        has_evidence=_is_worth_showing(mapped) | (method_of(method) == RECONSTRUCTION),
        amounts=mapped.amounts,
        maps=mapped.maps,
        units=mapped.deviations / n_cells if unit_of(method).per_cell else mapped.deviations,
        deviations=mapped.deviations,
    )
    return _of_predicted(evidence) if method_of(method) == FOCUS else evidence


def _is_worth_showing(mapped: BatchMaps) -> np.ndarray:
    return np.asarray(mapped.sharing[:, np.newaxis] * mapped.amounts >= NO_EVIDENCE_BELOW)


def _of_predicted(evidence: Evidence) -> Evidence:
    """Return focus maps as they are shown: empty where the label is not predicted."""
    places = tuple(range(2, evidence.maps.ndim))
    maps = evidence.maps * np.expand_dims(evidence.predicted, places)
    return replace(
        evidence, has_evidence=evidence.predicted, amounts=maps.mean(axis=places, dtype=np.float64), maps=maps
    )


def predicted_labels(card: Card, probabilities: np.ndarray) -> np.ndarray:
    """Return ``(N, L) bool``: at or above the operating point; the most probable class; always for continuous."""
    predicted = np.ones(probabilities.shape, dtype=bool)
    for target in card.task.targets:
        part = card.task.slice_of(target.name)
        if target.kind == "binary":
            predicted[:, part] = probabilities[:, part] >= card.threshold_of(target.name)
        elif not target.is_number:
            predicted[:, part] = np.eye(target.n_logits, dtype=bool)[probabilities[:, part].argmax(axis=1)]
    return predicted


def deviations_of(card: Card) -> np.ndarray:
    """Return ``(L,) float32``: 1, or the deviation that a continuous target was standardised by for training."""
    deviations = np.ones(card.task.n_logits, dtype=np.float32)
    for name, (_, deviation) in card.scales.items():
        deviations[card.task.slice_of(name)] = deviation
    return deviations
