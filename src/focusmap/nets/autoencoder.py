"""A convolutional autoencoder: its reconstruction error shows what the images of train do not have.

A backbone encodes, a narrow code is what is kept, convolutions decode (Hinton and Salakhutdinov 2006; the
reconstruction error as a measure of anomaly: Japkowicz et al. 1995, and of medical images Baur et al. 2021).

The net's features are the squared error of each pixel, e_p = mean over channels of (x_p - r_p)^2, a map with one
channel. Average pooling and a linear layer of weight 1 make the *anomaly score* of it, so that the score, and the map
whose mean it is, come by the same way as any logit and its class activation map. Images have a variance of 1: the
score is the share of an image's variance that its reconstruction misses.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from focusmap.nets.grids import CONVOLUTIONS, convolution_block, on_grid

# One number of the code stands for so many pixels. A code as large as the image could hand on anything unseen.
COMPRESSION = 16
# A code is no finer than this, in pixels: a place of it must see more than texture.
CODE_STRIDE = 16
NARROWEST, WIDEST = 16, 64


class Reconstruction(nn.Module):
    """From images ``(N, C, *spatial)`` to the squared error of their reconstruction ``(N, 1, *spatial)``.

    Parameters
    ----------
    encoder
        A backbone, up to its last feature map.
    n_features, stride
        Channels of that map, and the pixels from one of its places to the next.
    channels
        Of the images.
    dimensions
        Of the images' grid.
    """

    def __init__(self, encoder: nn.Module, n_features: int, stride: int, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        self.encoder = encoder
        down = [WIDEST] * int(math.log2(max(CODE_STRIDE // stride, 1)))
        code_stride = stride * 2 ** len(down)
        n_code = max(1, code_stride**dimensions // COMPRESSION)
        widths = [n_features, *down]
        self.narrow = nn.Sequential(*(convolution_block(*pair, dimensions, stride=2) for pair in pairwise(widths)))
        self.code = CONVOLUTIONS[dimensions](widths[-1], n_code, 1)
        self.strides = [code_stride >> i for i in range(1, int(math.log2(code_stride)) + 1)]
        widths = [n_code, *(min(WIDEST, max(NARROWEST, 8 * step)) for step in self.strides)]
        self.grow = nn.ModuleList(convolution_block(*pair, dimensions) for pair in pairwise(widths))
        self.paint = CONVOLUTIONS[dimensions](widths[-1], channels, 3, 1, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the images as they can be made of their codes, ``(N, C, *spatial)``."""
        decoded: Tensor = self.code(self.narrow(self.encoder(x)))
        for stride, block in zip(self.strides, self.grow, strict=True):
            decoded = block(on_grid(decoded, _sides(x.shape[2:], stride)))
        painted: Tensor = self.paint(decoded)
        return painted

    def forward(self, x: Tensor) -> Tensor:
        """Return the squared error of each pixel, the mean over channels; in float32."""
        return (x.float() - self.reconstruct(x).float()).square().mean(dim=1, keepdim=True)


def mean_of_errors() -> nn.Linear:
    """Return the layer that makes the anomaly score of an image's mean error, which is the same number."""
    head = nn.Linear(1, 1)
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    return head.requires_grad_(False)


def _sides(shape: Sequence[int], stride: int) -> list[int]:
    """Return the sides of the grid at a stride; the image's own at 1.

    >>> _sides((28, 30), 8), _sides((28, 30), 1)
    ([4, 4], [28, 30])
    """
    return [-(-side // stride) for side in shape]
