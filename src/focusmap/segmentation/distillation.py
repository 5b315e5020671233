"""A small U-Net that learns masks: refined ones, with a band that is ignored, or true ones as the upper bound."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.segmentation.learning import Cases, LearningOptions, learn
from focusmap.segmentation.unet import UNet

BATCH_SIZE = 16
# A few large steps early on would leave a net of few channels with dead units, and nothing drawn for good.
LONGEST_GRADIENT = 1.0


def learn_masks(cases: Cases, options: LearningOptions) -> UNet:
    """Return a U-Net that gives each voxel the logit of lesion, trained on marks; what is marked -1 does not count.

    The loss is the binary cross-entropy plus 1 - Dice of the probabilities, both over the known voxels of the batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        net = UNet(cases.images.shape[1], 1, cases.marked.ndim - 1)
    start_from_share(net, cases.marked)

    def loss_of(images: Tensor, marked: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        return mask_loss(net(images)[:, 0], marked)

    learn(net, cases, loss_of, replace(options, longest_gradient=LONGEST_GRADIENT))
    return net


def start_from_share(net: UNet, marked: np.ndarray) -> None:
    """Let a net begin by saying of every voxel how large the share of lesion is (Lin et al. 2017, section 3.3).

    From an even chance, the many voxels of background drive it within a few steps to where a lesion of some voxels has
    no slope left, and some trainings never draw anything.
    """
    share = (np.count_nonzero(marked == 1) + 1) / (np.count_nonzero(marked >= 0) + 2)
    assert net.last.bias is not None
    nn.init.constant_(net.last.bias, math.log(share / (1 - share)))


def mask_loss(logits: Tensor, marked: Tensor) -> Tensor:
    """Return cross-entropy + 1 - 2 sum(p y) / (sum(p) + sum(y)) of logits and marks ``(N, *spatial)``, -1 ignored.

    >>> round(float(mask_loss(torch.tensor([[9.0, -9.0, 3.0]]), torch.tensor([[1, 0, -1]]))), 3)
    0.0
    """
    known = marked >= 0
    if not known.any():
        return logits.sum() * 0
    z, y = logits[known].float(), marked[known].float()
    p = z.sigmoid()
    dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return F.binary_cross_entropy_with_logits(z, y) + 1 - dice


@torch.inference_mode()
def predict_masks(net: UNet, images: np.ndarray) -> np.ndarray:
    """Return the probability of lesion ``(N, *spatial) float32`` of images ``(N, C, *spatial)``."""
    device = next(net.parameters()).device
    parts = torch.split(torch.from_numpy(images), BATCH_SIZE)
    return torch.cat([net(part.to(device))[:, 0].sigmoid().cpu() for part in parts]).numpy()
