"""From one grid to another, in any number of dimensions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMALISATIONS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes of a batch: the order in memory that convolutions on a processor are fastest with."""


def on_grid(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return maps ``(N, K, *grid)`` on a grid of `shape`, linear between the centres of their cells.

    >>> import torch
    >>> on_grid(torch.tensor([[[0.0, 4.0]]]), (4,)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    return F.interpolate(maps, tuple(shape), mode=LINEAR[len(shape)], align_corners=False)


def warped(batch: Tensor, geometry: Tensor, padding: str, displacement: Tensor | None = None) -> Tensor:
    """Return images or volumes ``(N, C, *spatial)`` moved, linear between the centres of their pixels.

    Parameters
    ----------
    batch
        Of images, x runs along columns and y along rows; of volumes, x, y and z along the first to third axis.
    geometry : (N, D, D + 1)
        The affine map from output to input, x before y before z, in coordinates from -1 to 1 of equally long sides.
    padding
        ``border`` repeats the edge where something comes in over it, ``zeros`` does not.
    displacement : (N, D, *spatial)
        How far each place moves on its own, in the same coordinates, or None.
    """
    n = batch.ndim - 2
    sides = list(batch.shape[2:]) if n == 3 else list(batch.shape[:1:-1])
    lengths = geometry.new_tensor(sides)
    linear = geometry[:, :, :n] * (lengths / lengths[:, None])
    theta = torch.cat([linear, geometry[:, :, n:]], dim=2)
    if n == 3:
        # torch counts coordinates from the last axis on.
        theta = torch.cat([theta[:, :, :n].flip(1, 2), theta[:, :, n:].flip(1)], dim=2)
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    if displacement is not None:
        moved = displacement.flip(1) if n == 3 else displacement
        grid = grid + moved.movedim(1, -1)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode=padding, align_corners=False)
