"""The plain convolutional net of the APTOS 2021 challenge, and its residual twin: for learning curves side by side.

Eight blocks behind a stem, each one 3x3 convolution, batch normalisation and ReLU, as in an openly shared entry of the
challenge (29th of 10,006 teams). There each block halves the image, which leaves 2 x 3 places of 400 x 650 pixels
for dense layers. Here the first five do, as in other backbones, so that there is a map to look at.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.nets.staged_net import StagedNet

WIDTHS = (8, 8, 16, 16, 32, 32, 64, 64)
N_HALVING = 5
# The last block on each grid: a level of the pyramid, at strides 2, 4, 8, 16 and 32.
LEVEL_ENDS = (*range(N_HALVING - 1), len(WIDTHS) - 1)


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

    level_ends = LEVEL_ENDS
    num_features = WIDTHS[-1]
    feature_info = tuple({"num_chs": WIDTHS[end], "reduction": 2 ** (i + 1)} for i, end in enumerate(LEVEL_ENDS))

    def __init__(self, channels: int, *, residual: bool = False) -> None:
        super().__init__()
        self.stem = Block(channels, WIDTHS[0], stride=1, residual=False)
        self.blocks = nn.Sequential(
            *(
                Block(n_in, n_out, stride=2 if i < N_HALVING else 1, residual=residual)
                for i, (n_in, n_out) in enumerate(zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True))
            )
        )


PLAIN_NETS: Mapping[str, Callable[[int], nn.Module]] = {
    "plain-cnn": PlainCnn,
    "residual-cnn": partial(PlainCnn, residual=True),
}
