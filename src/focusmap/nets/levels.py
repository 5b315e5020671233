"""A linear classifier of all levels of a backbone: what a probe fits to frozen features.

Of a feature map A_k of any level three numbers are taken over its places: the mean, the mean of the highest tenth and
the standard deviation. The maximum in place of the tenth classifies as well, but all that it says lies in one place of
each map, so that heat maps become a few dots. The logit is linear in all of them, so that a logistic regression on
frozen features is a net like any other (the linear probe of Kumar et al. 2022, "Fine-tuning can distort pretrained
features").

Each of the three numbers grows as its map does (it is homogeneous of degree 1), so that by Euler's theorem
``sum_p A_p dy/dA_p`` over all places p is the logit less the bias: the class activation map of this head adds up, too.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.nets.backbones import build_pyramid, levels, pyramid_strides
from focusmap.nets.decoders import SLICES, split_model
from focusmap.nets.edges import follow_edges
from focusmap.nets.focus_net import FocusNet
from focusmap.nets.grids import resized

STATISTICS = 3
HIGHEST = 0.1
# Shares of the image's side; of 160 and 320 pixels side by side each alone is bettered.
PROBE_SIZES = (1.0, 0.5)
# Of the slices of a volume, which are smaller.
SLICE_SIZES = (2.0, 1.0)
PIXELS_AT_ONCE = 4 * 320**2
# Under the root of the variance: constant maps have no slope there.
LEAST_VARIANCE = 1e-6


class Levels(nn.Module):
    """The levels of a backbone, of the image as it is and in smaller sizes.

    Parameters
    ----------
    net
        A backbone that hands out its levels.
    positions
        Of the levels that are taken.
    channels
        Of each of them.
    sizes
        Shares of the image's side that the backbone is shown, such as 1 and 1/2.
    n_modalities
        Of volumes, whose slices the backbone is shown one modality after the other: grey images each.
    """

    def __init__(
        self,
        net: nn.Module,
        positions: Sequence[int],
        channels: Sequence[int],
        sizes: Sequence[float],
        n_modalities: int = 1,
    ) -> None:
        super().__init__()
        self.net = net
        self.positions = tuple(positions)
        self.sizes = tuple(sizes)
        self.num_features = n_modalities * sum(channels) * len(self.sizes)

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return the maps ``(N, K_i, h_i, w_i)`` of all levels in all sizes; of volumes ``(N, K_i, r_i, f_i, T)``.

        Volumes ``(N, C, right, front, top)`` are shown slice by slice from below, as a reader sees them: with the front
        up, each modality for itself.
        """
        if x.ndim == 4:
            return self._of_images(x)
        n_volumes, n_modalities, n_right, n_front, n_slices = x.shape
        slices = x.permute(0, 1, 4, 3, 2).flip(3).reshape(-1, 1, n_front, n_right)
        step = images_at_once(slices.shape[1:])
        parts = [self._of_images(slices[start : start + step]) for start in range(0, len(slices), step)]
        stacks = [torch.cat(found) for found in zip(*parts, strict=True)]
        return [
            found.reshape(n_volumes, n_modalities, n_slices, *found.shape[1:])
            .flip(4)
            .permute(0, 1, 3, 5, 4, 2)
            .flatten(1, 2)
            for found in stacks
        ]

    def measure(self, x: Tensor) -> Tensor:
        """Return ``(N, 3 K)``: `statistics_of` each map, in this order of thirds."""
        return torch.cat([statistics_of(found) for found in self.levels(x)], dim=2).flatten(1)

    def in_sizes(self, x: Tensor) -> list[Tensor]:
        """Return images ``(N, C, H, W)`` in each of the sizes that the backbone is shown."""
        return [resized(x, size) for size in self.sizes]

    def _of_images(self, x: Tensor) -> list[Tensor]:
        return [found for part in self.in_sizes(x) for found in levels(self.net, part, self.positions)]

    def forward(self, x: Tensor) -> Tensor:
        """Return all maps on the finest grid ``(N, K, h, w)``; each place of a coarser one is repeated."""
        return torch.cat(_on_finest(self.levels(x)), dim=1)


class OneSize(nn.Module):
    """Of images in one of the sizes of `Levels` the statistics ``(N, 3, K)``; those of all sizes lie side by side."""

    def __init__(self, levels_: Levels) -> None:
        super().__init__()
        self.levels = levels_

    def forward(self, x: Tensor) -> Tensor:
        """Return them."""
        found = levels(self.levels.net, x, self.levels.positions)
        return torch.cat([statistics_of(one) for one in found], dim=2)


def build_levels(model: str, channels: int, file: Path | None = None) -> Levels:
    """Return the levels of a probe's backbone, for images or, of a model with ``-slices``, for volumes."""
    base, decoder = split_model(model)
    # Modalities of a volume pass one by one: pretrained nets know grey images and colours, and nothing else.
    n_modalities, sizes = (channels, SLICE_SIZES) if decoder == SLICES else (1, PROBE_SIZES)
    net, channels_of = build_pyramid(base, 1 if decoder == SLICES else channels, pyramid_strides(base), file)
    return Levels(net, tuple(channels_of), tuple(channels_of.values()), sizes, n_modalities)


class LevelsNet(FocusNet):
    """A net whose head is linear in `statistics_of` every feature map of its `Levels`."""

    def __init__(self, backbone: Levels, n_logits: int) -> None:
        super().__init__(backbone, STATISTICS * backbone.num_features, n_logits)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of feature maps ``(N, K, *grid)``."""
        return self.decide(statistics_of(features).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, L)``; those of `classify` on `features`, without enlarging coarse maps."""
        return self.decide(self.measure(x))

    def measure(self, x: Tensor) -> Tensor:
        """Return ``(N, 3 K)``: `statistics_of` each map, in this order of thirds."""
        return cast(Levels, self.backbone).measure(x)

    def decide(self, measured: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of what `measure` gives."""
        logits: Tensor = self.head(self.dropout(measured))
        return logits

    def evidence(self, features: Tensor) -> Tensor:
        """Return ``(N, L, *grid)``: the signed evidence of each place for each label.

        Its mean over the places and the bias are the logits, as of any head that is homogeneous of degree 1.
        """
        return _evidence(features, self._weights())

    def answer_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, L)`` and their `evidence` ``(N, L, *grid)``, each level's on its own grid first.

        So nothing is enlarged but L maps, where `features` enlarges all that there are. Evidence in images follows
        their edges: what a single cell of a fine level says depends on where cells happen to lie.
        """
        n = images_at_once(x.shape[1:])
        answers = [self.answer_together(x[start : start + n]) for start in range(0, len(x), n)]
        logits, evidence = zip(*answers, strict=True)
        return torch.cat(logits), torch.cat(evidence)

    def answer_together(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `answer_and_evidence` does, of all images at once."""
        maps = cast(Levels, self.backbone).levels(x)
        weights = self._weights().split_with_sizes([found.shape[1] for found in maps], dim=2)
        parts = [_evidence(found, own) for found, own in zip(maps, weights, strict=True)]
        measured = torch.cat([statistics_of(found) for found in maps], dim=2).flatten(1)
        return self.decide(measured), follow_edges(torch.stack(_on_finest(parts)).sum(dim=0), x)

    def _weights(self) -> Tensor:
        """Return the weights ``(L, 3, K)`` of the three statistics of each map."""
        return self.head.weight.reshape(self.head.out_features, STATISTICS, -1)


def _evidence(maps: Tensor, weights: Tensor) -> Tensor:
    """Return ``(N, L, *grid)`` of maps ``(N, K, *grid)`` by the weights ``(L, 3, K)`` of their statistics."""
    n_places = maps[0, 0].numel()
    flat = maps.flatten(2).float()
    mean, _, deviation = statistics_of(maps).unbind(1)
    highest, places = flat.topk(len(weights_of_highest(n_places)), dim=2)
    shares = highest * weights_of_highest(n_places).to(flat) * n_places
    highs = torch.zeros_like(flat).scatter(2, places, shares)
    # The deviation of a map that is as good as constant is held at its least value, whatever the places say.
    varies = (deviation > LEAST_VARIANCE**0.5)[:, :, None]
    spreads = (flat - mean[:, :, None]) * flat / deviation[:, :, None] * varies
    parts = zip(weights.unbind(1), (flat, highs, spreads), strict=True)
    evidence = sum(torch.einsum("lk,nkp->nlp", own, part) for own, part in parts)
    return cast(Tensor, evidence).reshape(maps.shape[0], -1, *maps.shape[2:])


def _on_finest(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return maps ``(N, K, *grid)`` on the finest grid of them; each place of a coarser one is repeated."""
    finest = max((found.shape[2:] for found in maps), key=lambda grid: grid.numel())
    return [nn.functional.interpolate(found, finest, mode="nearest-exact") for found in maps]


def images_at_once(shape: Sequence[int]) -> int:
    """Return how many images ``(C, *spatial)`` go through together.

    On a processor small batches, whose maps stay in its cache, are several times faster.

    >>> images_at_once((3, 320, 320))
    4
    """
    return max(1, PIXELS_AT_ONCE // math.prod(shape[1:]))


def statistics_of(maps: Tensor) -> Tensor:
    """Return mean, mean of the highest tenth and standard deviation ``(N, 3, K)`` of maps ``(N, K, *grid)``.

    >>> statistics_of(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist()
    [2.0, 3.0, 1.0]
    """
    flat = maps.flatten(2).float()
    weights = weights_of_highest(flat.shape[2]).to(flat)
    deviation = flat.var(dim=2, unbiased=False).clamp(min=LEAST_VARIANCE).sqrt()
    return torch.stack([flat.mean(dim=2), flat.topk(len(weights), dim=2).values @ weights, deviation], dim=1)


def weights_of_highest(n_places: int) -> Tensor:
    """Return what each of the highest places counts in the mean of the highest tenth, the last one in part.

    So enlarged maps, whose every place is repeated, have the same mean.

    >>> weights_of_highest(25).tolist()
    [0.4000000059604645, 0.4000000059604645, 0.20000000298023224]
    """
    share = HIGHEST * n_places
    # Numbers, and no steps: those of torch would have to be part of an exported graph.
    counts = np.clip(np.float32(share) - np.arange(math.ceil(share), dtype=np.float32), 0, 1)
    return torch.from_numpy(counts / counts.sum())
