"""The small nets that masks come from, in any number of dimensions.

All are U-Nets (Ronneberger et al. 2015, figure 1, with padding and fewer channels). One draws masks: its contracting
path is a pretrained backbone, for images where there is one (TernausNet, Iglovikov and Shvets 2018). One gives every
voxel a feature, so that voxels of one lesion are alike. `focusmap.segmentation.learning` says how they learn.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from focusmap import nets
from focusmap.study import Features
from focusmap.training import mixed_precision

POOLS: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
WIDTHS = (16, 32, 64)
N_GROUPS = 8
# Images that are shown at once when a net is asked.
BATCH_SIZE = 16


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
        """Return the logits of each voxel."""
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


@torch.inference_mode()
def features_of(net: FeatureNet, image: np.ndarray) -> Tensor:
    """Return the features ``(K, *spatial)`` of one image ``(C, *spatial)``."""
    device = next(net.parameters()).device
    features: Tensor = net(torch.from_numpy(image)[None].to(device))[0]
    return features
