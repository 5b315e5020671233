"""How the small nets learn: for a fixed number of steps, each on a few images drawn anew.

One learns masks from marks: of chosen or refined regions, with a band that is ignored, or of true ones as the upper
bound. One learns from seeds alone to give voxels of one lesion like features.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focusmap import nets
from focusmap.basics import Progress, silent
from focusmap.segmentation.pairs import PairSampling, pair_loss, sampled_pair_loss
from focusmap.segmentation.seeds import IGNORED
from focusmap.segmentation.small_nets import BACKBONE, FeatureNet, PretrainedContracting, UNet

# Of the steps, the share in which the learning rate rises.
WARM_UP = 0.2
# Up to so many labelled voxels a step the loss is that over all pairs.
EXACT_UP_TO = 5_000


@dataclass(frozen=True)
class MarkedImages:
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
class LabelledMaps:
    """Cases of train, with what their labels say.

    Parameters
    ----------
    images : (N, C, *spatial) float32
        Standardised.
    maps : (N, *spatial) float32
        Scaled to a highest value of 1.
    known : (N,)
        1 with a lesion, 0 without, NaN unknown; what is not known is not learnt from.
    """

    images: np.ndarray
    maps: np.ndarray
    known: np.ndarray

    @property
    def positives(self) -> list[int]:
        """Positions of the cases with a lesion."""
        return [int(i) for i in np.flatnonzero(self.known == 1)]

    def marked(self, marks: Mapping[int, np.ndarray]) -> MarkedImages:
        """Return the cases as a small net learns them.

        Marks ``(*spatial)`` are those of the cases with a lesion, by position; one that has none is ignored, and a case
        without a lesion is background throughout.
        """
        marked = np.full(self.maps.shape, IGNORED, dtype=np.int8)
        marked[self.known == 0] = 0
        for i in self.positives:
            marked[i] = marks.get(i, IGNORED)
        return MarkedImages(self.images, marked)


@dataclass(frozen=True)
class LearningOptions:
    """How long a small net learns, from how many cases a step, how fast, from which seed, where, and its progress.

    Gradients longer than `longest_gradient` are shortened to it. Nets that learn masks of images start from pretrained
    weights if they may and there are any; `is_upright` is as in `MarkedImages.draw`.
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


def learn(net: nn.Module, cases: MarkedImages, loss_of: LossOf, options: LearningOptions) -> None:
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


# A few large steps early on would leave a net of few channels with dead units, and nothing drawn for good.
LONGEST_GRADIENT = 1.0
# Upside down images are unlike all that a pretrained net has seen, and shadows lie above what casts them.
PRETRAINED: dict[str, Any] = {"batch_size": 8, "learning_rate": 5e-4, "is_upright": True}


def learn_masks(cases: MarkedImages, options: LearningOptions) -> UNet:
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


def _mask_net(cases: MarkedImages, options: LearningOptions) -> UNet:
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


def learn_features(
    net: FeatureNet, cases: MarkedImages, options: LearningOptions, pair_radius: float = 0.0
) -> FeatureNet:
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
