"""Convolutions, and from one grid to another, in any number of dimensions; several views of one image, and back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.basics import InputError, Json
from focusmap.study import Augmentation

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMALISATIONS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes of a batch: the order in memory that convolutions on a processor are fastest with."""


def convolution_block(n_in: int, n_out: int, dimensions: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution of 3 voxels a side, normalised and rectified, from `n_in` features to `n_out`."""
    convolution = CONVOLUTIONS[dimensions](n_in, n_out, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, NORMALISATIONS[dimensions](n_out), nn.ReLU())


def on_grid(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return maps ``(N, K, *grid)`` on a grid of `shape`, linear between the centres of their cells.

    >>> import torch
    >>> on_grid(torch.tensor([[[0.0, 4.0]]]), (4,)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    return nn.functional.interpolate(maps, tuple(shape), mode=LINEAR[len(shape)], align_corners=False)


def resized(batch: Tensor, size: float) -> Tensor:
    """Return images ``(N, C, H, W)`` with sides `size` times as long; what is shrunk is averaged, not skipped."""
    if size == 1:
        return batch
    sides = [max(1, round(side * size)) for side in batch.shape[2:]]
    if torch.compiler.is_compiling():
        # An exported graph has it as products: runtimes know this kind of resampling in part only.
        down, across = (_triangles(n, n_out) for n, n_out in zip(batch.shape[2:], sides, strict=True))
        return down @ batch @ across.T
    return nn.functional.interpolate(batch, sides, mode="bilinear", antialias=True, align_corners=False)


def _triangles(n: int, n_out: int) -> Tensor:
    """Return the weights ``(n_out, n)`` of linear resampling with antialiasing: triangles as wide as two places."""
    step = n / n_out
    away = np.abs(np.arange(n) + 0.5 - ((np.arange(n_out) + 0.5) * step)[:, None]) / max(step, 1.0)
    weights = np.clip(1 - away, 0, None)
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def on_finest(maps: Sequence[Tensor], *, per_cell: bool = False) -> list[Tensor]:
    """Return maps ``(N, K, *grid)`` of several grids on the finest along each axis, each with the mean that it had.

    Maps that hold shares of their cells (`per_cell`) keep their sum.

    >>> import torch
    >>> on_finest([torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 1, 4)])[0].tolist()
    [[[1.0, 1.5, 2.5, 3.0]]]
    """
    finest = [max(sides) for sides in zip(*(one.shape[2:] for one in maps), strict=True)]
    return [one if list(one.shape[2:]) == finest else _finer(one, finest, per_cell) for one in maps]


def _finer(maps: Tensor, grid: Sequence[int], per_cell: bool) -> Tensor:
    finer, places = on_grid(maps, grid), tuple(range(2, maps.ndim))
    # Between the centres of cells the mean is not quite what it was.
    finer = finer + maps.mean(dim=places, keepdim=True) - finer.mean(dim=places, keepdim=True)
    return finer * (maps[0, 0].numel() / finer[0, 0].numel()) if per_cell else finer


def warped(batch: Tensor, geometry: Tensor, padding: str, displacement: Tensor | None = None) -> Tensor:
    """Return images or volumes ``(N, C, *spatial)`` moved, linear between the centres of their pixels.

    Parameters
    ----------
    batch
        Of images, x runs along columns and y along rows; of volumes, x, y and z along the first to third axis.
    geometry : (N, D, D + 1)
        The affine map from output to input, x before y before z, in coordinates from -1 to 1 of equally long sides.
    padding
        ``border`` repeats the edge where something comes in over it, ``zeros`` does not.
    displacement : (N, D, *spatial)
        How far each place moves on its own, in the same coordinates, or None.
    """
    n = batch.ndim - 2
    sides = list(batch.shape[2:]) if n == 3 else list(batch.shape[:1:-1])
    lengths = geometry.new_tensor(sides)
    linear = geometry[:, :, :n] * (lengths / lengths[:, None])
    theta = torch.cat([linear, geometry[:, :, n:]], dim=2)
    if n == 3:
        # torch counts coordinates from the last axis on.
        theta = torch.cat([theta[:, :, :n].flip(1, 2), theta[:, :, n:].flip(1)], dim=2)
    grid = nn.functional.affine_grid(theta, list(batch.shape), align_corners=False)
    if displacement is not None:
        moved = displacement.flip(1) if n == 3 else displacement
        grid = grid + moved.movedim(1, -1)
    return nn.functional.grid_sample(batch, grid, mode="bilinear", padding_mode=padding, align_corners=False)


@dataclass(frozen=True)
class View:
    """One way to show an image.

    Parameters
    ----------
    mirror
        Left and right change places: the columns of an image, the first axis of a volume.
    scale
        The image grows by this factor about its centre.
    down, right
        How far it is moved then, as shares of its side.
    size
        The net is shown all of it with sides that are this many times as long.
    """

    mirror: bool = False
    scale: float = 1.0
    down: float = 0.0
    right: float = 0.0
    size: float = 1.0

    @property
    def stays(self) -> bool:
        """True if every place of the image lies where it was."""
        return replace(self, size=1.0) == AS_IT_IS

    @property
    def flips(self) -> bool:
        """True if left and right change places, and nothing else moves."""
        return replace(self, size=1.0) == View(mirror=True)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `model.json`; the size only where it is not the image's own."""
        plain = asdict(self)
        return plain if self.size != 1 else {name: value for name, value in plain.items() if name != "size"}

    @classmethod
    def from_dict(cls, values: Json) -> "View":
        """Read what `to_dict` gave; `InputError` if it is anything else."""
        match values:
            case {"mirror": bool(mirror), "scale": float(scale), "down": float(down), "right": float(right), **rest}:
                size = rest.pop("size", 1.0)
                if not rest and isinstance(size, float) and scale > 0 < size:
                    return cls(mirror, scale, down, right, size)
        raise InputError(f"a view needs mirror, scale, down and right, no more; found {values!r}.")


AS_IT_IS = View()


def views_within(limits: Augmentation) -> tuple[View, ...]:
    """Return the views that are averaged: no further from the image than half of what the net was trained on.

    As it is; grown and shrunk; moved up left and down right; and all of these mirrored where the training mirrors.

    >>> len(views_within(Augmentation())), len(views_within(Augmentation(mirror=True, scale=0)))
    (5, 6)
    """
    grown, moved = 1 + limits.scale / 2, limits.shift / 2
    plain = dict.fromkeys([
        AS_IT_IS, View(scale=grown), View(scale=1 / grown),
        View(down=-moved, right=-moved), View(down=moved, right=moved),
    ])  # fmt: skip
    mirrored = [View(True, view.scale, view.down, view.right) for view in plain] if limits.mirror else []
    return (*plain, *mirrored)


SIZES = (1.0, 1.4, 2.0)
"""Sides, in those of the images that a net learnt from, over which its answer and its maps are averaged."""


def views_over_sizes(learnt: int, side: int, *, mirrors: bool) -> tuple[View, ...]:
    """Return the views of images of `side` pixels for a net that learnt from `learnt` pixels, none of them enlarged.

    >>> [view.size for view in views_over_sizes(160, 320, mirrors=False)]
    [0.5, 0.7, 1.0]
    """
    shares = [share for share in (size * learnt / side for size in SIZES) if share <= 1]
    return tuple(View(mirror, size=share) for mirror in ((False, True) if mirrors else (False,)) for share in shares)


def show(view: View, batch: Tensor) -> Tensor:
    """Return the images ``(N, C, *spatial)`` as the view shows them; what comes in over the edge repeats the edge."""
    batch = resized(batch, view.size)
    if view.flips:
        return _flipped(batch)
    # From output to input, both from -1 to 1, x before y; a share s of the side is 2 s.
    across, along = (-1 if view.mirror else 1) / view.scale, 1 / view.scale
    rows = [[across, 0.0, -2 * view.right * across], [0.0, along, -2 * view.down * along]]
    return batch if view.stays else _warp(batch, rows, "border")


def bring_home(view: View, maps: Tensor) -> Tensor:
    """Return maps ``(N, L, *grid)`` of images shown in a view, back on the images; 0 where the view saw nothing."""
    if view.flips:
        return _flipped(maps)
    across = -view.scale if view.mirror else view.scale
    rows = [[across, 0.0, 2 * view.right], [0.0, view.scale, 2 * view.down]]
    return maps if view.stays else _warp(maps, rows, "zeros")


def _flipped(batch: Tensor) -> Tensor:
    return batch.flip(3 if batch.ndim == 4 else 2)


def _warp(batch: Tensor, rows: list[list[float]], padding: str) -> Tensor:
    plane = torch.tensor(rows).to(batch)
    # Of a volume, each slice is shown so.
    geometry = torch.eye(batch.ndim - 2, batch.ndim - 1).to(batch)
    geometry[:2, :2], geometry[:2, -1] = plane[:, :2], plane[:, 2]
    return warped(batch, geometry.expand(batch.shape[0], *geometry.shape), padding)
