"""Nets for volumes from MONAI, cut into stages so that a decoder can take what lies between."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RESNET_STAGES = (("conv1", "bn1", "act", "maxpool", "layer1"), ("layer2",), ("layer3",), ("layer4",))
DENSENET_STAGES = (
    ("conv0", "norm0", "relu0", "pool0", "denseblock1"), ("transition1", "denseblock2"),
    ("transition2", "denseblock3"), ("transition3", "denseblock4", "norm5"),
)  # fmt: skip
STRIDES = (4, 8, 16, 32)


class Staged(nn.Module):
    """A net whose parts follow each other in four stages of strides 4, 8, 16 and 32: the interface of timm's nets.

    Parameters
    ----------
    net
        Holds the parts under the names that its published weights use.
    stages
        Names of the parts of each stage, in their order.
    widths
        Channels at the end of each stage.
    """

    def __init__(self, net: nn.Module, stages: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
        super().__init__()
        self.net = net
        self.stages = tuple(tuple(stage) for stage in stages)
        self.num_features = widths[-1]
        pairs = zip(widths, STRIDES, strict=True)
        self.feature_info = tuple({"num_chs": width, "reduction": stride} for width, stride in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last feature map, after a ReLU."""
        return F.relu(self._stages_of(x)[-1])

    def forward_intermediates(
        self, x: Tensor, indices: list[int], *, stop_early: bool = False, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps at the ends of the stages at `indices`, the finest first, as timm's nets do.

        Unless they are all that is asked for, the last feature map stands before them, after a ReLU.
        """
        del stop_early
        found = self._stages_of(x)
        wanted = [found[i] for i in indices]
        return wanted if intermediates_only else (F.relu(found[-1]), wanted)

    def prune_intermediate_layers(self, indices: list[int]) -> None:
        """Drop the parts behind the last of the stages at `indices`."""
        kept = max(indices) + 1
        for name in (name for stage in self.stages[kept:] for name in stage):
            delattr(self.net, name)
        self.stages = self.stages[:kept]

    def group_matcher(self, *, coarse: bool = False) -> Callable[[str], int]:
        """Return how parameters are told apart by stage, as timm's nets do."""
        del coarse
        stage_of = {part: i for i, stage in enumerate(self.stages) for part in stage}
        return lambda name: stage_of[name.split(".")[1]]

    def _stages_of(self, x: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            for name in stage:
                x = self.net.get_submodule(name)(x)
            found.append(x)
        return found


class PaddedShortcut(nn.Module):
    """The shortcut without weights of He et al. 2016, option A: every second voxel, and zeros for the new channels.

    MONAI's own takes its input off the graph, so that no gradient comes back through it.
    """

    def __init__(self, n_out: int, stride: int) -> None:
        super().__init__()
        self.n_out, self.stride = n_out, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, n_out, *spatial)`` with each axis shortened by the stride."""
        kept = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        missing = kept.new_zeros(len(kept), self.n_out - kept.shape[1], *kept.shape[2:])
        return torch.cat([kept, missing], dim=1)


def resnet(depth: Literal[10, 18, 50], channels: int) -> Staged:
    """Return a residual net for volumes; its names and shapes are those of MedicalNet's weights (Chen et al. 2019)."""
    from monai.networks import nets

    makers = {10: nets.resnet10, 18: nets.resnet18, 50: nets.resnet50}
    # So MedicalNet has it: shortcuts without weights in the net of 18 layers, convolutions without bias in the others.
    kind = "A" if depth == 18 else "B"
    net: nn.Module = makers[depth](
        spatial_dims=3, n_input_channels=channels, conv1_t_stride=2, feed_forward=False, shortcut_type=kind,
        bias_downsample=False,
    )  # fmt: skip
    del net.avgpool
    if kind == "A":
        _pad_shortcuts(net)
    n = 4 if depth == 50 else 1
    return Staged(net, RESNET_STAGES, (64 * n, 128 * n, 256 * n, 512 * n))


def densenet121(channels: int) -> Staged:
    """Return DenseNet121 for volumes, without its classifier."""
    from monai.networks.nets import DenseNet121

    return Staged(DenseNet121(spatial_dims=3, in_channels=channels, out_channels=1).features, DENSENET_STAGES,
                  (256, 512, 1024, 1024))  # fmt: skip


def _pad_shortcuts(net: nn.Module) -> None:
    for name in RESNET_STAGES[1:]:
        block = net.get_submodule(f"{name[0]}.0")
        block.downsample = PaddedShortcut(block.get_submodule("conv1").out_channels, 2)  # type: ignore[arg-type]


MONAI_NETS: dict[str, Callable[[int], Staged]] = {
    "densenet121-3d": densenet121,
    "resnet10-3d": lambda channels: resnet(10, channels),
    "resnet18-3d": lambda channels: resnet(18, channels),
    "resnet50-3d": lambda channels: resnet(50, channels),
}
