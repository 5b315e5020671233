"""What focus maps add to the loss: whatever its label, a map should be small, and move with the image."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

SHIFT_STREAM = 2
LARGEST_SHIFT = 0.25  # of the side


def sparsity(maps: Tensor) -> Tensor:
    """Return the mean of maps ``(N, L, *spatial)`` between 0 and 1: the share of the image that they cover."""
    return maps.mean()


def equivariance(maps: Tensor, moved: Tensor, cells: Sequence[int]) -> Tensor:
    """Return the mean squared difference of the maps of moved images from the moved maps, where both see the same.

    After Wang et al. 2020 (SEAM, eq. 2), with shifts alone.

    Parameters
    ----------
    maps, moved
        ``(N, L, *spatial)`` of the images, and of the images moved by `cells`.
    cells
        Shift along each axis in cells of the maps, as `shifted` takes it.

    >>> import torch
    >>> maps = torch.tensor([[[1.0, 0.0, 0.0]]])
    >>> [float(equivariance(maps, torch.tensor([[row]]), [1])) for row in ([9.0, 1.0, 0.0], [9.0, 0.0, 0.0])]
    [0.0, 0.5]
    """
    inside = (..., *(slice(max(step, 0), min(step, 0) or None) for step in cells))
    return (moved - shifted(maps, cells))[inside].square().mean()


def shifted(x: Tensor, steps: Sequence[int]) -> Tensor:
    """Return ``(N, C, *spatial)`` moved by `steps` along each spatial axis; what leaves comes in at the other end."""
    return x.roll(tuple(steps), dims=tuple(range(2, x.ndim)))


def draw_shift(grid: Sequence[int], seed: int, step: int) -> tuple[int, ...]:
    """Return a shift in cells along each axis of `grid`, a function of (seed, step), never zero along all axes."""
    key = np.array([seed & 0xFFFFFFFF, step], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, SHIFT_STREAM]))
    largest = [max(int(side * LARGEST_SHIFT), 1) for side in grid]
    drawn = tuple(int(generator.integers(-n, n + 1)) for n in largest)
    return drawn if any(drawn) else (1, *drawn[1:])
