"""What is chosen on tune of focus maps, label by label: how soft they are, and where they are cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from focusmap.evaluation.localisation import Reference
from focusmap.evaluation.localisation.cuts import FocusCut, cut_by_evidence, cut_by_masks, iou_at_cuts, kept_at_cuts
from focusmap.heatmaps import FOCUS
from focusmap.heatmaps.view import evidence_in
from focusmap.images.prepare import to_source
from focusmap.models.net import Model
from focusmap.nets.focus_net import FocusNet
from focusmap.study.cohort import Cohort
from focusmap.study.samples import Batch, Samples, at_once

BATCH_SIZE = 16
# The strongest place of a typical true positive, in logits of its map: 0.98.
STRONGEST = 4.0


def tuned(model: Model, reference: Reference) -> Model:
    """Return the model with a softness and a cut for each label, chosen on the reference's cohort and nothing else.

    The softness makes the strongest place of the images that have the label 0.98 on average. The members of an
    ensemble have been tuned already and keep theirs; the cut is that of their mean map.

    Parameters
    ----------
    model
        Calibrated. Its net has focus maps; their softness is changed in place.
    reference
        The tune part, with its masks or boxes if there are any.
    """
    if not model.members:
        _soften(model, model.nets[0], reference.cohort)
    return with_cuts(model, [(model, reference)])


def with_cuts(model: Model, tunes: Sequence[tuple[Model, Reference]]) -> Model:
    """Return the model with a cut for each label, chosen on what some models, itself or its folds', say of tune parts.

    The cut is chosen on true positives, images that have the label and are predicted to: with masks among them it is
    the one of the greatest mean IoU, else the one that keeps `KEPT_SHARE` of the evidence in the smallest region. A
    label without true positives is cut at 1/2, and so is a continuous value: there a place speaks for more than the
    average of train.
    """
    found = {label: _Found([], []) for label in model.task.label_names}
    for tuned_on_it, reference in tunes:
        for image_id, label, heat_map in _true_positives(tuned_on_it, reference.cohort):
            found[label].kept.append(kept_at_cuts(heat_map))
            mask = reference.mask(image_id, label, heat_map.shape)
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


def _soften(model: Model, net: FocusNet, cohort: Cohort) -> None:
    focus, device = net.eval().focus, next(net.parameters()).device
    assert focus is not None, "a plain backbone has no focus maps"
    highest = np.full((0, model.task.n_logits), np.nan)
    for batch, has_label in _positives(model, cohort):
        with torch.inference_mode():
            features = net.features(torch.from_numpy(batch.images(model.preparation).pixels).to(device))
            margins = focus.margins(net.evidence(features), net.head.bias, features)
            strongest = margins.flatten(2).amax(dim=2).cpu().double().numpy()
        highest = np.concatenate([highest, np.where(has_label, strongest, np.nan)])
    known = np.isfinite(highest)
    means = np.where(known, highest, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    focus.softness.copy_(torch.from_numpy(np.maximum(means / STRONGEST, 1.0)))


def _true_positives(model: Model, cohort: Cohort) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield an image's id, a label that it has and is predicted to have, and its focus map in the image's own grid."""
    view, labels = model.explainable(), range(model.task.n_logits)
    for batch, has_label in _positives(model, cohort):
        evidence = evidence_in(view.see(batch, FOCUS, labels), model.card, FOCUS, labels)
        placements = batch.images(model.preparation).placements
        for i, column in np.argwhere(has_label & evidence.predicted):
            label = model.task.label_names[column]
            yield batch.rows.image_ids[i], label, to_source(evidence.maps[i, column], placements[i])


def _positives(model: Model, cohort: Cohort) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield batches of the images that have any label, and which they have, ``(N, L) bool``."""
    has_label = _has_label(model, cohort)
    some = np.flatnonzero(has_label.any(axis=1))
    # An image that cannot be read is none to learn from; training has named it already.
    samples, most = Samples.from_files(cohort.take(some)), at_once(model.preparation.input_shape[1:], BATCH_SIZE)
    for batch in samples.batches([model.preparation], most):
        yield batch, has_label[some][batch.positions]


def _has_label(model: Model, cohort: Cohort) -> np.ndarray:
    """Return ``(N, L) bool``: which labels an image is known to have; a continuous value is none."""
    truth = model.task.label_truth(cohort.truth) >= 0.5
    for target in model.task.targets:
        if target.kind == "continuous":
            truth[:, model.task.slice_of(target.name)] = False
    return np.asarray(truth)
