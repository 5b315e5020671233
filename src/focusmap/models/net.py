"""A trained net of single images as a value, and several of one architecture, or several views of an image, as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from focusmap.basics import InputError, Json, ModelError
from focusmap.heatmaps import ImageView
from focusmap.images import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard, mean_card
from focusmap.models.predictor import EncodedImages, Predictor
from focusmap.nets import AS_IT_IS, CHANNELS_LAST, KNOWN_ANSWER_SIDE, Architecture, Ensemble, FocusNet, View, build_net
from focusmap.nets.tensors import fill_net
from focusmap.study import Batch, Cohort, Flags, Images, Task, at_once

# Of models that were saved before the side of what they are asked was written down.
FIRST_SIDE = 64
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
        """Accept all rows: nothing but their images is used."""

    def encode(self, batch: Batch) -> EncodedImages:
        """Return the logits of the images of a batch, in the targets' own units."""
        images = shown(batch.images(self.preparation))
        with torch.inference_mode():
            logits = self.net.eval()(images.to(next(self.net.parameters()).device))
        return EncodedImages(self.to_units(logits.float().cpu().double().numpy()))

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:  # noqa: ARG002
        """Return the logits ``(N, L)`` that were found."""
        return encoded.features, None

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

    def known_answer(self, earlier: Mapping[str, Json]) -> dict[str, Json]:
        """Return the logits of noise."""
        # RandomState's stream is frozen for all time, unlike that of a Generator.
        architecture, seed = Architecture.from_dict(self.card.architecture), cast(int, earlier.get("seed", 0))
        side = cast(int, earlier.get("side", FIRST_SIDE) if earlier else KNOWN_ANSWER_SIDE[architecture.dimensions])
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
    fill_net(net, arrays)
    return Model(Ensemble([net], views_of(card)) if card.tta else net, card)


def _member(name: str, member: Predictor, card: ModelCard) -> Model:
    if not isinstance(member, Model) or member.members or member.card.tta:
        raise ModelError(f"{name} is an ensemble; a member is a single net.")
    for key in ("task", "architecture", "preparation"):
        if getattr(member.card, key) != getattr(card, key):
            raise ModelError(f"{name}: its {key} is not that of the ensemble. Copy the whole model folder again.")
    return member


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


def over_views(model: Model, views: Sequence[View], preparation: AnyPreparation | None = None) -> Model:
    """Return the model that averages its answer over several views of each image; not calibrated yet.

    Parameters
    ----------
    model
        Of single images; a net or an ensemble of nets.
    views
        Of all of an image.
    preparation
        Of the images that the views are of, where they are larger than those that it learnt from. A net is less sure
        there, so that its logits, and its maps, weigh less.
    """
    stated = model.card.preparation if preparation is None else preparation.to_dict()
    members = tuple(one.with_card(replace(one.card, preparation=stated)) for one in model.members)
    tta: list[Json] = [view.to_dict() for view in views]
    card = replace(model.card, preparation=stated, tta=tta, temperatures={}, thresholds={})
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
