"""The model of a run, on the device that was asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from focusmap.errors import InputError
from focusmap.models.ensemble import kind_of
from focusmap.models.folder import load_model
from focusmap.models.predictor import Looking, Predictor
from focusmap.study.run import open_run

if TYPE_CHECKING:
    from focusmap.models.net import Model


def load_run_model(folder: Path, devices: str) -> Predictor:
    """Return the model of a run folder, or of a model folder itself; of a run with folds, their ensemble.

    It computes on one of the devices that `devices` names.

    Raises
    ------
    InputError
        If the run has none yet, or there is no such device.
    """
    from focusmap.training.devices import choose_devices

    device = choose_devices(devices).accelerator
    place = folder
    if not (folder / "model.json").is_file():
        place = open_run(folder).model
        if not place.is_dir():
            raise InputError(f"{folder}: has no model yet. Train it with: focusmap train --resume {folder}")
    return load_model(place, device)


def load_run_looking(folder: Path, devices: str) -> Looking:
    """Return the model of a run as `load_run_model` does; `InputError` if it is no net that is shown images."""
    model = load_run_model(folder, devices)
    if model.explainable() is None:
        kind = f"{model.card.architecture.get('model')}, is no net of images"
        raise InputError(f"{folder}: its model, {kind}; heat maps, masks and export need one of images.")
    return cast(Looking, model)


def load_run_net(folder: Path, devices: str) -> "Model":
    """Return the model of a run as `load_run_looking` does; `InputError` if it is no net of single images alone.

    Of a mean of several kinds, such as the ladder's, it is the last of its members that is one: the strongest.
    """
    model: Predictor = load_run_looking(folder, devices)
    while kind_of(model.card) == "mean":
        nets = [member for member in model.members if kind_of(member.card) in ("net", "mean")]
        model = nets[-1] if nets else as_net(model, folder)
    return as_net(model, folder)


def as_net(model: Predictor, folder: Path) -> "Model":
    """Return a model that is a net of single images, or an ensemble of such; `InputError`, with the folder, if not."""
    if kind_of(model.card) != "net":
        kind = f"{model.card.architecture.get('model')}, is a model of {'cases' if model.views else 'several kinds'}"
        members = [f"{folder}/model/{name}" for name in model.card.members] if not model.views else []
        remedy = f" Name one of its members: {', '.join(members)}." if members else ""
        raise InputError(f"{folder}: its model, {kind}; masks, export and trust need one of single images.{remedy}")
    return cast("Model", model)
