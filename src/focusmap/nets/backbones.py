"""The tested backbones: nets that turn a picture into a feature map. The only place that asks timm for one."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

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
    """

    timm_name: str
    min_size: int = 32
    drop_path: float = 0.0


BACKBONES: dict[str, Backbone] = {
    OURS: Backbone("", min_size=16),
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
    if name == OURS:
        return SmallResidual(channels), SmallResidual.num_features
    net = _timm_net(backbone(name), channels, weights)
    # VGG's two large fully connected layers would stand between the map and the average.
    if hasattr(net, "pre_logits"):
        net.pre_logits = nn.Identity()
    for module in net.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # torch types attributes as tensors
    return net, cast(int, net.num_features)


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
