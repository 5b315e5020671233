"""Changed training images, as a pure function of (seed, epoch, image): the same on any batch or worker.

What happens to an image is drawn first, from a counter-based generator keyed by the three numbers, and applied
to the whole batch afterwards; a killed training therefore goes on bit for bit.

Slices of a volume are changed as an image would be whose columns are the first axis of the volume and whose rows are
the second; beside that the volume is moved and scaled along its third axis.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focusmap.nets import warped
from focusmap.study import Augmentation

MASK = (1 << 32) - 1
N_DRAWN = 15
NOISE_STREAM, ELASTIC_STREAM, PARTNER_STREAM = 1, 2, 3
# Displacements are drawn at so many places along each side, and smooth in between.
CONTROL_POINTS = 4
BLUR_REACH = 3.0  # standard deviations


@dataclass(frozen=True)
class Draws:
    """What happens to each of N images.

    Parameters
    ----------
    geometry
        ``(N, D, D + 1)``: the affine map from output to input, as `focusmap.nets.grids.warped` takes it.
    brightness, contrast, noise
        ``(N,)``: what is added, what is multiplied, and the standard deviation of the noise.
    hole
        ``(N, D)``: centre of the blanked square along each axis as shares of the side.
    hole_side
        Its side as a share of the image's.
    displacement
        ``(N, D, CONTROL_POINTS, ...)``: how far places move (x, y, z) in coordinates from -1 to 1.
    gamma
        ``(N,)``: exponent.
    blur
        ``(N,)``: standard deviation in pixels.
    blur_radius
        Pixels after which it is cut off.
    keys
        ``(N, 2) uint64`` from which the noise is made.
    """

    geometry: Tensor
    brightness: Tensor
    contrast: Tensor
    noise: Tensor
    hole: Tensor
    hole_side: float
    displacement: Tensor
    gamma: Tensor
    blur: Tensor
    blur_radius: int
    keys: np.ndarray


def draw(limits: Augmentation, seed: int, epoch: int, indices: np.ndarray, dimensions: int = 2) -> Draws:
    """Return what happens to the images or volumes at positions `indices` ``(N,)`` in an epoch.

    Each image's draw depends on (seed, epoch, its index) alone; a volume's slices share that of an image.
    """
    keys = _keys(seed, epoch, indices)
    unit = np.stack([np.random.Generator(np.random.Philox(key=key)).random(N_DRAWN) for key in keys])
    signed = 2 * unit - 1
    return Draws(
        geometry=_geometry(limits, signed, dimensions),
        brightness=_column(limits.brightness * signed[:, 4]),
        contrast=_column(1 + limits.contrast * signed[:, 5]),
        noise=_column(limits.noise * unit[:, 6]),
        hole=_column(unit[:, 7:9] if dimensions == 2 else unit[:, [8, 7, 14]]),
        hole_side=limits.cutout,
        displacement=_displacement(limits, keys, dimensions),
        gamma=_column(np.exp(np.log1p(limits.gamma) * signed[:, 11])),
        blur=_column(limits.blur * unit[:, 12]),
        blur_radius=math.ceil(BLUR_REACH * limits.blur),
        keys=keys,
    )


def apply(draws: Draws, batch: Tensor) -> Tensor:
    """Return the changed images ``(N, C, *spatial)``; the given ones stay as they are.

    Images are standardised ones (mean 0, standard deviation 1). What comes in over the edge repeats the edge.
    """
    changed = _moved(draws, batch)
    if draws.blur_radius:
        changed = _blurred(draws, changed)
    if bool((draws.gamma != 1).any()):
        changed = _brightened(draws, changed)
    changed = changed * _each(draws.contrast, batch) + _each(draws.brightness, batch)
    if bool(draws.noise.any()):
        changed = changed + _noise(draws, batch)
    if draws.hole_side:
        changed = changed.masked_fill(_hole(draws, batch), 0.0)
    return changed


def augment(batch: Tensor, limits: Augmentation, seed: int, epoch: int, indices: np.ndarray) -> Tensor:
    """Return the batch ``(N, C, *spatial)`` changed as (seed, epoch, index) say: `draw`, then `apply`."""
    return apply(draw(limits, seed, epoch, indices, batch.ndim - 2), batch)


def draw_partners(
    mixup: float, seed: int, epoch: int, indices: np.ndarray, n_images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each image the position of another, 0 to `n_images` - 1, and the image's own share of the blend.

    Both ``(N,)`` and functions of (seed, epoch, its index) alone; shares are drawn from Beta(mixup, mixup) (Zhang et
    al. 2018, mixup: Beyond empirical risk minimization, eq. 1).
    """
    partners, shares = np.empty(len(indices), dtype=np.int64), np.empty(len(indices))
    for i, key in enumerate(_keys(seed, epoch, indices)):
        generator = _generator(key, PARTNER_STREAM)
        partners[i], shares[i] = generator.integers(n_images), generator.beta(mixup, mixup)
    return partners, shares


def _keys(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    return np.array([[seed & MASK, (epoch << 32) | int(index)] for index in indices], dtype=np.uint64)


def _generator(key: np.ndarray, stream: int) -> np.random.Generator:
    # The counter keeps streams apart from the numbers drawn with the same key.
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def _geometry(limits: Augmentation, signed: np.ndarray, dimensions: int) -> Tensor:
    angle = np.radians(limits.rotate_degrees) * signed[:, 2]
    grown = np.exp(math.log1p(limits.scale) * signed[:, 3])
    mirrored = np.where(bool(limits.mirror) & (signed[:, 9] > 0), -1.0, 1.0)
    cosine, sine = np.cos(angle) / grown, np.sin(angle) / grown
    lean = np.tan(np.radians(limits.shear_degrees) * signed[:, 10])
    # A shift by a share s of the side is 2 s in coordinates from -1 to 1.
    shift = 2 * limits.shift * signed[:, :2]
    rows = [
        np.stack([mirrored * cosine, lean * mirrored * cosine - sine, shift[:, 0]], 1),
        np.stack([mirrored * sine, lean * mirrored * sine + cosine, shift[:, 1]], 1),
    ]
    plane = np.stack(rows, axis=1)
    if dimensions == 2:
        return torch.from_numpy(plane.astype(np.float32))
    space = np.zeros((len(plane), 3, 4))
    space[:, :2, :2], space[:, :2, 3] = plane[:, :, :2], plane[:, :, 2]
    space[:, 2, 2], space[:, 2, 3] = 1 / grown, 2 * limits.shift * signed[:, 13]
    return torch.from_numpy(space.astype(np.float32))


def _displacement(limits: Augmentation, keys: np.ndarray, dimensions: int) -> Tensor:
    """Return displacements at a coarse grid of places (as Ronneberger et al. 2015, U-Net, section 3.1)."""
    shape = (dimensions, *[CONTROL_POINTS] * dimensions)
    if not limits.elastic:
        return torch.zeros(len(keys), *shape)
    fields = [2 * _generator(key, ELASTIC_STREAM).random(shape) - 1 for key in keys]
    return _column(2 * limits.elastic * np.stack(fields))


def _moved(draws: Draws, batch: Tensor) -> Tensor:
    field = None
    if bool(draws.displacement.any()):
        # torch has no cubic interpolation of volumes.
        mode = "bicubic" if batch.ndim == 4 else "trilinear"
        field = torch.nn.functional.interpolate(
            draws.displacement.to(batch), size=batch.shape[2:], mode=mode, align_corners=True
        )
    elif torch.equal(draws.geometry, _identity(draws.geometry)):
        return batch
    return warped(batch, draws.geometry.to(batch), "border", field)


def _blurred(draws: Draws, batch: Tensor) -> Tensor:
    """Return each image convolved with its own Gaussian, along one axis after the other."""
    reach = draws.blur_radius
    steps = torch.arange(-reach, reach + 1).to(batch)
    # A deviation of nothing leaves the middle weight alone.
    weights = torch.exp(-0.5 * (steps / draws.blur.to(batch).clamp(min=1e-3)[:, None]).square())
    weights = weights / weights.sum(dim=1, keepdim=True)
    for axis in range(2, batch.ndim):
        n = batch.shape[axis]
        # torch counts the ends to be padded from the last axis on.
        ends = [reach if pair == batch.ndim - 1 - axis else 0 for pair in range(batch.ndim - 2) for _ in range(2)]
        padded = torch.nn.functional.pad(batch, ends, mode="replicate")
        # Summed by hand: grouped convolutions round differently from batch to batch.
        batch = sum(
            (_each(weights[:, k], batch) * padded.narrow(axis, k, n) for k in range(2 * reach + 1)),
            start=torch.zeros_like(batch),
        )
    return batch


def _brightened(draws: Draws, batch: Tensor) -> Tensor:
    """Return low + (high - low) ((x - low) / (high - low))^gamma, with each image's own lowest and highest value."""
    low, high = (extreme(batch, dim=tuple(range(1, batch.ndim)), keepdim=True) for extreme in (torch.amin, torch.amax))
    span = (high - low).clamp(min=torch.finfo(batch.dtype).tiny)
    return low + span * ((batch - low) / span).pow(_each(draws.gamma, batch))


def _identity(geometry: Tensor) -> Tensor:
    return torch.eye(*geometry.shape[1:]).expand_as(geometry)


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _each(values: Tensor, batch: Tensor) -> Tensor:
    return values.to(batch).reshape(-1, *[1] * (batch.ndim - 1))


def _noise(draws: Draws, batch: Tensor) -> Tensor:
    shape = tuple(batch.shape[1:])
    fields = [_field(key, shape) for key in draws.keys]
    return torch.from_numpy(np.stack(fields)).to(batch) * _each(draws.noise, batch)


def _field(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return _generator(key, NOISE_STREAM).standard_normal(shape, dtype=np.float32)


def _hole(draws: Draws, batch: Tensor) -> Tensor:
    centre, within = draws.hole.to(batch), torch.ones_like(batch[:, :1], dtype=torch.bool)
    for axis, n in enumerate(batch.shape[2:]):
        places = torch.arange(n, device=batch.device).add(0.5).div(n)
        near = (places - centre[:, axis : axis + 1]).abs() < draws.hole_side / 2
        within = within & near.reshape(len(batch), *(n if k == axis + 2 else 1 for k in range(1, batch.ndim)))
    return within
