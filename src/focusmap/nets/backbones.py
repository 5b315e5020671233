"""The backbones: nets that turn an image into a feature map. The only place that knows timm's from MONAI's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.nets.staged import MONAI_NETS, PLAIN_NETS, SmallResidual

OURS, OURS_3D = "small-residual", "small-residual-3d"
# Every net is asked for its known answer at this side, by its number of dimensions, whatever that of its images.
KNOWN_ANSWER_SIDE = {2: 96, 3: 32}
# The finest level of a pyramid, in pixels; levels before it see too little of an image.
FINEST = 4


@dataclass(frozen=True)
class Backbone:
    """A backbone.

    Parameters
    ----------
    timm_name
        What timm calls it; empty for ours and for MONAI's.
    min_size
        Side in pixels below which nothing would be left of an image.
    drop_path
        Share of residual branches that are skipped in training (only where the paper trains with it).
    strides
        Of the levels of its pyramid, in pixels, the finest first; `pyramid_strides` knows those of timm's other nets.
    dimensions
        2 for images, 3 for volumes.
    """

    timm_name: str
    min_size: int = 32
    drop_path: float = 0.0
    strides: tuple[int, ...] = (FINEST, 8, 16, 32)
    dimensions: int = 2


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
    "plain-cnn": Backbone(""),
    "residual-cnn": Backbone(""),
    OURS_3D: Backbone("", min_size=8, strides=(2, 4), dimensions=3),
    "densenet121-3d": Backbone("", min_size=32, dimensions=3),
    "resnet10-3d": Backbone("", min_size=16, dimensions=3),
    "resnet18-3d": Backbone("", min_size=16, dimensions=3),
    "resnet50-3d": Backbone("", min_size=16, dimensions=3),
}


def is_backbone(name: str) -> bool:
    """Return whether there is a backbone called `name`: one of `BACKBONES`, or any that timm has under this name."""
    if name in BACKBONES:
        return True
    import timm

    return bool(timm.is_model(name))


def backbone(name: str) -> Backbone:
    """Return the backbone called `name`, which must be one."""
    assert is_backbone(name), f"{name} is no backbone"
    return BACKBONES.get(name, Backbone(name))


def dimensions_of(name: str) -> int:
    """Return 3 for a backbone of volumes and 2 for one of images.

    >>> dimensions_of("resnet18"), dimensions_of("resnet18-3d")
    (2, 3)
    """
    return backbone(name).dimensions


@cache
def pyramid_strides(name: str) -> tuple[int, ...]:
    """Return the strides of the levels of a backbone's pyramid, the finest first; none if all are on one grid.

    >>> pyramid_strides("small-residual"), pyramid_strides("resnet10t"), pyramid_strides("vit_tiny_patch16_224")
    ((2, 4), (4, 8, 16, 32), ())
    """
    if name in BACKBONES:
        return BACKBONES[name].strides
    net = _net(name, channels=1)
    if not hasattr(net, "forward_intermediates"):
        return ()
    strides = {level["reduction"] for level in cast(Pyramid, net).feature_info if level["reduction"] >= FINEST}
    return tuple(sorted(strides)) if len(strides) > 1 else ()


def check_size(name: str, shape: Sequence[int], strides: Sequence[int] = ()) -> None:
    """Raise `InputError` if the backbone called `name` cannot take images or volumes of `shape`.

    A net that is not one of `BACKBONES` is tried, as a whole or as the pyramid of the levels with these strides: some
    take images of one size only, or give no map.
    """
    smallest = backbone(name).min_size
    if min(shape) < smallest:
        is_volume = dimensions_of(name) == 3
        what, unit, ours = ("volumes", "voxels a side", OURS_3D) if is_volume else ("images", "pixels", OURS)
        need = f"model {name!r} needs {what} of at least {smallest} {unit}, not {min(shape)}"
        raise InputError(f"{need}. Try --model {ours}.")
    if name not in BACKBONES:
        for side in {max(shape), KNOWN_ANSWER_SIDE[2]}:
            _try_out(name, side, strides)


def _try_out(name: str, side: int, strides: Sequence[int]) -> None:
    image = torch.zeros(1, 1, side, side)
    try:
        with torch.inference_mode():
            if strides:
                net, wanted = build_pyramid(name, 1, strides)
                maps, n_features = levels(net.eval(), image, list(wanted)), list(wanted.values())
            else:
                net, n = build_backbone(name, channels=1)
                maps, n_features = [net.eval()(image)], [n]
    except (RuntimeError, AssertionError, ValueError) as error:
        fact = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {name!r} takes no images of {side} pixels ({fact}). Choose another.") from None
    for found, n in zip(maps, n_features, strict=True):
        if found.ndim != 4 or found.shape[1] != n:
            raise InputError(f"model {name!r} has no map of {n} features, but {tuple(found.shape)}. Choose another.")


def build_backbone(name: str, channels: int, weights: Path | None = None) -> tuple[nn.Module, int]:
    """Return a net from ``(N, channels, *spatial)`` to its last feature map ``(N, K, *grid)``, and K.

    Where the architecture ends in a normalisation or a ReLU, the map is what comes after it, so that average
    pooling and one linear layer complete the classifier. No activation works in place, so that what a hook has
    stored of the layer before it stays what it was.

    Parameters
    ----------
    name
        A key of `BACKBONES`, or a name of timm's.
    channels
        1 or 3, of volumes any number; timm adapts the first convolution of pretrained weights.
    weights
        A file of the pretrained weights that timm knows for this architecture, or None for a random start.
    """
    net = _net(name, channels, weights)
    if name not in BACKBONES:
        net = TimmMap(net)
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
    pyramid = cast(Pyramid, net)
    # Of several levels on one grid the last has seen most.
    last = {level["reduction"]: i for i, level in enumerate(pyramid.feature_info)}
    positions = [last[stride] for stride in strides]
    pyramid.prune_intermediate_layers(positions)
    return net, {i: pyramid.feature_info[i]["num_chs"] for i in positions}


def levels(net: nn.Module, x: Tensor, positions: Sequence[int]) -> list[Tensor]:
    """Return the levels ``(N, K_i, *spatial)`` at `positions` of a net that `build_pyramid` made; the finest first."""
    return cast(Pyramid, net).forward_intermediates(x, list(positions), stop_early=True, intermediates_only=True)


def has_stages(net: nn.Module) -> bool:
    """Return whether a backbone hands out the maps of its stages, on several grids, as they flow to the last one."""
    inner = net.net if isinstance(net, TimmMap) else net
    # Nets that count channels last hand out copies, which lead nowhere.
    if not hasattr(inner, "forward_intermediates") or getattr(inner, "output_fmt", "NCHW") != "NCHW":
        return False
    return len({level["reduction"] for level in cast(Pyramid, inner).feature_info}) > 1


def stages(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the maps ``(N, K_i, *spatial)`` of a backbone's stages, the finest first, and the last map, of one pass.

    Of several maps on one grid it is the last; stages before the pyramid's finest level are left out.
    """
    inner = net.net if isinstance(net, TimmMap) else net
    least = min(BACKBONES[OURS].strides) if isinstance(inner, SmallResidual) else FINEST
    reductions = [level["reduction"] for level in cast(Pyramid, inner).feature_info]
    positions = [i for i, reduction in enumerate(reductions) if reduction >= least]
    last, maps = inner.forward_intermediates(x, positions)  # type: ignore[operator]  # `has_stages` has asked
    if isinstance(net, TimmMap):
        last = net.lay_out(last)
    elif hasattr(inner, "forward_head"):
        last = inner.forward_head(last)  # type: ignore[operator]  # of timm's, a method
    return list({each.shape[2:]: each for each in [*maps, last]}.values())


def has_token_attention(net: nn.Module) -> bool:
    """Return whether a backbone is a plain vision transformer: in every layer all patches attend to all."""
    if not isinstance(net, TimmMap):
        return False
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(net.net, VisionTransformer | Eva | Beit)


def _net(name: str, channels: int, weights: Path | None = None) -> nn.Module:
    if name in (OURS, OURS_3D):
        return SmallResidual(channels, dimensions_of(name))
    if name in PLAIN_NETS:
        return PLAIN_NETS[name](channels)
    if name in MONAI_NETS:
        return _without_inplace(MONAI_NETS[name](channels))
    wanted = backbone(name)
    net = _timm_net(wanted, channels, weights) if name in BACKBONES else _any_timm_net(wanted, channels, weights)
    # VGG's two large fully connected layers would stand between the map and the average.
    if hasattr(net, "pre_logits"):
        net.pre_logits = nn.Identity()
    return _without_inplace(net)


def _without_inplace(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # torch types attributes as tensors
    return net


def hub_id(name: str) -> str:
    """Return the hub's name for the pretrained weights of the backbone called `name`; empty if it has none."""
    if not backbone(name).timm_name:
        return ""
    import timm

    config = timm.get_pretrained_cfg(backbone(name).timm_name)
    return str(config.hf_hub_id or "")


def stages_of(net: nn.Module) -> dict[str, int]:
    """Return the stage of each parameter of a backbone, counted from its input.

    Every net of timm's, and those beside them, says by its `group_matcher` which parts follow each other.
    """
    inner = getattr(net, "net", None)
    if isinstance(inner, nn.Module) and not hasattr(net, "group_matcher"):
        return {f"net.{name}": stage for name, stage in stages_of(inner).items()}
    from timm.models import group_parameters

    grouped = group_parameters(net, net.group_matcher(coarse=True), reverse=True)  # type: ignore[operator]
    order = {stage: position for position, stage in enumerate(sorted(set(grouped.values())))}
    return {name: order[grouped[name]] for name, _ in net.named_parameters()}


class TimmMap(nn.Module):
    """Any net of timm's up to its last feature map ``(N, K, h, w)``; tokens are laid out as the patches lie."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.num_features = cast(int, net.num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map; transformers' class and register tokens are left out."""
        return self.lay_out(self.net.forward_features(x))  # type: ignore[operator]  # every net of timm's has it

    def lay_out(self, features: Tensor) -> Tensor:
        """Return features as timm's nets give them, tokens or channels last, as ``(N, K, h, w)``."""
        if features.ndim == 3:
            patches = features[:, int(getattr(self.net, "num_prefix_tokens", 0)) :]
            side = round(patches.shape[1] ** 0.5)
            return patches.transpose(1, 2).reshape(features.shape[0], self.num_features, side, -1)
        is_last = features.ndim == 4 and features.shape[1] != self.num_features == features.shape[3]
        return features.permute(0, 3, 1, 2) if is_last else features


# Transformers made for one size of image take any if they are told so; convolutional nets know no such setting.
ANY_SIZE: tuple[dict[str, object], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {},
)


def _any_timm_net(wanted: Backbone, channels: int, weights: Path | None) -> nn.Module:
    for settings in ANY_SIZE[:-1]:
        try:
            return _timm_net(wanted, channels, weights, settings)
        except TypeError:
            continue
    return _timm_net(wanted, channels, weights, ANY_SIZE[-1])


def _timm_net(
    wanted: Backbone, channels: int, weights: Path | None, more: Mapping[str, object] = MappingProxyType({})
) -> nn.Module:
    import timm

    settings: dict[str, object] = {"in_chans": channels, "num_classes": 0, "global_pool": "", **more}
    if wanted.drop_path:
        settings["drop_path_rate"] = wanted.drop_path
    if weights is not None:
        settings |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    return cast(nn.Module, timm.create_model(wanted.timm_name, **settings))
