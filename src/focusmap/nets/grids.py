"""From one grid to another, in any number of dimensions."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def on_grid(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return maps ``(N, K, *grid)`` on a grid of `shape`, linear between the centres of their cells.

    >>> import torch
    >>> on_grid(torch.tensor([[[0.0, 4.0]]]), (4,)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    return F.interpolate(maps, tuple(shape), mode=LINEAR[len(shape)], align_corners=False)
