"""Which voxels belong together: a similarity of their features, and the loss over pairs that teaches it.

With f the features of a voxel and x = max(|f_p - f_q|^2, 1e-6):

    S(p, q) = 2 / (1 + exp(x))                                              (Fathi et al. 2017, eq. 1)
    -log S = x + log1p(exp(-x)) - ln 2,       its derivative by x: 1 / (1 + exp(-x))
    -log(1 - S) = log1p(exp(-x)) - log(-expm1(-x)) = -log tanh(x / 2),      its derivative by x: -1 / sinh(x)

    loss = - 1/4 mean of log S over pairs of two lesion voxels - 1/4 mean of log S over pairs of two background voxels
           - 1/2 mean of log(1 - S) over pairs of one lesion and one background voxel

(Wu et al. 2019, section 2.2; weights of Ahn and Kwak 2018). A kind of which there are no pairs adds nothing. Often
written with D = 1 / (1 + exp(-|f_p - f_q|^2)) and log D on same pairs, the loss has the sign the wrong way: equal
features then give D = 1/2, and the loss stays at ln 2.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

LEAST_SQUARE = 1e-6
LESION, BACKGROUND = 1, 0
# Pairs of so many by so many voxels at a time: what is computed of them stays in the processor's cache.
TILE = (128, 512)
FEW_TILES = 16

Kind = Literal["lesion", "background", "different"]
WEIGHTS: dict[Kind, float] = {"lesion": 1 / 4, "background": 1 / 4, "different": 1 / 2}
Term = Callable[[Tensor], tuple[Tensor, Tensor]]


def similarity(squares: Tensor) -> Tensor:
    """Return S of squared distances, between 0 and 1: 1 for equal features.

    >>> [round(value, 3) for value in similarity(torch.tensor([0.0, math.log(3)])).tolist()]
    [1.0, 0.5]
    """
    # By exp(-x), which cannot overflow.
    small = torch.exp(-squares.clamp(min=LEAST_SQUARE))
    return 2 * small / (1 + small)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return ``(P, Q)``: |f_p - f_q|^2 of features ``(P, K)`` and ``(Q, K)``, as |f_p|^2 + |f_q|^2 - 2 f_p f_q."""
    norms = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)
    return torch.addmm(norms, first, second.T, alpha=-2).clamp_(min=0)


def same_term(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return -log S, that of voxels of one label, and its derivative by x, for x at least `LEAST_SQUARE`."""
    small = torch.exp(-x)
    return torch.log1p(small).add_(x).sub_(math.log(2)), small.add_(1).reciprocal_()


def different_term(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return -log(1 - S), that of voxels of two labels, and its derivative by x, for x at least `LEAST_SQUARE`."""
    small = torch.expm1(-x)  # exp(-x) - 1, between -1 and 0
    # 1 / sinh(x) = 2 exp(-x) / ((1 - exp(-x)) (1 + exp(-x)))
    slope = (small + 1).mul_(2).div_(small * (small + 2))
    return (small + 2).div_(small).neg_().log_(), slope


TERMS: dict[Kind, Term] = {"lesion": same_term, "background": same_term, "different": different_term}


def pair_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Return the loss over all pairs of labelled voxels, exact, in memory linear in their number.

    Parameters
    ----------
    features : (N, K)
        Of N voxels, on any device; half precision is computed in float32.
    labels : (N,)
        1 lesion, 0 background, anything else is left out.

    >>> round(float(pair_loss(torch.tensor([[0.0], [0.0], [9.0]]), torch.tensor([1, 1, 0]))), 6)
    0.0
    """
    loss: Tensor = _PairLoss.apply(features, labels)
    return loss


class _PairLoss(torch.autograd.Function):
    """Loss and gradient in one pass over tiles of pairs, each of which is forgotten at once."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, labels: Tensor) -> Tensor:
        # Detached, since threads of their own do not know that no graph is wanted here.
        wide = features.detach() if features.dtype == torch.float64 else features.detach().float()
        total, gradient = wide.new_zeros((), dtype=torch.float64), torch.zeros_like(wide)
        for kind in WEIGHTS:
            loss, slope = _of_kind(kind, wide, labels)
            total += loss
            gradient += slope
        ctx.save_for_backward(gradient.to(features.dtype))
        return total.to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]  # torch makes it where tensors were saved
        return grad_output * gradient, None


@dataclass(frozen=True)
class _Tile:
    """Rows by columns of the table of pairs; of one on the diagonal only what lies above it counts."""

    rows: slice
    columns: slice
    is_triangle: bool


def _of_kind(kind: Kind, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean over the pairs of one kind, and its gradient ``(N, K)``."""
    rows, columns = (torch.nonzero(labels == label)[:, 0] for label in _labels_of(kind))
    first, second = features[rows], features[columns]
    is_same = kind != "different"
    n_pairs = len(first) * (len(first) - 1) // 2 if is_same else len(first) * len(second)
    gradient, total = torch.zeros_like(features), features.new_zeros((), dtype=torch.float64)
    if not n_pairs:
        return total, gradient
    tiles = list(_tiles(len(first), len(second), is_triangle=is_same))
    for loss, (grad_first, grad_second) in _shared_out(tiles, first, second, TERMS[kind]):
        total += loss
        gradient[rows] += grad_first
        gradient[columns] += grad_second
    scale = WEIGHTS[kind] / n_pairs
    return total * scale, gradient.mul_(scale)


def _shared_out(
    tiles: list[_Tile], first: Tensor, second: Tensor, term: Term
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Yield the sums over shares of the tiles, a thread each: loss, and gradients of the first and second voxels.

    A tile is too small to be shared by threads itself: they would wait for each other more than they work.
    """
    n_threads = torch.get_num_threads() if first.device.type == "cpu" else 1
    if n_threads == 1 or len(tiles) < FEW_TILES:
        yield _sum_tiles(tiles, first, second, term)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n_threads) as pool:
            yield from pool.map(lambda k: _sum_tiles(tiles[k::n_threads], first, second, term), range(n_threads))
    finally:
        torch.set_num_threads(n_threads)


def _sum_tiles(tiles: list[_Tile], first: Tensor, second: Tensor, term: Term) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    total, gradients = first.new_zeros((), dtype=torch.float64), (torch.zeros_like(first), torch.zeros_like(second))
    for tile in tiles:
        total += _add_tile(tile, (first, second), gradients, term)
    return total, gradients


def _labels_of(kind: Kind) -> tuple[int, int]:
    if kind == "different":
        return LESION, BACKGROUND
    return (LESION, LESION) if kind == "lesion" else (BACKGROUND, BACKGROUND)


def _tiles(n_rows: int, n_columns: int, *, is_triangle: bool) -> Iterator[_Tile]:
    height, width = TILE
    for top in range(0, n_rows, height):
        bottom = min(top + height, n_rows)
        for left in range(top if is_triangle else 0, n_columns, width):
            right = min(left + width, n_columns)
            yield _Tile(slice(top, bottom), slice(left, right), is_triangle and left < bottom)


def _add_tile(tile: _Tile, features: tuple[Tensor, Tensor], gradients: tuple[Tensor, Tensor], term: Term) -> Tensor:
    """Return the sum over a tile's pairs; add dx/df = 2 (f_p - f_q) times the slope of each to the gradients."""
    first, second = features[0][tile.rows], features[1][tile.columns]
    squares = squared_distances(first, second)
    loss, slope = term(squares.clamp(min=LEAST_SQUARE))
    # Below the floor nothing changes with the features. Few tiles have such pairs, and to ask costs less than to fill.
    if squares.min() < LEAST_SQUARE:
        slope.masked_fill_(squares < LEAST_SQUARE, 0)
    if tile.is_triangle:
        offset = tile.rows.start - tile.columns.start
        loss.triu_(1 + offset)
        slope.triu_(1 + offset)
    gradients[0][tile.rows] += 2 * (slope.sum(dim=1)[:, None] * first - slope @ second)
    gradients[1][tile.columns] += 2 * (slope.sum(dim=0)[:, None] * second - slope.T @ first)
    return loss.sum().double()


@dataclass(frozen=True)
class PairSampling:
    """Pairs that stand for all of them.

    Parameters
    ----------
    n_pairs
        Pairs of each kind that are drawn; those that turn out to be of another kind are dropped.
    radius
        How far apart, in voxels, the two of a pair may lie; None means anywhere.
    """

    n_pairs: int = 20_000
    radius: float | None = None


def sampled_pair_loss(features: Tensor, labels: Tensor, sampling: PairSampling, generator: torch.Generator) -> Tensor:
    """Return an unbiased estimate of the loss over all pairs, or over all that are no further apart than a radius.

    Balanced: as many pairs are drawn of each kind, and every pair of a kind is as likely as any other.

    Parameters
    ----------
    features : (K, *spatial)
        Of one image.
    labels : (*spatial)
        As for `pair_loss`.
    sampling, generator
        How many pairs and how far apart, and what draws them (on the processor).
    """
    flat = features.flatten(1).T
    # A sum that autograd can go through, though there be no pairs at all.
    total = 0 * flat.sum(dtype=torch.float32)
    for kind, weight in WEIGHTS.items():
        first, second = draw_pairs(labels, kind, sampling, generator)
        if len(first):
            x = (flat[first] - flat[second]).float().square().sum(dim=1).clamp(min=LEAST_SQUARE)
            total = total + weight * _mean_term(kind, x)
    return total


def _mean_term(kind: Kind, x: Tensor) -> Tensor:
    """Return the mean of -log S or -log(1 - S), in forms that autograd can differentiate."""
    small = torch.exp(-x)
    if kind == "different":
        return (torch.log1p(small) - torch.log(-torch.expm1(-x))).mean()
    return (x + torch.log1p(small) - math.log(2)).mean()


def draw_pairs(labels: Tensor, kind: Kind, sampling: PairSampling, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the flat positions ``(M,)`` of the first and the second voxels of M pairs of one kind.

    Parameters are those of `sampled_pair_loss`. All pairs of the kind are equally likely, and M is at most
    ``sampling.n_pairs``: a pair that leads out of the image or to a voxel of another kind is dropped, not moved.
    """
    own, wanted = _labels_of(kind)
    candidates = torch.nonzero(labels.flatten() == own)[:, 0].cpu()
    if not len(candidates):
        return candidates, candidates
    first = candidates[torch.randint(len(candidates), (sampling.n_pairs,), generator=generator)]
    if sampling.radius is None:
        alike = torch.nonzero(labels.flatten() == wanted)[:, 0].cpu()
        if not len(alike):
            return alike, alike
        second = alike[torch.randint(len(alike), (sampling.n_pairs,), generator=generator)]
        kept = first != second
    else:
        second, kept = _neighbours(first, labels, sampling.radius, generator)
        kept &= labels.flatten().cpu()[second] == wanted
    return first[kept].to(labels.device), second[kept].to(labels.device)


def _neighbours(first: Tensor, labels: Tensor, radius: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a voxel near each, and whether it lies in the image."""
    shape = torch.tensor(labels.shape)
    steps = torch.tensor(offsets_within(radius, labels.ndim))
    places = torch.stack(torch.unravel_index(first, labels.shape), dim=1)
    places = places + steps[torch.randint(len(steps), (len(first),), generator=generator)]
    inside = ((places >= 0) & (places < shape)).all(dim=1)
    strides = torch.tensor([math.prod(labels.shape[axis + 1 :]) for axis in range(labels.ndim)])
    return (places.clamp(min=0).minimum(shape - 1) * strides).sum(dim=1), inside


def offsets_within(radius: float, dimensions: int) -> Sequence[tuple[int, ...]]:
    """Return every step that is no longer than `radius`, but the one to nowhere.

    >>> offsets_within(1, 2)
    [(-1, 0), (0, -1), (0, 1), (1, 0)]
    """
    reach = int(radius)
    steps = product(range(-reach, reach + 1), repeat=dimensions)
    return [step for step in steps if 0 < sum(axis**2 for axis in step) <= radius**2]
