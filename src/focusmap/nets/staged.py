"""Nets cut into stages, so that a decoder can take what lies between: our own, and MONAI's for volumes.

Our own are the plain convolutional net of the APTOS 2021 challenge, its residual twin, and a small residual net. They
share with timm's a stem and blocks in a row, some of which end a level of the pyramid.

The plain net has eight blocks behind a stem, each one 3x3 convolution, batch normalisation and ReLU, as in an openly
shared entry of the challenge (29th of 10,006 teams). There each block halves the image, which leaves 2 x 3 places of
400 x 650 pixels for dense layers. Here the first five do, as in other backbones, so that there is a map to look at.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from focusmap.nets.grids import CONVOLUTIONS, NORMALISATIONS


class StagedNet(nn.Module):
    """A net whose ``blocks`` follow a ``stem``; a subclass makes both.

    ``level_ends`` are the positions of the last block of each level, the finest first.
    """

    level_ends: ClassVar[Sequence[int]]
    stem: nn.Module
    blocks: nn.Sequential

    def begin(self, x: Tensor) -> Tensor:
        """Return what the first block takes."""
        begun: Tensor = self.stem(x)
        return begun

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:
        """Return how parameters are told apart by stage, as timm's nets do."""
        del coarse
        return {"stem": r"^stem|^norm", "blocks": r"^blocks\.(\d+)"}

    def forward(self, x: Tensor) -> Tensor:
        """Return the last feature map, after its ReLU."""
        features: Tensor = self.blocks(self.begin(x))
        return features

    def forward_intermediates(
        self, x: Tensor, indices: list[int], *, stop_early: bool = False, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last map, unless the others only are wanted, and those of the levels at `indices`, finest first.

        As timm's nets do.
        """
        del stop_early
        x, found = self.begin(x), {}
        for position, block in enumerate(self.blocks):
            x = found[position] = block(x)
        maps = [found[self.level_ends[i]] for i in indices]
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(self, indices: list[int]) -> None:
        """Drop the blocks behind the last of the levels at `indices`."""
        self.blocks = self.blocks[: self.level_ends[max(indices)] + 1]


PLAIN_WIDTHS = (8, 8, 16, 16, 32, 32, 64, 64)
N_HALVING = 5
# The last block on each grid: a level of the pyramid, at strides 2, 4, 8, 16 and 32.
PLAIN_LEVEL_ENDS = (*range(N_HALVING - 1), len(PLAIN_WIDTHS) - 1)


class Block(nn.Module):
    """y = relu(norm(conv(x))), and in the residual twin y + shortcut(x).

    The shortcut has no weights (He et al. 2016, Deep residual learning, section 4.1, option A: every other place,
    and zeros for channels that x does not have), so that the twins differ in nothing else.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, *, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)
        self.stride, self.n_new, self.residual = stride, n_out - n_in, residual
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, n_out, h, w)``, nowhere negative."""
        y = nn.functional.relu(self.norm(self.conv(x)))
        if not self.residual:
            return y
        return y + nn.functional.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.n_new))


class PlainCnn(StagedNet):
    """Eight blocks of one convolution: ``(N, C, H, W)`` to ``(N, 64, H/32, W/32)``.

    >>> import torch
    >>> PlainCnn(channels=1)(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 64, 3, 2])
    """

    level_ends = PLAIN_LEVEL_ENDS
    num_features = PLAIN_WIDTHS[-1]
    feature_info = tuple(
        {"num_chs": PLAIN_WIDTHS[end], "reduction": 2 ** (i + 1)} for i, end in enumerate(PLAIN_LEVEL_ENDS)
    )

    def __init__(self, channels: int, *, residual: bool = False) -> None:
        super().__init__()
        self.stem = Block(channels, PLAIN_WIDTHS[0], stride=1, residual=False)
        self.blocks = nn.Sequential(
            *(
                Block(n_in, n_out, stride=2 if i < N_HALVING else 1, residual=residual)
                for i, (n_in, n_out) in enumerate(zip((PLAIN_WIDTHS[0], *PLAIN_WIDTHS[:-1]), PLAIN_WIDTHS, strict=True))
            )
        )


PLAIN_NETS: Mapping[str, Callable[[int], nn.Module]] = {
    "plain-cnn": PlainCnn,
    "residual-cnn": partial(PlainCnn, residual=True),
}


# A volume has more voxels than an image has pixels, and three axes to see along: half of the width is enough.
SMALL_WIDTHS = {2: (24, 48, 96), 3: (12, 24, 48)}
DEPTHS = (1, 2, 2)
SMALL_LEVEL_ENDS = tuple(sum(DEPTHS[: i + 1]) - 1 for i in range(len(DEPTHS)))


class ResidualBlock(nn.Module):
    """Two convolutions of 3 a side beside a shortcut (He et al. 2016, Deep residual learning, section 3.2)."""

    def __init__(self, n_in: int, n_out: int, stride: int, dimensions: int = 2) -> None:
        super().__init__()
        convolution, norm = CONVOLUTIONS[dimensions], NORMALISATIONS[dimensions]
        self.conv1 = convolution(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = norm(n_out)
        self.conv2 = convolution(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = norm(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(convolution(n_in, n_out, 1, stride, bias=False), norm(n_out))
        # A block that starts as the identity lets a net of few images begin shallow (Goyal et al. 2017).
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, n_out, *spatial)``, after the ReLU."""
        inner = nn.functional.relu(self.norm1(self.conv1(x)))
        return nn.functional.relu(self.shortcut(x) + self.norm2(self.conv2(inner)))


class SmallResidual(StagedNet):
    """A residual net for images of 28 to 64 pixels: ``(N, C, H, W)`` to ``(N, 96, H/4, W/4)``.

    For volumes it is half as wide.

    The usual stem quarters an image before its first block; at 28 pixels that leaves one number per image at
    the end. Here the first stage works on every pixel and each later one halves.

    >>> import torch
    >>> SmallResidual(channels=1)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 96, 7, 7])
    """

    level_ends = SMALL_LEVEL_ENDS

    def __init__(self, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        widths = SMALL_WIDTHS[dimensions]
        self.num_features = widths[-1]
        self.feature_info = tuple({"num_chs": width, "reduction": 2**i} for i, width in enumerate(widths))
        self.stem = CONVOLUTIONS[dimensions](channels, widths[0], 3, 1, 1, bias=False)
        self.norm = NORMALISATIONS[dimensions](widths[0])
        blocks: list[nn.Module] = []
        n_in = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(ResidualBlock(n_in, width, stride, dimensions))
                n_in = width
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def begin(self, x: Tensor) -> Tensor:
        """Return what the first block takes."""
        return nn.functional.relu(self.norm(self.stem(x)))


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
        return nn.functional.relu(self._stages_of(x)[-1])

    def forward_intermediates(
        self, x: Tensor, indices: list[int], *, stop_early: bool = False, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps at the ends of the stages at `indices`, the finest first, as timm's nets do.

        Unless they are all that is asked for, the last feature map stands before them, after a ReLU.
        """
        del stop_early
        found = self._stages_of(x)
        wanted = [found[i] for i in indices]
        return wanted if intermediates_only else (nn.functional.relu(found[-1]), wanted)

    def prune_intermediate_layers(self, indices: list[int]) -> None:
        """Drop the parts behind the last of the stages at `indices`."""
        n_kept = max(indices) + 1
        for name in (name for stage in self.stages[n_kept:] for name in stage):
            delattr(self.net, name)
        self.stages = self.stages[:n_kept]

    def group_matcher(self, *, coarse: bool = False) -> Callable[[str], int]:
        """Return how parameters are told apart by stage, as timm's nets do."""
        del coarse
        stage_of = {part: i for i, stage in enumerate(self.stages) for part in stage}
        return lambda name: stage_of[name.split(".")[1]]

    def _stages_of(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            for name in stage:
                x = self.net.get_submodule(name)(x)
            maps.append(x)
        return maps


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
