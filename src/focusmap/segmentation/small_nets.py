"""The small nets that masks come from, in any number of dimensions, and how they learn.

All are U-Nets (Ronneberger et al. 2015, figure 1, with padding and fewer channels), taught for a fixed number of steps,
each on a few cases drawn anew. One learns masks: chosen or refined ones, with a band that is ignored, or true ones as
the upper bound. Its contracting path is a pretrained backbone, for images where there is one (TernausNet, Iglovikov
and Shvets 2018). One gives every voxel a feature, so that voxels of one lesion are alike: learnt from seeds alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focusmap import nets
from focusmap.basics import Progress, silent
from focusmap.segmentation.pairs import PairSampling, pair_loss, sampled_pair_loss
from focusmap.study import Features
from focusmap.training import mixed_precision

POOLS: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
WIDTHS = (16, 32, 64)
N_GROUPS = 8


class Contracting(nn.Module):
    """From ``(N, C, *spatial)`` to levels ``(N, width, *grid)``, each half as fine as the one before it."""

    def __init__(self, channels: int, dimensions: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        inputs = (channels, *widths[:-1])
        self.blocks = nn.ModuleList(_block(n, width, dimensions) for n, width in zip(inputs, widths, strict=True))
        self.pool = POOLS[dimensions](2, ceil_mode=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the levels, the finest first."""
        levels = [self.blocks[0](x)]
        for block in self.blocks[1:]:
            levels.append(block(self.pool(levels[-1])))
        return levels


BACKBONE = "tf_efficientnet_lite0"
FROZEN_STAGES = 3
# Of what it is shown, so that standardised images lie about as far apart as those it was trained with.
CONTRAST = 0.5
# Of their sides: its finest level has one place for four.
ENLARGED = 1.25


class PretrainedContracting(nn.Module):
    """The same of images, whose levels are those of `BACKBONE`: its first stages and all running statistics stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        net, width_of = nets.build_pyramid(BACKBONE, channels, nets.pyramid_strides(BACKBONE))
        self.widths = tuple(width_of.values())
        self.backbone = nets.Levels(net, tuple(width_of), self.widths, (ENLARGED,))
        for name, stage in nets.stages_of(self.backbone).items():
            self.backbone.get_parameter(name).requires_grad_(stage >= FROZEN_STAGES)

    def train(self, mode: bool = True) -> "PretrainedContracting":
        """Leave the normalisation as it is: a batch of a few images has no statistics of its own."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the levels, the finest first."""
        with mixed_precision(x.device.type):
            return [level.float() for level in self.backbone.levels(CONTRAST * x)]


class UNet(nn.Module):
    """From ``(N, C, *spatial)`` to ``(N, n_out, *spatial)``, of any side.

    Normalised by groups of channels within each image, so that batches may be as small as memory wants them.

    Parameters
    ----------
    channels, n_out, dimensions
        C, what is given for each voxel, and the number of spatial axes.
    widths
        Channels of the levels.
    is_pretrained
        Whether the contracting path is that of `BACKBONE`, which has levels and widths of its own.

    >>> UNet(1, 2)(torch.zeros(1, 1, 33, 20)).shape
    torch.Size([1, 2, 33, 20])
    """

    def __init__(
        self,
        channels: int,
        n_out: int,
        dimensions: int = 2,
        widths: tuple[int, ...] = WIDTHS,
        *,
        is_pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.dimensions, self.is_pretrained = channels, dimensions, is_pretrained
        self.contracting = (
            PretrainedContracting(channels) if is_pretrained else Contracting(channels, dimensions, widths)
        )
        widths = self.contracting.widths
        self.expanding = nn.ModuleList(_block(fine + coarse, fine, dimensions) for fine, coarse in pairwise(widths))
        self.last = nets.CONVOLUTIONS[dimensions](widths[0], n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is said of each voxel, before any activation."""
        *finer, found = self.contracting(x)
        for block, level in zip(reversed(self.expanding), reversed(finer), strict=True):
            found = block(torch.cat([level, nets.on_grid(found, level.shape[2:])], dim=1))
        return nets.on_grid(self.last(found), x.shape[2:])


def _block(n_in: int, n_out: int, dimensions: int) -> nn.Sequential:
    convolution = nets.CONVOLUTIONS[dimensions]
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        layers += [convolution(n, n_out, 3, padding=1, bias=False), nn.GroupNorm(N_GROUPS, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


WARM_UP = 0.2


@dataclass(frozen=True)
class Cases:
    """What a small net learns from.

    Parameters
    ----------
    images : (N, C, *spatial) float32
        Standardised.
    marked : (N, *spatial) int8
        1 lesion, 0 background, -1 ignored.
    weights : (N,) float or None
        How often each case with a lesion is drawn, relative to the others; None means as often as any.
    """

    images: np.ndarray
    marked: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert self.images.shape[2:] == self.marked.shape[1:], (self.images.shape, self.marked.shape)
        assert len(self.images) == len(self.marked) > 0, (self.images.shape, self.marked.shape)

    def draw(self, n: int, generator: torch.Generator, *, is_upright: bool = False) -> tuple[Tensor, Tensor]:
        """Return images and marks of `n` cases, half of them with a lesion where there are any, mirrored by chance.

        Unlike in the classifier's training, every axis is mirrored: a lesion is one whichever way it faces. Of upright
        images left and right alone change places.
        """
        has_lesion = np.flatnonzero((self.marked == 1).reshape(len(self.marked), -1).any(axis=1))
        some = has_lesion if len(has_lesion) else np.arange(len(self.marked))
        weights = None if self.weights is None else self.weights[some]
        with_lesion = _drawn(some, n - n // 2, generator, weights)
        chosen = [*with_lesion, *_drawn(np.arange(len(self.marked)), n // 2, generator)]
        images, marked = torch.from_numpy(self.images[chosen]), torch.from_numpy(self.marked[chosen])
        mirrored = torch.rand(marked.ndim - 1, generator=generator) < 0.5
        if is_upright:
            mirrored[:-1] = False
        axes = [axis for axis, is_mirrored in enumerate(mirrored.tolist(), start=1) if is_mirrored]
        return images.flip([axis + 1 for axis in axes]), marked.flip(axes)


def _drawn(
    positions: np.ndarray, n: int, generator: torch.Generator, weights: np.ndarray | None = None
) -> Sequence[int]:
    if weights is not None and weights.any():
        drawn = torch.multinomial(torch.from_numpy(weights), n, replacement=True, generator=generator)
    else:
        drawn = torch.randint(len(positions), (n,), generator=generator)
    return [int(value) for value in positions[drawn.numpy()]]


@dataclass(frozen=True)
class LearningOptions:
    """How long a small net learns, from how many cases a step, how fast, from which seed, where, and its progress.

    Gradients longer than `longest_gradient` are shortened to it. Nets that learn masks of images start from pretrained
    weights if they may and there are any; `is_upright` is as in `Cases.draw`.
    """

    n_steps: int = 300
    batch_size: int = 4
    learning_rate: float = 3e-3
    longest_gradient: float = math.inf
    seed: int = 0
    is_pretrained: bool = False
    is_upright: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    doing: str = "learning"
    progress: Progress = silent


LossOf = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""From images ``(n, C, *spatial)``, marks ``(n, *spatial)`` and what draws by chance to a loss."""


def rate_share(step: int, n_steps: int) -> float:
    """Return the share of the learning rate at a step: it rises for a fifth of the steps, then falls as a cosine.

    >>> [round(rate_share(step, 10), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rising = WARM_UP * n_steps
    fallen = max(step - rising, 0) / (n_steps - rising)
    return min((step + 1) / rising, 1.0) * (1 + math.cos(math.pi * fallen)) / 2


def learn(net: nn.Module, cases: Cases, loss_of: LossOf, options: LearningOptions) -> None:
    """Train a net in place, which is left in eval mode; the rate follows `rate_share`."""
    generator = torch.Generator().manual_seed(options.seed)
    net.to(options.device).train()
    optimizer = torch.optim.AdamW(
        (p for p in net.parameters() if p.requires_grad), lr=options.learning_rate, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, options.n_steps))
    for step in range(options.n_steps):
        images, marked = cases.draw(options.batch_size, generator, is_upright=options.is_upright)
        loss = loss_of(images.to(options.device), marked.to(options.device), generator)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # so in torch
        nn.utils.clip_grad_norm_(net.parameters(), options.longest_gradient)
        optimizer.step()
        schedule.step()
        options.progress(options.doing, step + 1, options.n_steps)
    net.eval()


BATCH_SIZE = 16
# A few large steps early on would leave a net of few channels with dead units, and nothing drawn for good.
LONGEST_GRADIENT = 1.0
# Upside down images are unlike all that a pretrained net has seen, and shadows lie above what casts them.
PRETRAINED: dict[str, Any] = {"batch_size": 8, "learning_rate": 5e-4, "is_upright": True}


def learn_masks(cases: Cases, options: LearningOptions) -> UNet:
    """Return a U-Net that gives each voxel the logit of lesion, trained on marks; what is marked -1 does not count.

    The loss is the binary cross-entropy plus 1 - Dice of the probabilities, both over the known voxels of the batch.
    """
    net = _mask_net(cases, options)
    start_from_share(net, cases.marked)

    def loss_of(images: Tensor, marked: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        return mask_loss(net(images)[:, 0], marked)

    ways = PRETRAINED if net.is_pretrained else {}
    learn(net, cases, loss_of, replace(options, longest_gradient=LONGEST_GRADIENT, **ways))
    return net


def _mask_net(cases: Cases, options: LearningOptions) -> UNet:
    dimensions = cases.marked.ndim - 1
    is_pretrained = options.is_pretrained and dimensions == 2 and nets.has_local_weights(BACKBONE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        net = UNet(cases.images.shape[1], 1, dimensions, is_pretrained=is_pretrained)
    if isinstance(net.contracting, PretrainedContracting):
        nets.find_weights(BACKBONE, "auto").load(net.contracting.backbone.net)
    return net


def start_from_share(net: UNet, marked: np.ndarray) -> None:
    """Let a net begin by saying of every voxel how large the share of lesion is (Lin et al. 2017, section 3.3).

    From an even chance, the many voxels of background drive it within a few steps to where a lesion of some voxels has
    no slope left, and some trainings never draw anything.
    """
    share = (np.count_nonzero(marked == 1) + 1) / (np.count_nonzero(marked >= 0) + 2)
    assert net.last.bias is not None
    nn.init.constant_(net.last.bias, math.log(share / (1 - share)))


def mask_loss(logits: Tensor, marked: Tensor) -> Tensor:
    """Return cross-entropy + 1 - 2 sum(p y) / (sum(p) + sum(y)) of logits and marks ``(N, *spatial)``, -1 ignored.

    >>> round(float(mask_loss(torch.tensor([[9.0, -9.0, 3.0]]), torch.tensor([[1, 0, -1]]))), 3)
    0.0
    """
    known = marked >= 0
    if not known.any():
        return logits.sum() * 0
    z, y = logits[known].float(), marked[known].float()
    p = z.sigmoid()
    dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return nn.functional.binary_cross_entropy_with_logits(z, y) + 1 - dice


@torch.no_grad()
def move_threshold(net: UNet, threshold: float) -> None:
    """Let a net say 1/2 where it said `threshold`, between 0 and 1: its logits all move by as much."""
    assert net.last.bias is not None
    net.last.bias -= math.log(threshold / (1 - threshold))


@torch.inference_mode()
def predict_masks(net: UNet, images: np.ndarray) -> np.ndarray:
    """Return the probability of lesion ``(N, *spatial) float32`` of images ``(N, C, *spatial)``."""
    device = next(net.parameters()).device
    parts = torch.split(torch.from_numpy(images), BATCH_SIZE)
    return torch.cat([net(part.to(device))[:, 0].sigmoid().cpu() for part in parts]).numpy()


# Two levels: with more context the net would learn the form of the seeds by heart, and not what a lesion looks like.
FEATURE_WIDTHS = (16, 32)
# Up to so many labelled voxels a step the loss is that over all pairs.
EXACT_UP_TO = 5_000


class FeatureNet(nn.Module):
    """From images ``(N, C, *spatial)`` to features ``(N, K, *spatial)``: a small U-Net and an activation.

    ``unit`` gives each voxel's feature the length 1, ``elu`` passes it through an ELU. A ReLU would make many features
    equal to zero and so to each other, where the loss has no slope.
    """

    def __init__(self, channels: int, n_features: int, dimensions: int = 2, activation: Features = "unit") -> None:
        super().__init__()
        self.unet = UNet(channels, n_features, dimensions, FEATURE_WIDTHS)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, K, *spatial)``."""
        features: Tensor = self.unet(x)
        return nn.functional.normalize(features, dim=1) if self.activation == "unit" else nn.functional.elu(features)


def learn_features(net: FeatureNet, cases: Cases, options: LearningOptions, pair_radius: float = 0.0) -> FeatureNet:
    """Return the net, trained in place, so that pairs of equal seeds are alike and pairs of different ones are not.

    Parameters
    ----------
    pair_radius
        How far apart, in voxels, the two of a pair may lie; 0 means anywhere, in another image too.
    """

    def loss_of(images: Tensor, marked: Tensor, generator: torch.Generator) -> Tensor:
        features = net(images)
        if pair_radius:
            sampling = PairSampling(radius=pair_radius)
            of_each = zip(features, marked, strict=True)
            return torch.stack([sampled_pair_loss(*one, sampling, generator) for one in of_each]).mean()
        if int((marked >= 0).sum()) <= EXACT_UP_TO:
            return pair_loss(features.movedim(1, -1).flatten(0, -2), marked.flatten())
        # Images lie side by side, so that pairs are drawn between them as well as within.
        return sampled_pair_loss(features.movedim(1, 0), marked, PairSampling(), generator)

    learn(net, cases, loss_of, options)
    return net


@torch.inference_mode()
def features_of(net: FeatureNet, image: np.ndarray) -> Tensor:
    """Return the features ``(K, *spatial)`` of one image ``(C, *spatial)``."""
    device = next(net.parameters()).device
    features: Tensor = net(torch.from_numpy(image)[None].to(device))[0]
    return features
