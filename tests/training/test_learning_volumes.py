"""A bright cube planted in noise is learnt from labels and its map points at it; shuffled labels teach nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from focusmap.heatmaps import heat_maps
from focusmap.images import Store, VolumePreparation
from focusmap.nets import Architecture, PoolingOptions, build_net, on_grid
from focusmap.study import Augmentation, Recipe, Target, Task
from focusmap.training.batches import Labelled, TrainingData, read_batch
from focusmap.training.loop import fit

SHAPE, SIDE, N, N_TRAIN = (16, 16, 8), 4, 64, 44
RECIPE = Recipe(
    model="small-residual-3d-fpn", shape=SHAPE, channels=1, epochs=12, batch_size=11, learning_rate=3e-3, ema_decay=0.9,
    augmentation=Augmentation(shift=0.1, rotate_degrees=5, scale=0.05),
)  # fmt: skip


def cubes(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return volumes ``(N, 1, *SHAPE) uint8``, masks, and whether each holds a cube."""
    generator = np.random.default_rng(seed)
    volumes = generator.integers(0, 100, (N, 1, *SHAPE)).astype(np.uint8)
    masks = np.zeros((N, *SHAPE), dtype=bool)
    for i in range(0, N, 2):
        corner = [int(generator.integers(0, n - SIDE + 1)) for n in SHAPE]
        masks[i][tuple(slice(first, first + SIDE) for first in corner)] = True
    volumes[:, 0][masks] += 110
    return volumes, masks, masks.any(axis=(1, 2, 3)).astype(float)


def study(volumes: np.ndarray, truth: np.ndarray) -> TrainingData:
    ids = [f"v{i}" for i in range(N)]
    mean, std = (extreme(volumes, axis=(1, 2, 3, 4)).astype(np.float32) for extreme in (np.mean, np.std))
    shapes = np.tile(SHAPE, (N, 1))
    store = Store(Path("memory"), VolumePreparation(SHAPE), volumes, ids, [""] * N, mean, std, shapes)
    parts = [Labelled(tuple(ids[part]), truth[part, None]) for part in (slice(N_TRAIN), slice(N_TRAIN, N))]
    return TrainingData(store, Task((Target("cube"),)), *parts)


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_planted_cube_is_found_and_shuffled_labels_find_nothing(shuffled: bool) -> None:
    volumes, masks, truth = cubes()
    known = np.random.default_rng(1).permutation(truth) if shuffled else truth
    data = study(volumes, known)
    net = build_net(Architecture(RECIPE.model, 1, 1, PoolingOptions("lse")), seed=0)
    records = list(fit(net, data, RECIPE))
    if shuffled:
        assert records[-1].tune_auroc < 0.8
        return
    assert records[-1].tune_auroc > 0.95
    rows = np.arange(N_TRAIN, N)[truth[N_TRAIN:] > 0]
    with torch.no_grad():
        maps = on_grid(heat_maps(net.eval(), read_batch(data.store, rows), "focus").maps, SHAPE)[:, 0].numpy()
    hits = [masks[row][np.unravel_index(found.argmax(), SHAPE)] for row, found in zip(rows, maps, strict=True)]
    # By chance a hit is 3 % likely.
    assert np.mean(hits) >= 0.8
