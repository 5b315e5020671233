"""Do sums of a map predict by how much the score falls when pixels are removed?

With I what is taken from an image and d = f(x) - f(x - I) what the score loses by it:

- Infidelity = E[(I . M - d)^2] (Yeh et al. 2019, definition 2.1); lower is better.
- Sensitivity-n = Pearson correlation of I . M and d over random sets of n features (Ancona et al. 2018, section 3.4);
  higher is better. A map whose every sum is right has 1 for every n.

A map gives what each pixel *contributes*, so a removal weighs 1 where a pixel is replaced by 0 and 0 elsewhere; a
map of *gradients* is judged with I itself as weights (`noise`). A map has no channels: those of a pixel go together.

Removals are measured once, and every map is judged on the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from focusmap.faithfulness.curves import Score

SQUARE = 0.25  # of each side
GRID = 8


@dataclass(frozen=True)
class Perturbation:
    """What is taken from images: the weight of each pixel of the map ``(N, *spatial)``, and the images without."""

    weights: Tensor
    images: Tensor


@dataclass(frozen=True)
class Removals:
    """D perturbations of N images: weights ``(D, N, *spatial)`` and what each cost the score, ``(D, N)``."""

    weights: Tensor
    losses: Tensor

    def predicted(self, maps: Tensor) -> Tensor:
        """Return I . M, ``(D, N)``, for maps ``(N, *spatial)``."""
        return torch.stack([(weights * maps).flatten(1).sum(dim=1) for weights in self.weights])


def measure_removals(score: Score, batch: Tensor, perturbations: Iterable[Perturbation]) -> Removals:
    """Return what each perturbation costs; one forward pass each, and one for the images as they are."""
    whole = score(batch)
    weights, losses = [], []
    for perturbation in perturbations:
        weights.append(perturbation.weights)
        losses.append(whole - score(perturbation.images))
    return Removals(torch.stack(weights), torch.stack(losses))


def infidelity(removals: Removals, maps: Tensor, *, scaled: bool = False) -> Tensor:
    """Return the infidelity ``(N,)``; lower is better, 0 for a map that says exactly what is lost.

    Parameters
    ----------
    removals
        As `measure_removals` gives them.
    maps
        ``(N, *spatial)``.
    scaled
        Multiply each map by the number that suits it best first, for methods that claim no scale (Yeh et al. 2019,
        section 4). Then no map is worse than an empty one, whose infidelity is E[d^2].
    """
    predicted, lost = removals.predicted(maps), removals.losses
    if scaled:
        square = predicted.square().sum(dim=0)
        predicted = predicted * torch.where(square > 0, (predicted * lost).sum(dim=0) / square, 0.0)
    return (predicted - lost).square().mean(dim=0)


def unexplained(removals: Removals, maps: Tensor) -> Tensor:
    """Return the scaled infidelity as a share of E[d^2], ``(N,)``: 0 is perfect, 1 no better than an empty map.

    NaN where no perturbation changed the score.
    """
    return infidelity(removals, maps, scaled=True) / removals.losses.square().mean(dim=0)


def sensitivity_n(removals: Removals, maps: Tensor) -> Tensor:
    """Return the correlation ``(N,)`` between -1 and 1; NaN where all sums, or all losses, are equal.

    >>> weights = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> sensitivity_n(Removals(weights, torch.tensor([[2.0], [4.0]])), torch.tensor([[1.0, 3.0]])).tolist()
    [1.0]
    """
    predicted, lost = (values - values.mean(dim=0) for values in (removals.predicted(maps), removals.losses))
    spread = (predicted.square().sum(dim=0) * lost.square().sum(dim=0)).sqrt()
    return torch.where(spread > 0, (predicted * lost).sum(dim=0) / spread, torch.nan).clamp(-1, 1)


def squares(batch: Tensor, n_draws: int, seed: int = 0, share: float = SQUARE) -> Iterator[Perturbation]:
    """Yield images without one square of a quarter of each side, at a random place (Yeh et al. 2019, section 4)."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_draws):
        hidden = torch.ones(len(batch), *batch.shape[2:], dtype=torch.bool)
        for axis, side in enumerate(batch.shape[2:]):
            width = max(round(share * side), 1)
            start = torch.randint(side - width + 1, (len(batch), 1), generator=generator)
            places = torch.arange(side)
            within = (places >= start) & (places < start + width)
            hidden &= within.reshape(len(batch), *(side if i == axis else 1 for i in range(hidden.ndim - 1)))
        yield _without(batch, hidden.to(batch.device))


def random_features(batch: Tensor, n: int, n_draws: int, seed: int = 0, grid: int = GRID) -> Iterator[Perturbation]:
    """Yield images without `n` random features: cells of a grid of at most `grid` along each side.

    With `grid` the side of the image a feature is a pixel, as in the paper. Of that many single pixels each counts
    for so little that the correlation drowns in the noise of a few dozen draws.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = [torch.arange(side) * min(grid, side) // side for side in batch.shape[2:]]
    shape = [int(places[-1]) + 1 for places in cells]
    for _ in range(n_draws):
        chosen = torch.rand(len(batch), *shape, generator=generator).flatten(1).argsort(dim=1).argsort(dim=1) < n
        hidden = chosen.reshape(len(batch), *shape)
        for dim, places in enumerate(cells, start=1):
            hidden = hidden.index_select(dim, places)
        yield _without(batch, hidden.to(batch.device))


def _without(batch: Tensor, hidden: Tensor) -> Perturbation:
    return Perturbation(hidden.to(batch.dtype), batch.masked_fill(hidden[:, None], 0.0))
