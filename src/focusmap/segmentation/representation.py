"""A small net that gives every voxel a feature, so that voxels of one lesion are alike: learnt from seeds alone."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.segmentation.affinity import PairSampling, pair_loss, sampled_pair_loss
from focusmap.segmentation.learning import Cases, LearningOptions, learn
from focusmap.segmentation.unet import UNet
from focusmap.study.segmentation import Features

# Two levels: with more context the net would learn the form of the seeds by heart, and not what a lesion looks like.
WIDTHS = (16, 32)
# Up to so many labelled voxels a step the loss is that over all pairs.
EXACT_UP_TO = 5_000


class FeatureNet(nn.Module):
    """From images ``(N, C, *spatial)`` to features ``(N, K, *spatial)``: a small U-Net and an activation.

    ``unit`` gives each voxel's feature the length 1, ``elu`` passes it through an ELU. A ReLU would make many features
    equal to zero and so to each other, where the loss has no slope.
    """

    def __init__(self, channels: int, n_features: int, dimensions: int = 2, activation: Features = "unit") -> None:
        super().__init__()
        self.unet = UNet(channels, n_features, dimensions, WIDTHS)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, K, *spatial)``."""
        features: Tensor = self.unet(x)
        return F.normalize(features, dim=1) if self.activation == "unit" else F.elu(features)


def learn_features(net: FeatureNet, cases: Cases, options: LearningOptions, pair_radius: float = 0.0) -> FeatureNet:
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


@torch.inference_mode()
def features_of(net: FeatureNet, image: np.ndarray) -> Tensor:
    """Return the features ``(K, *spatial)`` of one image ``(C, *spatial)``."""
    device = next(net.parameters()).device
    features: Tensor = net(torch.from_numpy(image)[None].to(device))[0]
    return features
