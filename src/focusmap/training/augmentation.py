"""Changed training pictures, as a pure function of (seed, epoch, image): the same on any batch or worker.

What happens to a picture is drawn first, from a counter-based generator keyed by the three numbers, and applied
to the whole batch afterwards; a killed training therefore goes on bit for bit.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from focusmap.values.recipe import Augmentation

MASK = (1 << 32) - 1
N_DRAWN = 10
NOISE_STREAM = 1


@dataclass(frozen=True)
class Draws:
    """What happens to each of N pictures.

    Parameters
    ----------
    geometry
        ``(N, 2, 3)``: the affine map from output to input coordinates, both from -1 to 1, x before y.
    brightness, contrast, noise
        ``(N,)``: what is added, what is multiplied, and the standard deviation of the noise.
    hole
        ``(N, 2)``: centre (y, x) of the blanked square as shares of the side.
    hole_side
        Its side as a share of the picture's.
    keys
        ``(N, 2) uint64`` from which the noise is made.
    """

    geometry: Tensor
    brightness: Tensor
    contrast: Tensor
    noise: Tensor
    hole: Tensor
    hole_side: float
    keys: np.ndarray


def draw(limits: Augmentation, seed: int, epoch: int, indices: np.ndarray) -> Draws:
    """Return what happens to the pictures at positions `indices` ``(N,)`` in an epoch.

    Each picture's draw depends on (seed, epoch, its index) alone.
    """
    keys = np.array([[seed & MASK, (epoch << 32) | int(index)] for index in indices], dtype=np.uint64)
    unit = np.stack([np.random.Generator(np.random.Philox(key=key)).random(N_DRAWN) for key in keys])
    signed = 2 * unit - 1
    return Draws(
        geometry=_geometry(limits, signed),
        brightness=_column(limits.brightness * signed[:, 4]),
        contrast=_column(1 + limits.contrast * signed[:, 5]),
        noise=_column(limits.noise * unit[:, 6]),
        hole=_column(unit[:, 7:9]),
        hole_side=limits.cutout,
        keys=keys,
    )


def apply(draws: Draws, batch: Tensor) -> Tensor:
    """Return the changed pictures ``(N, C, H, W)``; the given ones stay as they are.

    Pictures are standardised ones (mean 0, standard deviation 1). What comes in over the edge repeats the edge.
    """
    changed = batch
    if not torch.equal(draws.geometry, _identity(len(batch))):
        geometry = draws.geometry.to(batch)
        grid = F.affine_grid(geometry, list(batch.shape), align_corners=False)
        changed = F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    changed = changed * _each(draws.contrast, batch) + _each(draws.brightness, batch)
    if bool(draws.noise.any()):
        changed = changed + _noise(draws, batch)
    if draws.hole_side:
        changed = changed.masked_fill(_hole(draws, batch), 0.0)
    return changed


def augment(batch: Tensor, limits: Augmentation, seed: int, epoch: int, indices: np.ndarray) -> Tensor:
    """Return the batch ``(N, C, H, W)`` changed as (seed, epoch, index) say: `draw`, then `apply`."""
    return apply(draw(limits, seed, epoch, indices), batch)


def _geometry(limits: Augmentation, signed: np.ndarray) -> Tensor:
    angle = np.radians(limits.rotate_degrees) * signed[:, 2]
    grown = np.exp(math.log1p(limits.scale) * signed[:, 3])
    mirrored = np.where(limits.mirror & (signed[:, 9] > 0), -1.0, 1.0)
    cosine, sine = np.cos(angle) / grown, np.sin(angle) / grown
    # A shift by a share s of the side is 2 s in coordinates from -1 to 1.
    shift = 2 * limits.shift * signed[:, :2]
    rows = [np.stack([mirrored * cosine, -sine, shift[:, 0]], 1), np.stack([mirrored * sine, cosine, shift[:, 1]], 1)]
    return torch.from_numpy(np.stack(rows, axis=1).astype(np.float32))


def _identity(n: int) -> Tensor:
    return torch.eye(2, 3).expand(n, 2, 3)


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _each(values: Tensor, batch: Tensor) -> Tensor:
    return values.to(batch)[:, None, None, None]


def _noise(draws: Draws, batch: Tensor) -> Tensor:
    shape = tuple(batch.shape[1:])
    fields = [_field(key, shape) for key in draws.keys]
    return torch.from_numpy(np.stack(fields)).to(batch) * _each(draws.noise, batch)


def _field(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    # The counter keeps the noise apart from the numbers drawn with the same key.
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, NOISE_STREAM]))
    return generator.standard_normal(shape, dtype=np.float32)


def _hole(draws: Draws, batch: Tensor) -> Tensor:
    rows, columns = (torch.arange(n, device=batch.device).add(0.5).div(n) for n in batch.shape[2:])
    centre = draws.hole.to(batch)
    tall = (rows - centre[:, :1]).abs() < draws.hole_side / 2
    wide = (columns - centre[:, 1:]).abs() < draws.hole_side / 2
    return (tall[:, :, None] & wide[:, None, :])[:, None]
