"""From an architecture to a net that classifies and says where it looks, in one pass."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.errors import InputError
from focusmap.nets.backbones import backbone, build_backbone
from focusmap.nets.weights import Start, hub_file, load_file
from focusmap.values.files import Json

HEAD_DROPOUT = 0.2


@dataclass(frozen=True)
class Architecture:
    """What a net is built from: a key of `BACKBONES`, 1 or 3 input channels, and the number of logits L."""

    model: str
    channels: int
    n_logits: int

    def __post_init__(self) -> None:
        backbone(self.model)
        if self.channels not in (1, 3):
            raise InputError(f"a net takes 1 or 3 channels, not {self.channels}.")

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `model.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> "Architecture":
        """Read what `to_dict` gave; `InputError` if a key is missing, unknown or of the wrong type."""
        match dict(values):
            case {"model": str(model), "channels": int(channels), "n_logits": int(n_logits), **rest} if not rest:
                return cls(model, channels, n_logits)
        raise InputError(f"an architecture needs model, channels and n_logits; found {dict(values)!r}.")


class FocusNet(nn.Module):
    """A backbone, the average over the picture, and one linear layer: ``(N, C, H, W)`` to ``(N, L)`` logits.

    With this head the class activation map of label c is M_c = sum_k w_ck A_k (Zhou et al. 2016, eq. 2), and
    the mean of M_c over the map plus the bias is the logit: logits and maps of all labels cost one pass.
    """

    def __init__(self, net: nn.Module, n_features: int, n_logits: int) -> None:
        super().__init__()
        self.backbone = net
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.head = nn.Linear(n_features, n_logits)
        self.start = Start("none", "random weights were asked for")

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map ``(N, K, h, w)``, after the backbone's last activation."""
        features: Tensor = self.backbone(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of a feature map ``(N, K, h, w)``."""
        logits: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, L)``."""
        return self.classify(self.features(x))

    def forward_with_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, L)`` and class activation maps ``(N, L, h, w)``.

        The maps are signed, without the bias and not normalised: in eval mode their mean is the logit less
        the bias.
        """
        features = self.features(x)
        maps = F.conv2d(features, self.head.weight[:, :, None, None])
        return self.classify(features), maps


def build_net(architecture: Architecture, weights: str = "none", seed: int = 0) -> FocusNet:
    """Return a net; `net.start` says which weights it starts from and why.

    Parameters
    ----------
    architecture
        Backbone, channels and number of logits.
    weights
        ``none`` (random), ``hub`` (pretrained, downloaded), ``auto`` (hub where it answers within seconds, else
        random; always random for small-residual) or the path of a weights file.
    seed
        Of the random weights.

    Raises
    ------
    InputError, MissingFileError
        If the hub was asked for and does not answer, or the file is missing, damaged or of another net.

    >>> net = build_net(Architecture("small-residual", 1, 2))
    >>> logits, maps = net.eval().forward_with_maps(torch.ones(1, 1, 28, 28))
    >>> bool(torch.allclose(maps.mean(dim=(2, 3)) + net.head.bias, logits, atol=1e-5))
    True
    """
    if weights in ("auto", "hub"):
        file, start = hub_file(architecture.model, required=weights == "hub")
    else:
        file, start = None, Start("none", "random weights were asked for")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FocusNet(*build_backbone(architecture.model, architecture.channels, file), architecture.n_logits)
    net.start = start
    if weights not in ("auto", "hub", "none"):
        net.start = load_file(net, weights)
    return net
