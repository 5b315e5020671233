"""A trained net of single images as a value, and several of one architecture, or several views of an image, as one.

What is chosen on tune of its focus maps, label by label, stands here too: how soft they are, and their thresholds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from focusmap.basics import InputError, Json, ModelError
from focusmap.evaluation import Reference
from focusmap.evaluation.localisation import measures
from focusmap.heatmaps import FOCUS, ImageView, evidence_in
from focusmap.images import AnyPreparation, preparation_from, to_source
from focusmap.models.predictor import EncodedImages, ModelCard, Predictor, mean_card
from focusmap.nets import AS_IT_IS, CHANNELS_LAST, PROBE_SIDE, Architecture, Ensemble, FocusNet, View, build_net
from focusmap.study import Batch, Cohort, Flags, Images, Samples, Task, at_once

# Of the probe of models that were saved before the side was written down.
FIRST_PROBE_SIDE = 64
# Images that are shown at once at most, without gradients.
OF_STORE, OF_FILES = 64, 32
# Of images on a processor: small batches, whose maps stay in its cache, are twice as fast as large ones.
PIXELS_AT_ONCE = 3 * 320**2


@dataclass(frozen=True)
class Model:
    """A net with the card that says what it predicts, from what input, and how its output is read.

    Parameters
    ----------
    net
        One net, or the mean over several nets or several views of an image.
    card
        What `model.json` holds.
    members
        Of an ensemble: its nets as models of their own.
    """

    net: FocusNet | Ensemble
    card: ModelCard
    members: tuple["Model", ...] = ()

    @property
    def nets(self) -> tuple[FocusNet, ...]:
        """The one net, or those of an ensemble."""
        return self.net.nets if isinstance(self.net, Ensemble) else (self.net,)

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @property
    def preparation(self) -> AnyPreparation:
        """The steps from image or volume to input."""
        return preparation_from(self.card.preparation)

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """The one way in which images are prepared."""
        return (self.preparation,)

    @property
    def views(self) -> tuple[str, ...]:
        """None: rows are single images."""
        return ()

    def batch_size(self, *, stored: bool) -> int:
        """Return how many images are shown at once."""
        shape = self.preparation.input_shape[1:]
        most = at_once(shape, OF_STORE if stored else OF_FILES)
        is_slow = len(shape) == 2 and next(self.net.parameters()).device.type == "cpu"
        return max(1, min(most, PIXELS_AT_ONCE // int(np.prod(shape)))) if is_slow else most

    def check(self, rows: Cohort) -> None:
        """Take whatever rows there are: images are all that is looked at."""

    def encode(self, batch: Batch) -> EncodedImages:
        """Return the logits of the images of a batch, in the targets' own units."""
        images = shown(batch.images(self.preparation))
        with torch.inference_mode():
            logits = self.net.eval()(images.to(next(self.net.parameters()).device))
        return EncodedImages((self.to_units(logits.float().cpu().double().numpy()),), views=({},))

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:  # noqa: ARG002
        """Return the logits ``(N, L)`` that were found."""
        return encoded.features[0], None

    def with_card(self, card: ModelCard) -> "Model":
        """Return the same model with another card."""
        return replace(self, card=card)

    def to(self, device: str) -> "Model":
        """Return the model, its nets moved to a device."""
        self.net.to(device)
        return self

    def explainable(self) -> ImageView:
        """Return what heat maps need of it."""
        return ImageView(self.card, self.net, self.preparation)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights of a single net."""
        return {} if self.members else weights_of(self.nets[0])

    def probe(self, earlier: Mapping[str, Json]) -> dict[str, Json]:
        """Return the logits of noise."""
        # RandomState's stream is frozen for all time, unlike that of a Generator.
        architecture, seed = Architecture.from_dict(self.card.architecture), cast(int, earlier.get("seed", 0))
        side = cast(int, earlier.get("side", FIRST_PROBE_SIDE) if earlier else PROBE_SIDE[architecture.dimensions])
        noise = np.random.RandomState(seed).standard_normal(
            (1, architecture.channels, *[side] * architecture.dimensions)
        )
        with torch.inference_mode():
            logits = self.net.eval()(torch.from_numpy(noise).float().to(next(self.net.parameters()).device))
        return {"seed": seed, "side": side, "logits": [float(value) for value in logits[0]]}

    def folders(self) -> Mapping[str, Predictor]:
        """Return the members, each in its folder."""
        return dict(zip(self.card.members, self.members, strict=True))

    def to_units(self, logits: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` with the columns of continuous targets in the target's own units."""
        return self.task.in_units(logits, self.card.scales)


def shown(images: Images) -> torch.Tensor:
    """Return what a net is shown of images, ``(P, C, *spatial) float32``; channels last in memory, as in a training."""
    pixels = torch.from_numpy(images.pixels)
    # What comes from files is answered as it always was, to the last bit.
    return pixels if images.placements else pixels.contiguous(memory_format=CHANNELS_LAST[pixels.ndim])


def net_from(card: ModelCard, arrays: Mapping[str, np.ndarray], members: Mapping[str, Predictor]) -> Model:
    """Return the model that a folder holds, in eval mode on the processor.

    Raises
    ------
    InputError, ModelError
        If there is no such net, the weights are those of another, or the members do not belong together.
    """
    if members:
        nets = tuple(_member(name, member, card) for name, member in members.items())
        return Model(ensemble_net(card, nets), card, nets)
    net = build_net(Architecture.from_dict(card.architecture))
    if card.task.n_logits != net.head.out_features:
        raise InputError(f"{net.head.out_features} logits for {card.task.n_logits} labels.")
    fill(net, arrays)
    return Model(Ensemble([net], views_of(card)) if card.tta else net, card)


def _member(name: str, member: Predictor, card: ModelCard) -> Model:
    if not isinstance(member, Model) or member.members or member.card.tta:
        raise ModelError(f"{name} is an ensemble; a member is a single net.")
    for key in ("task", "architecture", "preparation"):
        if getattr(member.card, key) != getattr(card, key):
            raise ModelError(f"{name}: its {key} is not that of the ensemble. Copy the whole model folder again.")
    return member


def fill(net: FocusNet, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a net its weights and set it to eval mode; `ModelError` if they are those of another net."""
    try:
        net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except RuntimeError as error:
        fact = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"the weights do not fit the net that the card names ({fact}).") from None
    net.eval()


def weights_of(net: FocusNet) -> dict[str, np.ndarray]:
    """Return all weights of a net."""
    return {name: value.detach().cpu().contiguous().numpy() for name, value in net.state_dict().items()}


def ensemble_net(card: ModelCard, members: Sequence[Model]) -> Ensemble:
    """Return the net of an ensemble: members are brought to the scales of its card, then averaged over its views."""
    ones, zeros = np.ones((1, card.task.n_logits)), np.zeros((1, card.task.n_logits))
    ensemble = Model(members[0].net, card)
    unit, origin = ensemble.to_units(ones) - ensemble.to_units(zeros), ensemble.to_units(zeros)
    origins = np.concatenate([member.to_units(zeros) for member in members])
    units = np.concatenate([member.to_units(ones) for member in members]) - origins
    gains, offsets = torch.from_numpy(units / unit).float(), torch.from_numpy((origins - origin) / unit).float()
    return Ensemble([member.nets[0] for member in members], views_of(card), gains, offsets)


def views_of(card: ModelCard) -> tuple[View, ...]:
    """Return the views that a card lists; the image as it is where it lists none."""
    return tuple(View.from_dict(values) for values in card.tta) or (AS_IT_IS,)


def with_views(model: Model, views: Sequence[View]) -> Model:
    """Return the model that averages its answer over several views of each image; not calibrated yet."""
    card = replace(model.card, tta=[view.to_dict() for view in views], temperatures={}, thresholds={})
    return Model(Ensemble(model.nets, views), card)


def over_views(model: Model, preparation: AnyPreparation, views: Sequence[View]) -> Model:
    """Return the model that averages over views of larger images than it learnt from; not calibrated yet.

    A net is less sure where images are larger, so that its logits, and its maps, weigh less there.

    Parameters
    ----------
    model
        Of single images; a net or an ensemble of nets.
    preparation
        Of the images that the views are of.
    views
        Of all of an image.
    """
    members = tuple(one.with_card(replace(one.card, preparation=preparation.to_dict())) for one in model.members)
    card = replace(model.card, preparation=preparation.to_dict(), tta=[view.to_dict() for view in views])
    card = replace(card, temperatures={}, thresholds={})
    return Model(ensemble_net(card, members) if members else Ensemble(model.nets, views), card, members)


def mean_of_nets(models: Sequence[Model], views: Sequence[View], made_of: str) -> Model:
    """Return the ensemble of nets of one task, preparation and architecture; not calibrated yet.

    Members keep their own calibration, but not their views.

    Parameters
    ----------
    models
        One or more, none of which is an ensemble.
    views
        Of each image, shown to each member.
    made_of
        For the reader: ``seeds`` or ``folds``.
    """
    members = tuple(_plain(model) for model in models)
    card = mean_card([member.card for member in members], made_of)
    seeds = sorted({cast(int, member.card.training.get("seed", 0)) for member in members})
    card = replace(
        card,
        scales=_mean_scales(members),
        tta=[view.to_dict() for view in views],
        map_thresholds={},
        training={**card.training, "seed": cast(Json, seeds)},
    )
    return Model(ensemble_net(card, members), card, members)


def _plain(model: Model) -> Model:
    """Return the model without its views; it keeps its own calibration."""
    return Model(model.nets[0], replace(model.card, tta=[]))


def _mean_scales(members: Sequence[Model]) -> dict[str, list[float]]:
    names = members[0].card.scales
    return {name: np.mean([member.card.scales[name] for member in members], axis=0).tolist() for name in names}


BATCH_SIZE = 16
# The strongest place of a typical true positive, in logits of its map: 0.98.
STRONGEST = 4.0


def tuned(model: Model, reference: Reference) -> Model:
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
