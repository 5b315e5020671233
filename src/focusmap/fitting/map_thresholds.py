"""How soft focus maps are and where their regions begin, label by label, as chosen on the tuning set."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from focusmap.evaluation import Reference
from focusmap.evaluation.localisation import measures
from focusmap.heatmaps import FOCUS, evidence_in
from focusmap.images import to_source
from focusmap.models.net import Model
from focusmap.nets import FocusNet
from focusmap.study import Batch, Cohort, Samples, at_once

BATCH_SIZE = 16
# The strongest place of a typical true positive, in logits of its map: 0.98.
STRONGEST = 4.0


def tune_focus_maps(model: Model, reference: Reference) -> Model:
    """Return the model with a softness and a threshold for each label, chosen on the reference's cohort alone.

    The softness makes the strongest place of the images that have the label 0.98 on average. The members of an
    ensemble have been tuned already and keep theirs; the threshold is that of their mean map.

    Parameters
    ----------
    model
        Calibrated. Its net has focus maps; their softness is changed in place.
    reference
        The tune part, with its masks or boxes if there are any.
    """
    if not model.members:
        _soften(model, model.nets[0], reference.cohort)
    return with_map_thresholds(model, [(model, reference)])


def with_map_thresholds(model: Model, tunes: Sequence[tuple[Model, Reference]]) -> Model:
    """Return the model with a map threshold per label, chosen on what models, itself or its folds', say of tune.

    It is chosen on true positives, images that have the label and are predicted to: with masks among them it is
    the one of the greatest mean IoU, else the one that keeps `KEPT_SHARE` of the evidence in the smallest region. A
    label without true positives has 1/2, and so is a continuous value: there a place speaks for more than the
    average of train.
    """
    ious: dict[str, list[np.ndarray]] = {label: [] for label in model.task.label_names}
    kept: dict[str, list[np.ndarray]] = {label: [] for label in model.task.label_names}
    for tuned_on_it, reference in tunes:
        for image_id, label, heat_map in _true_positives(tuned_on_it, reference.cohort):
            kept[label].append(measures.kept_at_thresholds(heat_map))
            mask = reference.mask(image_id, label, heat_map.shape)
            if mask is not None and mask.any():
                ious[label].append(measures.iou_at_thresholds(heat_map, mask))
    thresholds = {label: _choose_threshold(ious[label], kept[label]) for label in model.task.label_names}
    return replace(model, card=replace(model.card, map_thresholds=thresholds))


def _choose_threshold(ious: Sequence[np.ndarray], kept: Sequence[np.ndarray]) -> measures.MapThreshold:
    """Return the threshold of a label by its true positives: IoU (masks only) and evidence kept at each threshold."""
    if ious:
        return measures.MapThreshold(measures.threshold_by_masks(ious), "masks", len(kept), len(ious))
    if kept:
        return measures.MapThreshold(measures.threshold_by_evidence(kept), "evidence", len(kept))
    return measures.MapThreshold(0.5, "default")


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
        evidence = evidence_in(view.map_batch(batch, FOCUS, labels), model.card, FOCUS, labels)
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
        if target.is_number:
            truth[:, model.task.slice_of(target.name)] = False
    return np.asarray(truth)
