"""From the pyramid of a backbone to one feature map for the evidence, in any number of spatial dimensions.

- ``fpn``: feature pyramid network (Lin et al. 2017, section 3): coarse levels are added to finer ones, top down.
- ``pan``: path aggregation network (Liu et al. 2018, section 3.1): FPN, and then back from fine to coarse. Not the
  pyramid attention that other libraries call PAN.
- ``evidenceS``: the light form: the level with the stride S alone; what lies behind it is cut off.
- ``acam``, ``acamS``: the same, of the last level or of that with the stride S; the net then attends along the axes
  (`focusmap.nets.pooling`).

``autoencoder`` stands in the same place of a model's name: `focusmap.nets.autoencoder` decodes back to the image. So
does ``probe``, a linear head on all levels in two sizes (`focusmap.nets.levels`), and ``slices``, the same for volumes,
whose slices the backbone is shown.

The levels of FPN and PAN are brought to the finest grid and averaged, as in the semantic branch of panoptic FPN
(Kirillov et al. 2019, section 3), so that every level has its say in the evidence.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from focusmap.basics import InputError, suggest
from focusmap.nets.backbones import BACKBONES, dimensions_of, is_backbone, pyramid_strides
from focusmap.nets.grids import CONVOLUTIONS, NORMALISATIONS, convolution_block, on_grid

WIDTH = 128
ACAM, AUTOENCODER, PROBE, SLICES = "acam", "autoencoder", "probe", "slices"


def split_model(name: str) -> tuple[str, str]:
    """Return the backbone and the decoder of a model's name; the decoder of a plain backbone is empty.

    Raises
    ------
    InputError
        If there is no such model; the message lists the known parts and suggests the nearest.

    >>> split_model("vgg16-fpn"), split_model("small-residual"), split_model("resnet10t-evidence8")
    (('vgg16', 'fpn'), ('small-residual', ''), ('resnet10t', 'evidence8'))
    """
    if is_backbone(name):
        return name, ""
    base, _, decoder = name.rpartition("-")
    decoders = decoders_of(base) if is_backbone(base) else decoders_of("resnet18")
    if is_backbone(base) and decoder in decoders:
        return base, decoder
    if not decoders:
        raise InputError(
            f"model {name!r}: {base} has all its levels on one grid, which leaves a decoder nothing to do. "
            f"Use {base} alone, or a decoder with another backbone, such as resnet18-fpn."
        )
    raise InputError(
        f"model {name!r} is not one of {', '.join(BACKBONES)}, nor a name of timm's, each alone or with "
        f"-{', -'.join(decoders)}.{_nearest(name, base)}"
    )


def _nearest(name: str, base: str) -> str:
    import timm

    bases = [*BACKBONES, base] if is_backbone(base) else [*BACKBONES]
    ours = [*BACKBONES, *(f"{base}-{decoder}" for base in bases for decoder in decoders_of(base))]
    return suggest(name, ours) or suggest(name, timm.list_models())


def has_focus(name: str) -> bool:
    """Return whether the model called `name` has evidence at every place as its last layer.

    >>> has_focus("vgg16-fpn"), has_focus("vgg16"), has_focus("vgg16-autoencoder")
    (True, False, False)
    """
    return split_model(name)[1] not in ("", AUTOENCODER, PROBE, SLICES)


def decoders_of(base: str) -> list[str]:
    """Return the decoders that a backbone can have; none if it has no pyramid.

    >>> decoders_of("small-residual"), decoders_of("vit_tiny_patch16_224")
    (['fpn', 'pan', 'acam', 'autoencoder', 'probe', 'slices', 'acam2', 'acam4', 'evidence2', 'evidence4'], [])
    """
    strides = pyramid_strides(base)
    light = [f"{name}{stride}" for name in (ACAM, "evidence") for stride in strides]
    slices = [SLICES] if dimensions_of(base) == 2 else []
    return [*DECODERS, ACAM, AUTOENCODER, PROBE, *slices, *light] if strides else []


def dimensions_of_model(name: str) -> int:
    """Return 3 for a model of volumes and 2 for one of images.

    >>> dimensions_of_model("resnet18-fpn"), dimensions_of_model("resnet18-slices"), dimensions_of_model("resnet18-3d")
    (2, 3, 3)
    """
    base, decoder = split_model(name)
    return 3 if decoder == SLICES else dimensions_of(base)


def strides_of(base: str, decoder: str) -> tuple[int, ...]:
    """Return the strides of the levels that a decoder takes from a backbone, the finest first; none without one."""
    light = re.fullmatch(rf"(?:evidence|{ACAM})(\d+)", decoder)
    if decoder == ACAM:
        return pyramid_strides(base)[-1:]
    return (int(light[1]),) if light else pyramid_strides(base) if decoder else ()


def attends_along_axes(decoder: str) -> bool:
    """Return whether a net with this decoder has attention along each spatial axis.

    >>> attends_along_axes("acam8"), attends_along_axes("fpn")
    (True, False)
    """
    return decoder.startswith(ACAM)


class Level(nn.Module):
    """The light form: one level, normalised, its negative part cut off; some backbones hand out neither."""

    def __init__(self, channels: Sequence[int], dimensions: int = 2) -> None:
        super().__init__()
        (self.n_features,) = channels
        self.norm = NORMALISATIONS[dimensions](self.n_features)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return ``(N, K, *spatial)`` from that one level."""
        return nn.functional.relu(self.norm(levels[0]))


class FeaturePyramid(nn.Module):
    """FPN: P_i = conv3x3(M_i) with M_i = conv1x1(C_i) + upsampled M_(i+1), from the coarsest level on.

    After each 3x3 convolution stand a batch normalisation and a ReLU, which the detector's heads bring in the paper.
    """

    def __init__(self, channels: Sequence[int], dimensions: int = 2) -> None:
        super().__init__()
        self.n_features = width = min(WIDTH, channels[-1])
        convolution = CONVOLUTIONS[dimensions]
        self.lateral = nn.ModuleList(convolution(n, width, 1) for n in channels)
        self.smooth = nn.ModuleList(convolution_block(width, width, dimensions) for _ in channels)

    def levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return P_i, ``(N, K, *spatial)`` each on its own grid, from C_i; the finest first."""
        merged = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        for i in reversed(range(len(merged) - 1)):
            merged[i] = merged[i] + nn.functional.interpolate(merged[i + 1], size=merged[i].shape[2:], mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return ``(N, K, *spatial)`` on the finest grid, from levels of which the finest is the first."""
        return average_levels(self.levels(levels))


class PathAggregation(nn.Module):
    """PAN: N_1 = P_1, N_(i+1) = conv3x3(P_(i+1) + conv3x3 of stride 2 (N_i)), from the finest level of FPN on."""

    def __init__(self, channels: Sequence[int], dimensions: int = 2) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(channels, dimensions)
        self.n_features = width = self.pyramid.n_features
        self.down = nn.ModuleList(convolution_block(width, width, dimensions, stride=2) for _ in channels[1:])
        self.smooth = nn.ModuleList(convolution_block(width, width, dimensions) for _ in channels[1:])

    def levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return N_i, ``(N, K, *spatial)`` each on its own grid, from C_i; the finest first."""
        first, *coarser = self.pyramid.levels(levels)
        aggregated = [first]
        for down, smooth, level in zip(self.down, self.smooth, coarser, strict=True):
            aggregated.append(smooth(level + _cropped(down(aggregated[-1]), level)))
        return aggregated

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return ``(N, K, *spatial)`` on the finest grid, from levels of which the finest is the first."""
        return average_levels(self.levels(levels))


def average_levels(levels: Sequence[Tensor]) -> Tensor:
    """Return the mean of levels ``(N, K, *spatial)`` on the grid of the first, linear between the centres of cells."""
    grid = levels[0].shape[2:]
    coarser = [on_grid(level, grid) for level in levels[1:]]
    return torch.stack([levels[0], *coarser]).mean(dim=0)


DECODERS: dict[str, type[FeaturePyramid] | type[PathAggregation]] = {"fpn": FeaturePyramid, "pan": PathAggregation}
Decoder = Level | FeaturePyramid | PathAggregation


def build_decoder(name: str, channels: Sequence[int], dimensions: int = 2) -> Decoder:
    """Return the decoder called `name` for levels of so many channels, the finest first."""
    return DECODERS.get(name, Level)(channels, dimensions)


def _cropped(level: Tensor, finer: Tensor) -> Tensor:
    # A convolution of stride 2 rounds an odd side up, and a pooling of stride 2 rounds it down.
    for axis, side in enumerate(finer.shape[2:], start=2):
        level = level.narrow(axis, 0, side)
    return level
