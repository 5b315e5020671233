"""How the small nets of this package learn: a fixed number of steps, each on a few cases drawn anew."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.progress import Progress, silent

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
    """

    images: np.ndarray
    marked: np.ndarray

    def __post_init__(self) -> None:
        assert self.images.shape[2:] == self.marked.shape[1:], (self.images.shape, self.marked.shape)
        assert len(self.images) == len(self.marked) > 0, (self.images.shape, self.marked.shape)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return images and marks of `n` cases, half of them with a lesion where there are any, mirrored by chance.

        A lesion is one whichever way it faces, so that, unlike in the classifier's training, every axis is mirrored.
        """
        has_lesion = np.flatnonzero((self.marked == 1).reshape(len(self.marked), -1).any(axis=1))
        some = has_lesion if len(has_lesion) else np.arange(len(self.marked))
        chosen = [*_drawn(some, n - n // 2, generator), *_drawn(np.arange(len(self.marked)), n // 2, generator)]
        images, marked = torch.from_numpy(self.images[chosen]), torch.from_numpy(self.marked[chosen])
        mirrored = torch.rand(marked.ndim - 1, generator=generator) < 0.5
        axes = [axis for axis, is_mirrored in enumerate(mirrored.tolist(), start=1) if is_mirrored]
        return images.flip([axis + 1 for axis in axes]), marked.flip(axes)


def _drawn(positions: np.ndarray, n: int, generator: torch.Generator) -> Sequence[int]:
    return [int(value) for value in positions[torch.randint(len(positions), (n,), generator=generator).numpy()]]


@dataclass(frozen=True)
class LearningOptions:
    """How long a small net learns, from how many cases a step, how fast, from which seed, where, and who is told.

    Gradients longer than `longest_gradient` are shortened to it.
    """

    n_steps: int = 300
    batch_size: int = 4
    learning_rate: float = 3e-3
    longest_gradient: float = math.inf
    seed: int = 0
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
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, options.n_steps))
    for step in range(options.n_steps):
        images, marked = cases.draw(options.batch_size, generator)
        loss = loss_of(images.to(options.device), marked.to(options.device), generator)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # so in torch
        nn.utils.clip_grad_norm_(net.parameters(), options.longest_gradient)
        optimizer.step()
        schedule.step()
        options.progress(options.doing, step + 1, options.n_steps)
    net.eval()
