"""What is chosen on tune of focus maps, label by label: how soft they are, and where they are cut."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from focusmap.cohort.cohort import Cohort
from focusmap.heatmaps.focus import FOCUS, MapMethod
from focusmap.imaging.preparation import to_source
from focusmap.inference.evidence import Item, Picture, find_evidence, read_pictures
from focusmap.inference.model import Model
from focusmap.localisation import Reference
from focusmap.localisation.cuts import cut_by_evidence, cut_by_masks, iou_at_cuts, kept_at_cuts
from focusmap.values.model_card import FocusCut

BATCH_SIZE = 16
# The strongest place of a typical true positive, in logits of its map: 0.98.
STRONGEST = 4.0


def tuned(model: Model, reference: Reference) -> Model:
    """Return the model with a softness and a cut for each label, chosen on the reference's cohort and nothing else.

    Both are chosen on true positives: pictures that have the label and are predicted to. The softness makes their
    strongest places 0.98 on average. The cut is, with masks among them, the one of the greatest mean IoU, else the one
    that keeps `KEPT_SHARE` of the evidence in the smallest region. A label without true positives is cut at 1/2, and so
    is a continuous value: there a place speaks for more than the average of train.

    Parameters
    ----------
    model
        Calibrated. Its net has focus maps; their softness is changed in place.
    reference
        The tune part, with its masks or boxes if there are any.
    """
    _soften(model, reference.cohort)
    names = model.task.label_names
    found = {label: _Found([], []) for label in names}
    for picture, column, place in _true_positives(model, reference.cohort, FOCUS):
        label = names[column]
        heat_map = to_source(place, picture.source_shape, picture.pixels.shape[-1])
        found[label].kept.append(kept_at_cuts(heat_map))
        mask = reference.mask(picture.item.image_id, label, picture.source_shape)
        if mask is not None and mask.any():
            found[label].ious.append(iou_at_cuts(heat_map, mask))
    cuts = {label: _choose(one) for label, one in found.items()}
    return replace(model, card=replace(model.card, cuts=cuts))


@dataclass(frozen=True)
class _Found:
    """What the true positives of one label say, one row each: IoU at each cut (masks only), and evidence kept."""

    ious: list[np.ndarray]
    kept: list[np.ndarray]


def _choose(found: _Found) -> FocusCut:
    n_images, n_masks = len(found.kept), len(found.ious)
    if n_masks:
        return FocusCut(cut_by_masks(found.ious), "masks", n_images, n_masks)
    if n_images:
        return FocusCut(cut_by_evidence(found.kept), "evidence", n_images)
    return FocusCut(0.5, "default")


def _soften(model: Model, cohort: Cohort) -> None:
    focus, bias = model.net.focus, model.net.head.bias.detach().cpu().numpy()
    assert focus is not None, "a plain backbone has no focus maps"
    highest: list[list[float]] = [[] for _ in model.task.label_names]
    for _, column, evidence in _true_positives(model, cohort, "cam"):
        highest[column].append(float(evidence.max() + bias[column]))
    softness = np.array([max(float(np.mean(values)) / STRONGEST, 1.0) if values else 1.0 for values in highest])
    for group in focus.classes:
        # Classes compete on one scale.
        softness[group] = softness[group].max()
    focus.softness.copy_(torch.from_numpy(softness))


def _true_positives(model: Model, cohort: Cohort, method: MapMethod) -> Iterator[tuple[Picture, int, np.ndarray]]:
    """Yield picture, position of a label that it has and is predicted to have, and its map ``(h, w)``."""
    has_label = _has_label(model, cohort)
    some = cohort.take(np.flatnonzero(has_label.any(axis=1)))
    items = [Item(*row) for row in zip(some.image_ids, some.table["path"], some.files, strict=True)]
    # A picture that cannot be read is none to learn from; training has named it already.
    pictures = read_pictures(items, model.preparation, failures=[])
    while batch := list(islice(pictures, BATCH_SIZE)):
        evidence = find_evidence(model, batch, method)
        for picture, maps, predicted in zip(batch, evidence.maps, evidence.predicted, strict=True):
            for column in np.flatnonzero(has_label[cohort.positions[picture.item.image_id]] & predicted):
                yield picture, int(column), maps[column]


def _has_label(model: Model, cohort: Cohort) -> np.ndarray:
    """Return ``(N, L) bool``: which labels a picture is known to have; a continuous value is none."""
    truth = model.task.label_truth(cohort.truth) >= 0.5
    for target in model.task.targets:
        if target.kind == "continuous":
            truth[:, model.task.slice_of(target.name)] = False
    return np.asarray(truth)
