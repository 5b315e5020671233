"""Files of weights, read without running anything in them, and fitted to a net by name and shape."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.basics import InputError, MissingFileError, ModelError

BACKBONE = "backbone."  # what the names of its tensors begin with
# Keys under which training programs keep the weights within a checkpoint.
CONTAINERS = ("state_dict_ema", "state_dict", "model_state_dict", "model_state", "model", "net", "weights")


def load_tensors(net: nn.Module, found: Mapping[str, Tensor], origin: str) -> int:
    """Copy tensors into `net` where name and shape agree; return how many there were.

    Names may differ by leading parts (``module.``, ``model.densenet121.``). A first convolution for several channels
    is summed for a grey net, one for grey is spread over several. A head of another shape is left out.

    Raises
    ------
    InputError
        If fewer than half of the backbone's tensors are among them; `origin` says whose they are.
    """
    own = net.state_dict()
    matched = _best_match(own, found)
    # A decoder, which a classifier's file cannot have, may be the greater part of a net.
    wanted, n_found = (sum(name.startswith(BACKBONE) for name in names) for names in (own, matched))
    if 2 * n_found < wanted:
        raise InputError(
            f"{origin}: {n_found} of the backbone's {wanted} tensors are in this file; at least half are needed. "
            "Choose the --model that the weights were trained for."
        )
    net.load_state_dict(own | matched)
    return len(matched)


def fill_net(net: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a net all of its weights and set it to eval mode; `ModelError` if they are those of another net."""
    try:
        net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except RuntimeError as error:
        fact = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"the weights do not fit the net that the card names ({fact}).") from None
    net.eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file, ``.safetensors`` or what torch saves.

    Raises
    ------
    MissingFileError, InputError
        If the file is missing or damaged, holds no weights, or more than tensors, which is not executed.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such weights file (weights is auto, none, hub or a path).")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_foreign(path)
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path}: holds no weights.")
    return tensors


def _read_safetensors(path: Path) -> Mapping[object, object]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
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
