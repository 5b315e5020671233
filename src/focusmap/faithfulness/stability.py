"""Does a map stay the same when the image changes by less than one sees?"""

from collections.abc import Callable

import torch
from torch import Tensor

RADIUS, N_DRAWS = 0.02, 10


def max_sensitivity(
    explain: Callable[[Tensor], Tensor], batch: Tensor, radius: float = RADIUS, n_draws: int = N_DRAWS, seed: int = 0
) -> Tensor:
    """Return max ||M(x + d) - M(x)|| / ||M(x)|| over uniform random |d| <= `radius` (Yeh et al. 2019, definition 3).

    Parameters
    ----------
    explain
        From images to maps ``(N, *grid)``.
    batch
        ``(N, C, *spatial) float``.
    radius
        In units of the images: of a standardised image, deviations.

    Returns
    -------
    Tensor
        ``(N,)``, at least 0; lower is better. NaN where a map is empty.

    >>> max_sensitivity(lambda x: torch.ones(len(x), 2), torch.zeros(3, 1, 2)).tolist()
    [0.0, 0.0, 0.0]
    """
    generator = torch.Generator().manual_seed(seed)
    maps = explain(batch).flatten(1)
    greatest = maps.new_zeros(len(maps))
    for _ in range(n_draws):
        step = radius * (2 * torch.rand(batch.shape, generator=generator) - 1).to(batch)
        change = (explain(batch + step).flatten(1) - maps).norm(dim=1)
        greatest = torch.maximum(greatest, change)
    size = maps.norm(dim=1)
    return torch.where(size > 0, greatest / size, torch.nan)
