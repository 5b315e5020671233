"""A trained model as a value, and as a folder: ``weights.safetensors`` beside ``model.json``.

An ensemble's folder holds a folder for each member in the place of weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from focusmap.errors import InputError, MissingFileError, ModelError
from focusmap.files import Json, atomic
from focusmap.heatmaps.net_views import ImageView
from focusmap.images.prepare import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard, read_card, write_card
from focusmap.models.predictor import Looked
from focusmap.nets.backbones import PROBE_SIDE
from focusmap.nets.build import Architecture, build_net
from focusmap.nets.ensemble import Ensemble
from focusmap.nets.focus_net import FocusNet
from focusmap.nets.grids import CHANNELS_LAST
from focusmap.nets.views import AS_IT_IS, View
from focusmap.study.cohort import Cohort
from focusmap.study.flags import Flags
from focusmap.study.samples import Batch, Images, at_once
from focusmap.study.task import Task

CARD = "model.json"
WEIGHTS = "weights.safetensors"
# Of the probe of models that were saved before the side was written down.
FIRST_PROBE_SIDE = 64
# Other processors and library versions round differently; a wrong net is off by far more.
PROBE_TOLERANCE = 1e-3
# Images that are shown at once at most, without gradients.
OF_STORE, OF_FILES = 64, 32


@dataclass(frozen=True)
class Model:
    """A net with the card that says what it predicts, from what input, and how its output is read.

    Parameters
    ----------
    net
        One net, or the mean over several nets or several views of a picture.
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
        """The steps from picture or volume to input."""
        return preparation_from(self.card.preparation)

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """The one way in which images are prepared."""
        return (self.preparation,)

    @property
    def views(self) -> tuple[str, ...]:
        """None: rows are single images."""
        return ()

    def n_images(self, *, stored: bool) -> int:
        """Return how many images are shown at once."""
        return at_once(self.preparation.input_shape[1:], OF_STORE if stored else OF_FILES)

    def check(self, rows: Cohort) -> None:
        """Take whatever rows there are: images are all that is looked at."""

    def look(self, batch: Batch) -> Looked:
        """Return the logits of the images of a batch, in the targets' own units."""
        images = shown(batch.images(self.preparation))
        with torch.inference_mode():
            logits = self.net.eval()(images.to(next(self.net.parameters()).device))
        return Looked((self.to_units(logits.float().cpu().double().numpy()),), views=({},))

    def learnt(self, looked: Looked, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:  # noqa: ARG002
        """Return the logits ``(N, L)`` that were found."""
        return looked.features[0], None

    def calibrated(self, temperatures: Mapping[str, float], thresholds: Mapping[str, float]) -> "Model":
        """Return the same net with the temperatures and thresholds that were fitted on tune."""
        return replace(self, card=replace(self.card, temperatures=temperatures, thresholds=thresholds))

    def to(self, device: str) -> "Model":
        """Return the model, its nets moved to a device."""
        self.net.to(device)
        return self

    def explainable(self) -> ImageView:
        """Return what heat maps need of it."""
        return ImageView(self.card, self.net, self.preparation)

    def to_units(self, logits: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` with the columns of continuous targets in the target's own units."""
        return self.task.in_units(logits, self.card.scales)


def shown(images: Images) -> Tensor:
    """Return what a net is shown of images, ``(P, C, *spatial) float32``; channels last in memory, as in a training."""
    pixels = torch.from_numpy(images.pixels)
    # What comes from files is answered as it always was, to the last bit.
    return pixels if images.placements else pixels.contiguous(memory_format=CHANNELS_LAST[pixels.ndim])


def save_model(model: Model, folder: Path) -> Model:
    """Write weights or members, and the card, to `folder`; return the model as saved, with the probe's logits."""
    architecture = Architecture.from_dict(model.card.architecture)
    model = replace(model, card=replace(model.card, probe=_probe(model.net, _probe_shape(architecture))))
    for name, member in zip(model.card.members, model.members, strict=True):
        save_model(member, folder / name)
    if not model.members:
        save_weights(model.nets[0], folder / WEIGHTS)
    write_card(model.card, folder / CARD)
    return model


def load_model(folder: Path) -> Model:
    """Return the model in `folder`, in eval mode on the processor, once it has given the probe's logits.

    Raises
    ------
    MissingFileError
        If a file of the model is missing.
    ModelError
        If the model is newer than this program, has unknown keys, its weights are damaged or of another net, its
        members do not belong together, or the net does not give the logits that it gave when it was saved.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such model folder.")
    card = read_card(folder / CARD)
    members = tuple(_load_member(folder, name, card) for name in card.members)
    try:
        net = ensemble_net(card, members) if members else _load_net(card, folder)
    except ModelError:
        raise
    except InputError as error:
        raise ModelError(f"{folder / CARD}: {error}") from None
    _check_probe(net, card, folder)
    return Model(net, card, members)


def ensemble_net(card: ModelCard, members: Sequence[Model]) -> Ensemble:
    """Return the net of an ensemble: members are brought to the scales of its card, then averaged over its views."""
    ones, zeros = np.ones((1, card.task.n_logits)), np.zeros((1, card.task.n_logits))
    own = Model(members[0].net, card)
    unit, origin = own.to_units(ones) - own.to_units(zeros), own.to_units(zeros)
    origins = np.concatenate([member.to_units(zeros) for member in members])
    units = np.concatenate([member.to_units(ones) for member in members]) - origins
    gains, offsets = torch.from_numpy(units / unit).float(), torch.from_numpy((origins - origin) / unit).float()
    return Ensemble([member.nets[0] for member in members], views_of(card), gains, offsets)


def views_of(card: ModelCard) -> tuple[View, ...]:
    """Return the views that a card lists; the picture as it is where it lists none."""
    return tuple(View.from_dict(values) for values in card.tta) or (AS_IT_IS,)


def _load_net(card: ModelCard, folder: Path) -> FocusNet | Ensemble:
    net = build_net(Architecture.from_dict(card.architecture))
    if card.task.n_logits != net.head.out_features:
        raise InputError(f"{net.head.out_features} logits for {card.task.n_logits} labels.")
    load_weights(net, folder / WEIGHTS)
    return Ensemble([net], views_of(card)) if card.tta else net


def _load_member(folder: Path, name: str, card: ModelCard) -> Model:
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / CARD}: the member {name!r} lies outside of the model's folder.")
    member = load_model(place)
    if member.members or member.card.tta:
        raise ModelError(f"{place}: is an ensemble; a member is a single net.")
    for key in ("task", "architecture", "preparation"):
        if getattr(member.card, key) != getattr(card, key):
            raise ModelError(f"{place}: its {key} is not that of the ensemble. Copy the whole model folder again.")
    return member


def save_weights(net: FocusNet, path: Path) -> None:
    """Write a net's weights."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary)


def load_weights(net: FocusNet, path: Path) -> None:
    """Give a net the weights in a file, and set it to eval mode; errors as for `load_model`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise MissingFileError(f"{path}: the model's weights are missing. Copy the whole model folder.")
    try:
        net.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise ModelError(f"{path}: is damaged ({error}). Copy the model folder again.") from None
    except RuntimeError as error:
        fact = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"{path}: the weights do not fit the net that {CARD} names ({fact}).") from None
    net.eval()


def _probe_shape(architecture: Architecture, side: int | None = None) -> tuple[int, ...]:
    n = architecture.dimensions
    return (1, architecture.channels, *[side or PROBE_SIDE[n]] * n)


def _probe(net: FocusNet | Ensemble, shape: tuple[int, ...], seed: int = 0) -> dict[str, Json]:
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    noise = np.random.RandomState(seed).standard_normal(shape)
    net.eval()
    with torch.inference_mode():
        logits = net(torch.from_numpy(noise).float().to(next(net.parameters()).device))
    return {"seed": seed, "side": shape[-1], "logits": [float(value) for value in logits[0]]}


def _check_probe(net: FocusNet | Ensemble, card: ModelCard, folder: Path) -> None:
    expected = np.array(card.probe.get("logits"), dtype=np.float64)
    architecture = Architecture.from_dict(card.architecture)
    seed, side = cast(int, card.probe.get("seed")), cast(int, card.probe.get("side", FIRST_PROBE_SIDE))
    found = np.array(_probe(net, _probe_shape(architecture, side), seed)["logits"], dtype=np.float64)
    if expected.shape != found.shape:
        raise ModelError(f"{folder / CARD}: the probe has {expected.size} logits; the net gives {found.size}.")
    off = float(np.abs(found - expected).max())
    if not off <= PROBE_TOLERANCE * (1 + float(np.abs(expected).max())):
        made_by = ", ".join(f"{name} {version}" for name, version in card.versions.items())
        raise ModelError(
            f"{folder}: the net does not give the logits it was saved with (off by {off:.2g}); weights and card "
            f"belong to different models, or a library has changed. It was made by {made_by}."
        )
