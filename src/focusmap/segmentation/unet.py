"""A small U-Net, in any number of dimensions (Ronneberger et al. 2015, figure 1, with padding and fewer channels)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from focusmap.nets.grids import CONVOLUTIONS, on_grid

POOLS: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
WIDTHS = (16, 32, 64)
N_GROUPS = 8


class UNet(nn.Module):
    """From ``(N, C, *spatial)`` to ``(N, n_out, *spatial)``, of any side.

    Normalised by groups of channels within each image, so that batches may be as small as memory wants them.

    Parameters
    ----------
    channels, n_out, dimensions
        C, what is given for each voxel, and the number of spatial axes.
    widths
        Channels of the levels, each half as fine as the one before it.

    >>> UNet(1, 2)(torch.zeros(1, 1, 33, 20)).shape
    torch.Size([1, 2, 33, 20])
    """

    def __init__(self, channels: int, n_out: int, dimensions: int = 2, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.channels, self.dimensions = channels, dimensions
        inputs = (channels, *widths[:-1])
        self.down = nn.ModuleList(_block(n, width, dimensions) for n, width in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(_block(fine + coarse, fine, dimensions) for fine, coarse in pairwise(widths))
        self.pool = POOLS[dimensions](2, ceil_mode=True)
        self.last = CONVOLUTIONS[dimensions](widths[0], n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is said of each voxel, before any activation."""
        levels = [self.down[0](x)]
        for block in self.down[1:]:
            levels.append(block(self.pool(levels[-1])))
        found = levels.pop()
        for block, level in zip(reversed(self.up), reversed(levels), strict=True):
            found = block(torch.cat([level, on_grid(found, level.shape[2:])], dim=1))
        said: Tensor = self.last(found)
        return said


def _block(n_in: int, n_out: int, dimensions: int) -> nn.Sequential:
    convolution = CONVOLUTIONS[dimensions]
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        layers += [convolution(n, n_out, 3, padding=1, bias=False), nn.GroupNorm(N_GROUPS, n_out), nn.ReLU()]
    return nn.Sequential(*layers)
