"""Weights to start from: the hub where it answers, or a local file of whatever naming."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from focusmap.errors import InputError, MissingFileError
from focusmap.nets.backbones import hub_id

HUB_SECONDS = 4.0
BACKBONE = "backbone."  # what the names of its tensors begin with
# Keys under which training programs keep the weights within a checkpoint.
CONTAINERS = ("state_dict_ema", "state_dict", "model_state_dict", "model_state", "model", "net", "weights")


@dataclass(frozen=True)
class Start:
    """Where a net's first weights come from: ``none``, ``hub`` or ``file``, and why, in words."""

    source: Literal["none", "hub", "file"]
    reason: str


def hub_file(model: str, *, required: bool) -> tuple[Path | None, Start]:
    """Return the file of the hub's weights for `model`, or None with the reason.

    Raises
    ------
    InputError
        If the weights are `required` and there are none or the hub does not answer.
    """
    repository = hub_id(model)
    if not repository:
        return _without_hub(f"{model} has no pretrained weights", required)
    file = _cached(repository)
    if file is None and not hub_answers():
        return _without_hub(f"the hub did not answer within {HUB_SECONDS:g} seconds", required)
    if file is None:
        file = _download(repository)
    if file is None:
        return _without_hub(f"the hub answered but {repository} could not be downloaded", required)
    return file, Start("hub", f"pretrained weights {repository}")


def hub_answers() -> bool:
    """Return whether the hub answers a request within `HUB_SECONDS`, name resolution and proxy included."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answered = threading.Event()
    # A name server that is away can hold a request far beyond any socket timeout; the thread is then left to end.
    threading.Thread(target=_ask, args=(constants.ENDPOINT, answered), daemon=True).start()
    return answered.wait(HUB_SECONDS)


def load_file(net: nn.Module, weights: str) -> Start:
    """Copy the tensors of a weights file into `net` where name and shape agree.

    Names may differ by leading parts (``module.``, ``model.densenet121.``). A first convolution for several channels
    is summed for a grey net, one for grey is spread over several. A head of another shape is left out.

    Raises
    ------
    MissingFileError, InputError
        If the file is missing or damaged, or fewer than half of the backbone's tensors are in it.
    """
    path = Path(weights)
    own = net.state_dict()
    matched = _best_match(own, _read(path))
    # A decoder, which a classifier's file cannot have, may be the greater part of a net.
    wanted, found = (sum(name.startswith(BACKBONE) for name in names) for names in (own, matched))
    if 2 * found < wanted:
        raise InputError(
            f"{path}: {found} of the backbone's {wanted} tensors are in this file; at least half are needed. "
            "Choose the --model that the weights were trained for."
        )
    net.load_state_dict(own | matched)
    return Start("file", f"{len(matched)} of {len(own)} tensors from {path.name}")


def _without_hub(reason: str, required: bool) -> tuple[None, Start]:
    if required:
        raise InputError(f"weights 'hub': {reason}. Use weights 'none', or the path of a weights file.")
    return None, Start("none", f"random weights: {reason}")


def _cached(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _download(repository: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(repository, "model.safetensors", etag_timeout=HUB_SECONDS))
    except (HfHubHTTPError, OSError):
        return None


def _ask(endpoint: str, answered: threading.Event) -> None:
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):
            answered.set()
    except urllib.error.HTTPError:
        answered.set()
    except (OSError, ValueError):
        return


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such weights file (weights is auto, none, hub or a path).")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_foreign(path)
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path}: holds no weights.")
    return tensors


def _read_safetensors(path: Path) -> Mapping[object, object]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load_tensors

    try:
        return dict(load_tensors(path))
    except SafetensorError as error:
        raise InputError(f"{path}: is damaged or not a safetensors file ({error}).") from None


def _read_foreign(path: Path) -> Mapping[object, object]:
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: is damaged, or holds more than tensors, which is not executed. Save its state_dict alone."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is damaged ({str(error).splitlines()[0]}).") from None
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return dict(content[key])
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds {type(content).__name__}; a state_dict was expected.")
    return content


def _best_match(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `found` under the names of `own`, by the number of leading parts that fits best."""
    named = {_modern(name): tensor for name, tensor in found.items()}
    candidates = [
        _match(own, {f"{prefix}{'.'.join(name.split('.')[n_dropped:])}": tensor for name, tensor in named.items()})
        for n_dropped in range(4)
        for prefix in ("", BACKBONE, f"{BACKBONE}net.")
    ]
    return max(candidates, key=len)


def _match(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    fitted = {name: _fit(found[name], wanted) for name, wanted in own.items() if name in found}
    return {name: tensor for name, tensor in fitted.items() if tensor is not None}


def _fit(tensor: Tensor, wanted: Tensor) -> Tensor | None:
    if tensor.shape == wanted.shape:
        return tensor
    is_convolution = tensor.ndim == wanted.ndim and tensor.ndim in (4, 5)
    if not is_convolution or (tensor.shape[0], tensor.shape[2:]) != (wanted.shape[0], wanted.shape[2:]):
        return None
    if wanted.shape[1] == 1:
        return tensor.sum(dim=1, keepdim=True)
    n = wanted.shape[1]
    return tensor.expand(wanted.shape) / n if tensor.shape[1] == 1 else None


def _modern(name: str) -> str:
    """Return a tensor's name as it is written since 2017: old DenseNet files say ``norm.1`` for ``norm1``."""
    return re.sub(r"\b(norm|conv)\.([12])\.", r"\1\2.", name)
