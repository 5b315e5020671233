"""A small residual net that keeps every pixel of a small picture until its features are made."""

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (24, 48, 96)
DEPTHS = (1, 2, 2)
STAGE_ENDS = tuple(sum(DEPTHS[: i + 1]) - 1 for i in range(len(DEPTHS)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, Deep residual learning, section 3.2)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        # A block that starts as the identity lets a net of few pictures begin shallow (Goyal et al. 2017).
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, n_out, h, w)``, after the ReLU."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(inner)))


class SmallResidual(nn.Module):
    """A residual net for pictures of 28 to 64 pixels: ``(N, C, H, W)`` to ``(N, 96, H/4, W/4)``.

    The usual stem quarters a picture before its first block; at 28 pixels that leaves one number a picture at
    the end. Here the first stage works on every pixel and each later one halves.

    >>> import torch
    >>> SmallResidual(channels=1)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 96, 7, 7])
    """

    num_features = WIDTHS[-1]
    feature_info = tuple({"num_chs": width, "reduction": 2**i} for i, width in enumerate(WIDTHS))

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, WIDTHS[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        blocks: list[nn.Module] = []
        n_in = WIDTHS[0]
        for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            for position in range(depth):
                blocks.append(ResidualBlock(n_in, width, stride=2 if stage > 0 and position == 0 else 1))
                n_in = width
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:
        """Return how parameters are told apart by stage, as timm's nets do."""
        del coarse
        return {"stem": r"^stem|^norm", "blocks": r"^blocks\.(\d+)"}

    def forward(self, x: Tensor) -> Tensor:
        """Return the last feature map, after its ReLU."""
        features: Tensor = self.blocks(F.relu(self.norm(self.stem(x))))
        return features

    def forward_intermediates(
        self, x: Tensor, indices: list[int], *, stop_early: bool = False, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last map, unless the others only are wanted, and those of the stages at `indices`, finest first.

        As timm's nets do.
        """
        del stop_early
        x, found = F.relu(self.norm(self.stem(x))), {}
        for position, block in enumerate(self.blocks):
            x = found[position] = block(x)
        maps = [found[STAGE_ENDS[i]] for i in indices]
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(self, indices: list[int]) -> None:
        """Drop the blocks behind the last of the stages at `indices`."""
        self.blocks = self.blocks[: STAGE_ENDS[max(indices)] + 1]
