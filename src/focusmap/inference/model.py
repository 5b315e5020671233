"""A trained model as a value, and as a folder: ``weights.safetensors`` beside ``model.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from focusmap.errors import InputError, MissingFileError, ModelError
from focusmap.imaging.preparation import Preparation
from focusmap.nets.build import Architecture, FocusNet, build_net
from focusmap.values.files import Json, atomic
from focusmap.values.model_card import ModelCard, read_card, write_card
from focusmap.values.task import Task

CARD = "model.json"
WEIGHTS = "weights.safetensors"
PROBE_SIDE = 64
# Other processors and library versions round differently; a wrong net is off by far more.
PROBE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Model:
    """A net with the card that says what it predicts, from what input, and how its output is read."""

    net: FocusNet
    card: ModelCard

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @property
    def preparation(self) -> Preparation:
        """The steps from picture to input."""
        return Preparation.from_dict(self.card.preparation)

    def calibrated(self, temperatures: Mapping[str, float], thresholds: Mapping[str, float]) -> "Model":
        """Return the same net with the temperatures and thresholds that were fitted on tune."""
        return replace(self, card=replace(self.card, temperatures=temperatures, thresholds=thresholds))

    def to_units(self, logits: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` with the columns of continuous targets in the target's own units."""
        values = np.array(logits, dtype=np.float64)
        for name, (mean, deviation) in self.card.scales.items():
            part = self.task.slice_of(name)
            values[:, part] = values[:, part] * deviation + mean
        return values


def save_model(model: Model, folder: Path) -> Model:
    """Write weights and card to `folder`; return the model as saved, its card with the probe's logits."""
    from safetensors.torch import save_file

    architecture = Architecture.from_dict(model.card.architecture)
    model = replace(model, card=replace(model.card, probe=_probe(model.net, architecture.channels)))
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.net.state_dict().items()}
    with atomic(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    write_card(model.card, folder / CARD)
    return model


def load_model(folder: Path) -> Model:
    """Return the model in `folder`, in eval mode on the processor, once it has given the probe's logits.

    Raises
    ------
    MissingFileError
        If a file of the model is missing.
    ModelError
        If the model is newer than this program, has unknown keys, its weights are damaged or of another net, or
        the net does not give the logits that it gave when it was saved.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such model folder.")
    card = read_card(folder / CARD)
    try:
        net = build_net(Architecture.from_dict(card.architecture))
    except InputError as error:
        raise ModelError(f"{folder / CARD}: {error}") from None
    if card.task.n_logits != net.head.out_features:
        raise ModelError(f"{folder / CARD}: {net.head.out_features} logits for {card.task.n_logits} labels.")
    _load_weights(net, folder / WEIGHTS)
    _check_probe(net, card, folder)
    return Model(net, card)


def _load_weights(net: FocusNet, path: Path) -> None:
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


def _probe(net: FocusNet, channels: int, seed: int = 0) -> dict[str, Json]:
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    noise = np.random.RandomState(seed).standard_normal((1, channels, PROBE_SIDE, PROBE_SIDE))
    net.eval()
    with torch.inference_mode():
        logits = net(torch.from_numpy(noise).float().to(next(net.parameters()).device))
    return {"seed": seed, "logits": [float(value) for value in logits[0]]}


def _check_probe(net: FocusNet, card: ModelCard, folder: Path) -> None:
    expected = np.array(card.probe.get("logits"), dtype=np.float64)
    channels = Architecture.from_dict(card.architecture).channels
    found = np.array(_probe(net, channels, cast(int, card.probe.get("seed")))["logits"], dtype=np.float64)
    if expected.shape != found.shape:
        raise ModelError(f"{folder / CARD}: the probe has {expected.size} logits; the net gives {found.size}.")
    off = float(np.abs(found - expected).max())
    if not off <= PROBE_TOLERANCE * (1 + float(np.abs(expected).max())):
        made_by = ", ".join(f"{name} {version}" for name, version in card.versions.items())
        raise ModelError(
            f"{folder}: the net does not give the logits it was saved with (off by {off:.2g}); weights and card "
            f"belong to different models, or a library has changed. It was made by {made_by}."
        )
