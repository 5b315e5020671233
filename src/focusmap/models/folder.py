"""A model as a folder: ``weights.safetensors`` beside ``model.json``, and a folder of each model that it is made of.

The model of a run is found here, too, on the device that was asked for.

Nothing is pickled, so that a model from elsewhere can hold numbers and texts only. When it is saved, a model is asked
about generated input; when it is loaded, it must give the same answer again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from focusmap.basics import InputError, MissingFileError, ModelError, atomic, check_sealed, command_line, read_json
from focusmap.models.card import ModelCard, read_card, write_card
from focusmap.models.ensemble import kind_of, mean_from
from focusmap.models.predictor import Explainable, Predictor, Self
from focusmap.models.rows import rows_from
from focusmap.study import MEAN, open_run, parse_model

if TYPE_CHECKING:
    from focusmap.models.net import Model


CARD, WEIGHTS, TABLE = "model.json", "weights.safetensors", "table"
# Other processors and library versions round differently; a wrong model is off by far more.
TOLERANCE = 1e-3

Build = Callable[[ModelCard, Mapping[str, np.ndarray], Mapping[str, Predictor]], Predictor]


def save_model(model: Self, folder: Path) -> Self:
    """Write a model to `folder`; return it as saved, with its known answer. Saved again it is the same bytes."""
    for name, part in model.folders().items():
        save_model(part, folder / name)
    known_answer, arrays = model.known_answer({}), model.arrays()
    if known_answer:
        model = model.with_card(replace(model.card, known_answer=known_answer))
    if arrays:
        with atomic(folder / WEIGHTS, sealed=True) as temporary:
            save_file(arrays, temporary)
    write_card(model.card, folder / CARD)
    return model


def load_model(folder: Path, device: str = "cpu") -> Predictor:
    """Return the model in `folder`, of whichever kind, ready to compute on `device`.

    Raises
    ------
    MissingFileError
        If a file of the model is missing.
    ModelError
        If the model is newer than this program, has unknown keys, its weights are damaged or of another net, its
        members do not belong together, or it does not give the logits that it gave when it was saved.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such model folder.")
    card = read_card(folder / CARD)
    names = [*card.members, *([TABLE] if "stack" in card.architecture and not card.members else [])]
    parts = {name: load_model(_inside(folder, name)) for name in names}
    arrays = {} if card.members else _read_arrays(folder / WEIGHTS)
    try:
        model = _builder(card)(card, arrays, parts)
    except InputError as error:
        raise ModelError(f"{folder / CARD}: {error}") from None
    _check_known_answer(model, folder)
    return model.to(device)


def can_be_mapped(folder: Path) -> bool:
    """Return whether the model in `folder` is a net that is shown images, which can be asked where it looks.

    Only the card is read, so that a report needs no torch.
    """
    architecture = read_json(folder / CARD).get("architecture")
    if not isinstance(architecture, Mapping):
        return False
    names = architecture.get("of") if architecture.get("model") == MEAN else [architecture.get("model")]
    return isinstance(names, list) and all(parse_model(str(name)).is_net_of_images for name in names)


def _builder(card: ModelCard) -> Build:
    """Return what makes the model of a card; nets are not imported for models without."""
    kind = kind_of(card)
    if kind == "mean" or (card.members and kind != "net"):
        return mean_from
    if kind == "rows":
        return rows_from
    if kind == "cases":
        from focusmap.models.cases import cases_from

        return cases_from
    from focusmap.models.net import net_from

    return net_from


def _inside(folder: Path, name: str) -> Path:
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / CARD}: the member {name!r} lies outside of the model's folder.")
    return place


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise MissingFileError(f"{path}: the model's weights are missing. Copy the whole model folder.")
    check_sealed(path)
    try:
        arrays: dict[str, np.ndarray] = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path}: is damaged ({error}). Copy the model folder again.") from None
    return arrays


def _check_known_answer(model: Predictor, folder: Path) -> None:
    """Raise `ModelError` where a model does not give its known answer."""
    card = model.card
    expected = np.array(card.known_answer.get("logits"), dtype=np.float64)
    try:
        answer = model.known_answer(card.known_answer)
    except (ValueError, IndexError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder}: weights and card do not belong together ({error}).") from None
    if not answer:
        return
    logits = np.array(answer["logits"], dtype=np.float64)
    if expected.shape != logits.shape:
        raise ModelError(f"{folder / CARD}: the probe has {expected.size} logits; the model gives {logits.size}.")
    off = float(np.abs(logits - expected).max())
    if not off <= TOLERANCE * (1 + float(np.abs(expected).max())):
        made_by = ", ".join(f"{name} {version}" for name, version in card.versions.items())
        raise ModelError(
            f"{folder}: the model does not give the logits it was saved with (off by {off:.2g}); weights and card "
            f"belong to different models, or a library has changed. It was made by {made_by}. Copy the whole model "
            "folder again."
        )


def load_run_model(folder: Path, devices: str) -> Predictor:
    """Return the model of a run folder, or of a model folder itself; of a run with folds, their ensemble.

    It computes on one of the devices that `devices` names.

    Raises
    ------
    InputError
        If the run has none yet, or there is no such device.
    """
    from focusmap.training import choose_devices

    return load_model(model_folder(folder), choose_devices(devices).accelerator)


def model_folder(folder: Path) -> Path:
    """Return where the model of a run lies, or a model folder itself; `InputError` if the run has none yet."""
    if (folder / CARD).is_file():
        return folder
    place = open_run(folder).model
    if not place.is_dir():
        raise InputError(f"{folder}: has no model yet. Train it with: {command_line('train', '--resume', folder)}")
    return place


def load_explainable_run(folder: Path, devices: str) -> Explainable:
    """Return the model of a run as `load_run_model` does; `InputError` if it is no net that is shown images."""
    model = load_run_model(folder, devices)
    if model.explainable() is None:
        kind = f"{model.card.architecture.get('model')}, is no net of images"
        raise InputError(f"{folder}: its model, {kind}; heat maps, masks and export need one of images.")
    return cast(Explainable, model)


def load_run_net(folder: Path, devices: str) -> "Model":
    """Return the `net_within` the model of a run; `InputError` if it has none."""
    return net_within(load_explainable_run(folder, devices), folder)


def net_within(model: Predictor, folder: Path) -> "Model":
    """Return a model that is a net of single images, or an ensemble of such; `InputError`, with the folder, if not.

    Of a mean of several kinds, such as the ladder's, it is the last of its members that is one: the strongest.
    """
    while kind_of(model.card) == "mean":
        nets = [member for member in model.members if kind_of(member.card) in ("net", "mean")]
        if not nets:
            break
        model = nets[-1]
    if kind_of(model.card) != "net":
        kind = f"{model.card.architecture.get('model')}, is a model of {'cases' if model.views else 'several kinds'}"
        raise InputError(f"{folder}: its model, {kind}; masks and --trust need one of single images.")
    return cast("Model", model)
