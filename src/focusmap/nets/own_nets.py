"""Our own backbones: the plain convolutional net of the APTOS 2021 challenge, its residual twin, a small residual net.

They share with timm's a stem and blocks in a row, some of which end a level of the pyramid.

Eight blocks behind a stem, each one 3x3 convolution, batch normalisation and ReLU, as in an openly shared entry of the
challenge (29th of 10,006 teams). There each block halves the image, which leaves 2 x 3 places of 400 x 650 pixels
for dense layers. Here the first five do, as in other backbones, so that there is a map to look at.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

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
        y = F.relu(self.norm(self.conv(x)))
        if not self.residual:
            return y
        return y + F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.n_new))


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
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(inner)))


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
        return F.relu(self.norm(self.stem(x)))
