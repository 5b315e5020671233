"""A small residual net that keeps every pixel of a small image, or volume, until its features are made."""

from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.nets.grids import CONVOLUTIONS, NORMALISATIONS
from focusmap.nets.staged_net import StagedNet

# A volume has more voxels than an image has pixels, and three axes to see along: half of the width is enough.
WIDTHS = {2: (24, 48, 96), 3: (12, 24, 48)}
DEPTHS = (1, 2, 2)
LEVEL_ENDS = tuple(sum(DEPTHS[: i + 1]) - 1 for i in range(len(DEPTHS)))


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

    level_ends = LEVEL_ENDS

    def __init__(self, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        widths = WIDTHS[dimensions]
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
