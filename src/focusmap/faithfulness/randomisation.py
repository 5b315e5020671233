"""How alike two maps are; and whether a map changes with what the net has learnt, and only with that.

Each map is divided by its greatest absolute value first, so that only its shape counts; an empty map has no shape. It
is left out and counted. Maps are compared signed, and by their absolute values: a map that only turns from positive to
negative still shows the same structure. SSIM is a product whose factors for brightness and structure both change their
sign when a map does, so that it would call a map and its opposite alike; maps with negative values are therefore moved
from -1 .. 1 into 0 .. 1 before.

Passing is necessary, not sufficient: a map of pure noise changes with everything (Binder et al. 2023, arXiv
2211.12486). Beside it stands faithfulness.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import TypeVar

import numpy as np
import torch

from focusmap.basics import InputError, Json

SIGMA, RADIUS = 1.5, 5  # a window of 11 pixels
C1, C2 = 0.01**2, 0.03**2  # of a data range of 1
MOST_PAIRS = 200


@dataclass(frozen=True)
class Similarity:
    """SSIM and Spearman's correlation of n pairs of maps, each ``(n,)``, and how many pairs held an empty map."""

    ssim: np.ndarray
    spearman: np.ndarray
    n_empty: int = 0

    @property
    def median_ssim(self) -> float:
        """The median; NaN of no pair."""
        return float(np.median(self.ssim)) if len(self.ssim) else np.nan

    @property
    def median_spearman(self) -> float:
        """The median of those that are defined; NaN of none."""
        known = self.spearman[~np.isnan(self.spearman)]
        return float(np.median(known)) if len(known) else np.nan

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        ssim, spearman = (None if np.isnan(x) else x for x in (self.median_ssim, self.median_spearman))
        return {"ssim": ssim, "spearman": spearman, "n": len(self.ssim), "n_empty": self.n_empty}


@dataclass(frozen=True)
class Comparison:
    """The similarity of maps as they are, and of their absolute values."""

    signed: Similarity
    absolute: Similarity

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        return {"signed": self.signed.to_dict(), "absolute": self.absolute.to_dict()}


class Shape:
    """A map ``(*spatial)`` divided by its greatest absolute value, and what its comparisons with others share.

    An empty map stays empty, and has no shape.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float64) / (np.abs(values).max() or 1.0)

    @property
    def is_empty(self) -> bool:
        """Whether it is 0 everywhere."""
        return not self.values.any()

    @cached_property
    def absolute(self) -> "Shape":
        """The same map without its signs."""
        return Shape(np.abs(self.values))

    @cached_property
    def is_signed(self) -> bool:
        """Whether it has negative values."""
        return bool(self.values.min() < 0)

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean of each window."""
        return _windowed(self.values)

    @cached_property
    def variance(self) -> np.ndarray:
        """The variance of each window."""
        return np.asarray(_windowed(self.values**2) - self.mean**2)

    @cached_property
    def ranks(self) -> np.ndarray:
        """The ranks of all pixels less their mean, divided by their norm; zeros where the map is constant."""
        from scipy.stats import rankdata

        ranks = rankdata(self.values.ravel())
        ranks -= ranks.mean()
        return np.asarray(ranks / (np.sqrt(ranks @ ranks) or 1.0))


def _windowed(values: np.ndarray) -> np.ndarray:
    """Return the mean of each Gaussian window that lies inside; `InputError` if a side is shorter than the window."""
    from scipy.ndimage import gaussian_filter

    if min(values.shape) <= 2 * RADIUS:
        raise InputError(f"SSIM needs maps of at least {2 * RADIUS + 1} pixels a side; found {values.shape}.")
    mean = gaussian_filter(values, SIGMA, radius=RADIUS)
    return np.asarray(mean[(slice(RADIUS, -RADIUS),) * values.ndim])


def structural_similarity(first: Shape, second: Shape) -> float:
    """Return the mean SSIM (Wang et al. 2004, eq. 13): Gaussian window of 11 pixels a side, data range 1.

    As in the paper, only windows that lie inside count.

    Parameters
    ----------
    first, second
        Of equal size, each side at least 11.

    Returns
    -------
    float
        At most 1, for equal maps; 0 for unrelated ones.

    Raises
    ------
    InputError
        If a side is shorter than the window.

    >>> structural_similarity(Shape(np.eye(12)), Shape(np.eye(12)))
    1.0
    """
    # From -1 .. 1 into 0 .. 1, where there are negative values.
    scale, shift = (0.5, 0.5) if first.is_signed or second.is_signed else (1.0, 0.0)
    mu_x, mu_y = (scale * one.mean + shift for one in (first, second))
    covariance = scale**2 * (_windowed(first.values * second.values) - first.mean * second.mean)
    variances = scale**2 * (first.variance + second.variance)
    brightness = (2 * mu_x * mu_y + C1) / (mu_x**2 + mu_y**2 + C1)
    return float((brightness * (2 * covariance + C2) / (variances + C2)).mean())


def spearman(first: Shape, second: Shape) -> float:
    """Return the correlation of the ranks of all pixels, ties sharing theirs; NaN where a map is constant.

    >>> round(spearman(Shape(np.array([1.0, 2.0, 3.0])), Shape(np.array([1.0, 4.0, 9.0]))), 9)
    1.0
    """
    return float(first.ranks @ second.ranks) if first.ranks.any() and second.ranks.any() else np.nan


def compare(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Return how alike the maps ``(N, *spatial)`` of one source are to those of another, pair by pair."""
    return _compared([(Shape(a), Shape(b)) for a, b in zip(first, second, strict=True)])


def between_images(maps: np.ndarray, labels: Sequence[int], seed: int = 0) -> Comparison:
    """Return how alike maps of different images of the same label are: the level of knowing the label alone.

    Parameters
    ----------
    maps
        ``(N, *spatial)``, each of another image or another label.
    labels
        ``(N,)`` label that each map explains.
    seed
        Of the at most 200 pairs that are drawn.
    """
    pairs = [(i, j) for i, j in combinations(range(len(maps)), 2) if labels[i] == labels[j]]
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:MOST_PAIRS]
    shapes = [Shape(values) for values in maps]
    return _compared([(shapes[i], shapes[j]) for i, j in (pairs[k] for k in drawn)])


def pooled(comparisons: Sequence[Comparison]) -> Comparison:
    """Return all pairs of several comparisons as one."""
    return Comparison(*(_pool([getattr(one, name) for one in comparisons]) for name in ("signed", "absolute")))


def _compared(pairs: Sequence[tuple[Shape, Shape]]) -> Comparison:
    return Comparison(_similarity(pairs), _similarity([(a.absolute, b.absolute) for a, b in pairs]))


def _similarity(pairs: Sequence[tuple[Shape, Shape]]) -> Similarity:
    full = [(a, b) for a, b in pairs if not (a.is_empty or b.is_empty)]
    ssim = np.array([structural_similarity(a, b) for a, b in full], dtype=np.float64)
    return Similarity(ssim, np.array([spearman(a, b) for a, b in full], dtype=np.float64), len(pairs) - len(full))


def _pool(parts: Sequence[Similarity]) -> Similarity:
    return Similarity(
        np.concatenate([part.ssim for part in parts]),
        np.concatenate([part.spearman for part in parts]),
        sum(part.n_empty for part in parts),
    )


Net = TypeVar("Net", bound=torch.nn.Module)
Source = TypeVar("Source")


@dataclass(frozen=True)
class Step:
    """How alike the trained net's maps are to those of a net that is random down to `layer`."""

    layer: str
    similarity: Comparison


def cascading_randomisation(
    explain: Callable[[Net], np.ndarray], trained: Net, untrained: Net, n_steps: int | None = None
) -> list[Step]:
    """Return how maps change while a net becomes random from the top down (Adebayo et al. 2018, section 3).

    Parameters
    ----------
    explain
        From a net to its maps ``(N, *spatial)`` of the same images.
    trained, untrained
        Two nets of one architecture, in eval mode; both are left as they are.
    n_steps
        Into how many steps the layers are divided; None: one a layer. The last one is the untrained net.
    """
    maps = explain(trained)
    return [Step(layer, compare(maps, explain(net))) for layer, net in cascade(trained, untrained, n_steps)]


def cascade(trained: Net, untrained: Net, n_steps: int | None = None) -> Iterator[tuple[str, Net]]:
    """Yield the trained net with more and more of its layers taken from the untrained one, the last layer first.

    Layers are those with weights of their own, in the order in which the net names them. A layer's running
    statistics go with its weights. The net yielded is one, and changes with the next step.
    """
    net = deepcopy(trained)
    state, random = net.state_dict(), untrained.state_dict()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in state))[::-1]
    stops = np.linspace(0, len(layers), (n_steps or len(layers)) + 1).round().astype(int)
    for start, stop in pairwise(stops):
        if start < stop:
            with torch.no_grad():
                for name in state:
                    if name.rpartition(".")[0] in layers[start:stop]:
                        state[name].copy_(random[name])
            yield layers[stop - 1], net


def label_randomisation(explain: Callable[[Source], np.ndarray], trained: Source, shuffled: Source) -> Comparison:
    """Return how alike the maps are to those of a net that was trained on shuffled labels (Adebayo et al., section 4).

    What that net looks at has nothing to do with the labels; a good map tells the two apart.
    """
    return compare(explain(trained), explain(shuffled))


def agreement(explain: Callable[[Source], np.ndarray], sources: Sequence[Source]) -> Comparison:
    """Return how alike the maps of several nets trained on the same data are, over all pairs of nets.

    Repeatability where they differ in the seed, reproducibility where they differ in architecture (Arun et al. 2021).
    """
    maps = [explain(source) for source in sources]
    return pooled([compare(first, second) for first, second in combinations(maps, 2)])


NOISE_RADIUS, N_DRAWS = 0.02, 10


def max_sensitivity(
    explain: Callable[[torch.Tensor], torch.Tensor],
    batch: torch.Tensor,
    radius: float = NOISE_RADIUS,
    seed: int = 0,
) -> torch.Tensor:
    """Return max ||M(x + d) - M(x)|| / ||M(x)|| over ten random |d| <= `radius` (Yeh et al. 2019, definition 3).

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
    for _ in range(N_DRAWS):
        step = radius * (2 * torch.rand(batch.shape, generator=generator) - 1).to(batch)
        change = (explain(batch + step).flatten(1) - maps).norm(dim=1)
        greatest = torch.maximum(greatest, change)
    size = maps.norm(dim=1)
    return torch.where(size > 0, greatest / size, torch.nan)
