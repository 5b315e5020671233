"""How a score changes while an image is taken away or put back in the order of its map.

- Deletion: f while the most relevant pixels are replaced by the mean grey first; lower is better. Insertion: f while
  they are put back first into a blurred image; higher is better (Petsiuk et al. 2018, RISE, section 3.3). RISE blurs
  by a fixed width, which leaves a large lesion visible; here it is a tenth of each side.
- ROAD = (least relevant first - most relevant first) / 2, the mean of f over 10 to 90 % removed; higher is better, an
  uninformative map has 0 (Rong et al. 2022, section 4). What is removed is imputed from what remains, because the
  outline of a grey patch would itself tell something.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from focusmap.faithfulness.imputation import NOISE, impute

Score: TypeAlias = Callable[[Tensor], Tensor]
"""From images ``(N, C, *spatial)`` to the score ``(N,)`` of the label that each one's map explains."""

PERCENTILES = tuple(range(10, 100, 10))
BLUR = 0.1  # of each side


def ranks(maps: Tensor, seed: int = 0) -> Tensor:
    """Return each pixel's place in the order of its map, ``(N, *spatial)``: 0 is the most relevant.

    Equal values are ordered at random, or a map that is zero in places would be read from left to right.

    >>> ranks(torch.tensor([[0.1, 0.7, 0.3]])).tolist()
    [[2, 0, 1]]
    """
    flat = maps.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).reshape(maps.shape)


def deletion_curve(score: Score, batch: Tensor, maps: Tensor, n_steps: int = 10, seed: int = 0) -> Tensor:
    """Return f ``(N, n_steps + 1)`` with 0, 1/n, ..., all of the pixels replaced by 0, the most relevant first.

    A standardised image's 0 is its mean grey.

    >>> deletion_curve(lambda x: x.sum(dim=(1, 2)), torch.tensor([[[1.0, 3.0]]]), torch.tensor([[1.0, 3.0]]), 2)
    tensor([[4., 1., 0.]])
    """
    return _replacement_curve(score, (batch, torch.zeros_like(batch)), ranks(maps, seed), n_steps)


def insertion_curve(score: Score, batch: Tensor, maps: Tensor, n_steps: int = 10, seed: int = 0) -> Tensor:
    """Return f ``(N, n_steps + 1)`` with 0, 1/n, ..., all of the pixels back in the blurred image."""
    return _replacement_curve(score, (blurred(batch), batch), ranks(maps, seed), n_steps)


def area(curve: Tensor) -> Tensor:
    """Return the mean of each curve ``(N, S + 1)`` by the trapezoid rule, ``(N,)``.

    >>> area(torch.tensor([[4.0, 1.0, 0.0]])).tolist()
    [1.5]
    """
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)


@dataclass(frozen=True)
class Road:
    """f with 10, 20, ..., 90 % of the pixels imputed, ``(N, 9)``, the least and the most relevant first."""

    least_first: Tensor
    most_first: Tensor

    @property
    def score(self) -> Tensor:
        """``(N,)``, higher is better: 0 for a map that knows nothing."""
        return (self.least_first - self.most_first).mean(dim=1) / 2


def road(score: Score, batch: Tensor, maps: Tensor, noise: float = NOISE, seed: int = 0) -> Road:
    """Return both orders of ROAD; `noise` is the deviation of what is added to imputed pixels."""
    order = ranks(maps, seed)
    n_pixels = maps[0].numel()

    def curve(places: Tensor) -> Tensor:
        removed = (places < round(n_pixels * percentile / 100) for percentile in PERCENTILES)
        return torch.stack([score(impute(batch, chosen, noise, seed)) for chosen in removed], dim=1)

    return Road(curve(n_pixels - 1 - order), curve(order))


def blurred(batch: Tensor) -> Tensor:
    """Return the images after a Gaussian of a tenth of each side.

    >>> blurred(torch.ones(1, 1, 8, 8)).unique().tolist()
    [1.0]
    """
    from scipy.ndimage import gaussian_filter

    widths = (0, 0, *(BLUR * side for side in batch.shape[2:]))
    return torch.from_numpy(np.asarray(gaussian_filter(batch.cpu().numpy(), widths, mode="nearest"))).to(batch)


def displaced(maps: Tensor, seed: int = 0) -> Tensor:
    """Return the maps moved round by a quarter to three quarters of each side, each by its own random step.

    What a map must be better than: the same values, as smooth, in the wrong place. Random pixels would not do, since
    nets take scattered grey pixels for more of a change than one patch of as many.

    >>> displaced(torch.tensor([[1.0, 0.0, 0.0, 0.0]])).sum().item()
    1.0
    """
    random = np.random.default_rng(seed)
    moved = []
    for heat_map in maps:
        steps = tuple(int(random.integers(side // 4, 3 * side // 4 + 1)) for side in heat_map.shape)
        moved.append(heat_map.roll(steps, tuple(range(heat_map.ndim))))
    return torch.stack(moved)


def _replacement_curve(score: Score, images: tuple[Tensor, Tensor], order: Tensor, n_steps: int) -> Tensor:
    """Return f while the first of two images turns into the second, the pixels of rank 0 first."""
    first, second = images
    counts = [round(order[0].numel() * step / n_steps) for step in range(n_steps + 1)]
    return torch.stack([score(torch.where((order < n)[:, None], second, first)) for n in counts], dim=1)
