"""The tested backbones: nets that turn a picture into a feature map. The only place that asks timm for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from torch import Tensor, nn

from focusmap.errors import InputError, suggest
from focusmap.nets.small_residual import SmallResidual

OURS = "small-residual"


@dataclass(frozen=True)
class Backbone:
    """A tested backbone.

    Parameters
    ----------
    timm_name
        What timm calls it; empty for ours.
    min_size
        Side in pixels below which nothing would be left of a picture.
    drop_path
        Share of residual branches that are skipped in training (only where the paper trains with it).
    strides
        Of the levels of its pyramid, in pixels; the finest first.
    """

    timm_name: str
    min_size: int = 32
    drop_path: float = 0.0
    strides: tuple[int, ...] = (4, 8, 16, 32)


class Pyramid(Protocol):
    """A net that hands out its intermediate levels, as timm's do."""

    feature_info: Sequence[Mapping[str, int]]

    def forward_intermediates(
        self, x: Tensor, indices: list[int], *, stop_early: bool, intermediates_only: bool
    ) -> list[Tensor]:
        """Return the levels at `indices`."""

    def prune_intermediate_layers(self, indices: list[int]) -> object:
        """Drop what no level at `indices` needs."""


BACKBONES: dict[str, Backbone] = {
    OURS: Backbone("", min_size=16, strides=(2, 4)),
    "densenet121": Backbone("densenet121"),
    "resnet18": Backbone("resnet18"),
    "resnet50": Backbone("resnet50"),
    "vgg16": Backbone("vgg16"),
    "efficientnet-b0": Backbone("efficientnet_b0"),
    "convnext-tiny": Backbone("convnext_tiny", drop_path=0.1),
}


def backbone(name: str) -> Backbone:
    """Return the backbone called `name`.

    Raises
    ------
    InputError
        If there is none; the message lists the known names and suggests the nearest.
    """
    if name not in BACKBONES:
        raise InputError(f"model {name!r} is not one of {', '.join(BACKBONES)}.{suggest(name, BACKBONES)}")
    return BACKBONES[name]


def check_size(name: str, size: int) -> None:
    """Raise `InputError` if pictures of `size` pixels are too small for the backbone called `name`."""
    smallest = backbone(name).min_size
    if size < smallest:
        need = f"model {name!r} needs pictures of at least {smallest} pixels"
        raise InputError(f"{need}, not {size}. Try --model {OURS}.")


def build_backbone(name: str, channels: int, weights: Path | None = None) -> tuple[nn.Module, int]:
    """Return a net from ``(N, channels, H, W)`` to its last feature map ``(N, K, h, w)``, and K.

    Where the architecture ends in a normalisation or a ReLU, the map is what comes after it, so that average
    pooling and one linear layer complete the classifier. No activation works in place, so that what a hook has
    stored of the layer before it stays what it was.

    Parameters
    ----------
    name
        A key of `BACKBONES`.
    channels
        1 or 3; timm adapts the first convolution of pretrained weights.
    weights
        A file of the pretrained weights that timm knows for this architecture, or None for a random start.
    """
    net = _net(name, channels, weights)
    return net, cast(int, net.num_features)


def build_pyramid(
    name: str, channels: int, strides: Sequence[int], weights: Path | None = None
) -> tuple[nn.Module, dict[int, int]]:
    """Return a net for `levels`, and the position among its levels of each stride wanted, to its channels.

    What no wanted level needs is cut off. Otherwise as `build_backbone`.

    >>> build_pyramid("small-residual", 1, (2, 4))[1]
    {1: 48, 2: 96}
    """
    net = _net(name, channels, weights)
    found = cast(Pyramid, net)
    positions = {i: level["num_chs"] for i, level in enumerate(found.feature_info) if level["reduction"] in strides}
    found.prune_intermediate_layers(list(positions))
    return net, positions


def levels(net: nn.Module, x: Tensor, positions: Sequence[int]) -> list[Tensor]:
    """Return the levels ``(N, K_i, *spatial)`` at `positions` of a net that `build_pyramid` made; the finest first."""
    return cast(Pyramid, net).forward_intermediates(x, list(positions), stop_early=True, intermediates_only=True)


def _net(name: str, channels: int, weights: Path | None) -> nn.Module:
    if name == OURS:
        return SmallResidual(channels)
    net = _timm_net(backbone(name), channels, weights)
    # VGG's two large fully connected layers would stand between the map and the average.
    if hasattr(net, "pre_logits"):
        net.pre_logits = nn.Identity()
    for module in net.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # torch types attributes as tensors
    return net


def hub_id(name: str) -> str:
    """Return the hub's name for the pretrained weights of the backbone called `name`; empty if it has none."""
    if name == OURS:
        return ""
    import timm

    config = timm.get_pretrained_cfg(backbone(name).timm_name)
    return str(config.hf_hub_id or "")


def _timm_net(wanted: Backbone, channels: int, weights: Path | None) -> nn.Module:
    import timm

    settings: dict[str, object] = {"in_chans": channels, "num_classes": 0, "global_pool": ""}
    if wanted.drop_path:
        settings["drop_path_rate"] = wanted.drop_path
    if weights is not None:
        settings |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    return cast(nn.Module, timm.create_model(wanted.timm_name, **settings))
