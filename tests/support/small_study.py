"""A study of small images in memory: half of them carry a bright square."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from focusmap.images import Preparation, Store
from focusmap.nets import FocusNet
from focusmap.study import Augmentation, Recipe, Target, Task
from focusmap.training import Labelled, TrainingData

SIDE = 16
QUICK = Recipe(
    model="small-residual", size=SIDE, channels=1, epochs=4, batch_size=8, warmup_epochs=1, patience=0,
    learning_rate=1e-3, augmentation=Augmentation(cutout=0.2),
)  # fmt: skip


def store_of(pixels: np.ndarray) -> Store:
    """Return a store of ``(N, C, H, W)`` images named i0, i1, ..."""
    n = len(pixels)
    spatial = (1, 2, 3)
    return Store(
        folder=Path("memory"),
        preparation=Preparation(size=pixels.shape[-1]),
        pixels=pixels,
        image_ids=[f"i{i}" for i in range(n)],
        hashes=[""] * n,
        mean=pixels.mean(axis=spatial, dtype=np.float32),
        std=pixels.std(axis=spatial, dtype=np.float32),
        source_shapes=np.full((n, 2), pixels.shape[-1]),
    )


def images(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(n, 1, SIDE, SIDE) uint8`` noise and ``(n,)`` whether an image carries a square."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 100, (n, 1, SIDE, SIDE)).astype(np.uint8)
    positive = np.arange(n) % 2
    for i in np.flatnonzero(positive):
        top, left = generator.integers(1, SIDE - 6, 2)
        pixels[i, 0, top : top + 5, left : left + 5] += 120
    return pixels, positive.astype(np.float64)


def study(
    n: int = 48, n_train: int = 32, change: Callable[[np.ndarray], np.ndarray] = lambda truth: truth
) -> TrainingData:
    """Return a study of one binary target; `change` may edit its ``(n, 1)`` truth."""
    pixels, positive = images(n)
    truth = change(positive[:, None].copy())
    store = store_of(pixels)
    ids = tuple(store.image_ids)
    return TrainingData(
        store,
        Task((Target("square"),)),
        Labelled(ids[:n_train], truth[:n_train]),
        Labelled(ids[n_train:], truth[n_train:]),
    )


def plain_net() -> FocusNet:
    """A net without batch norm and dropout, so that a batch is the sum of its images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = FocusNet(torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU()), 8, 1)
    made.dropout.p = 0.0
    return made


def weights(of: FocusNet) -> list[torch.Tensor]:
    return list(of.state_dict().values())
