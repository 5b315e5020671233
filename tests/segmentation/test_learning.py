"""Small nets learn in a fixed number of steps, none of which is driven by one large gradient."""

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.segmentation.learning import LearningOptions, MarkedImages, learn


def test_no_step_follows_a_gradient_longer_than_the_longest() -> None:
    net = nn.Conv2d(1, 1, 3, padding=1)
    lengths: list[float] = []

    def huge(images: Tensor, marked: Tensor, generator: torch.Generator) -> Tensor:
        del marked, generator
        return 1e6 * net(images).square().mean()

    def note(doing: str, done: int, total: int) -> None:
        del doing, done, total
        lengths.append(float(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()))

    images = np.random.default_rng(0).normal(size=(2, 1, 6, 6)).astype(np.float32)
    options = LearningOptions(n_steps=3, longest_gradient=0.5, progress=note)
    learn(net, MarkedImages(images, np.zeros((2, 6, 6), np.int8)), huge, options)
    np.testing.assert_allclose(lengths, 0.5, rtol=1e-4)
