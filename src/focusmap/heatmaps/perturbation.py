"""Maps from what the logits do when a part of the image or of the features is hidden.

- Occlusion (Zeiler and Fergus 2014, section 4.2): a patch of mean grey slides over the image; a pixel's value is the
  mean loss of logit, y(x) - y(x with the patch), over the patches that cover it.
- Score-CAM (Wang et al. 2020, definitions 2 and 3): M = ReLU(sum_k v_k A_k), v = softmax over k of y(x H_k), with H_k
  the k-th feature A_k, enlarged to the image and scaled to reach from 0 to 1. The paper takes the logit of an empty
  image off each y, which is the same for all k and cancels.
- Ablation-CAM (Ramaswamy and Desai 2020, eq. 3 and 4): M = ReLU(sum_k v_k A_k), v_k = y - y(without A_k). The paper
  divides v_k by y, which is the same for all k, and would turn a map upside down where y is negative. Behind average
  pooling and one linear layer v_k = w_ck mean(A_k).

All labels cost the same forward passes, none backward. Images are ``(N, C, *spatial)`` and features ``(N, K, *grid)``
with any number of spatial dimensions; maps are of the M labels asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil

import torch
from torch import Tensor

from focusmap.nets import on_grid

Classifier = Callable[[Tensor], Tensor]

# At most that many positions of the patch, in any number of dimensions: 15 along each side of an image, 5 of a volume.
N_PATCHES = 256


def occlusion(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the mean loss of logit when a pixel is hidden, in logit units; negative where hiding it helps.

    >>> occlusion(lambda x: x.flatten(1).sum(1, keepdim=True), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), [0]).tolist()
    [[[1.0, 0.5, 0.0, 0.0]]]
    """
    with torch.no_grad():
        logits = net(batch)[:, labels]
        lost = logits.new_zeros(*logits.shape, *batch.shape[2:])
        n_covering = torch.zeros_like(lost[0, 0])
        for patch in patches(batch.shape[2:]):
            place = (slice(None), slice(None), *patch)
            hidden = batch.clone()
            hidden[place] = 0
            loss = logits - net(hidden)[:, labels]
            lost[place] += loss.reshape(*loss.shape, *[1] * len(patch))
            n_covering[patch] += 1
    return lost / n_covering


def score_cam(net: Classifier, batch: Tensor, features: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the Score-CAM ``(N, M, *grid)``, at least 0, without a unit; a forward pass a feature."""
    with torch.no_grad():
        scores = [net(batch * _mask(features[:, [k]], batch.shape[2:]))[:, labels] for k in range(features.shape[1])]
        return _weighted(torch.stack(scores, dim=2).softmax(dim=2), features)


def ablation_cam(classify: Classifier, features: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the Ablation-CAM ``(N, M, *grid)``, at least 0, without a unit; one run of the head a feature."""
    with torch.no_grad():
        logits = classify(features)
        losses = [(logits - classify(_without(features, k)))[:, labels] for k in range(features.shape[1])]
        return _weighted(torch.stack(losses, dim=2), features)


def _mask(feature: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a feature ``(N, 1, *grid)`` at the size of the image, from 0 to 1; 0 where it is constant."""
    enlarged = on_grid(feature, shape)
    dims = tuple(range(1, enlarged.ndim))
    low, high = enlarged.amin(dim=dims, keepdim=True), enlarged.amax(dim=dims, keepdim=True)
    return ((enlarged - low) / (high - low)).where(high > low, 0.0)


def _without(features: Tensor, k: int) -> Tensor:
    ablated = features.clone()
    ablated[:, k] = 0
    return ablated


def _weighted(weights: Tensor, features: Tensor) -> Tensor:
    """Return ReLU(sum_k v_mk A_k) for weights ``(N, M, K)``."""
    return torch.einsum("nmk,nk...->nm...", weights, features).clamp(min=0)


def patches(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the patches that cover a grid: about an eighth of each side wide, half overlapping, symmetric.

    >>> [(patch[0].start, patch[0].stop) for patch in patches((10, 300))][:2]
    [(0, 2), (0, 2)]
    """
    per_side = round(N_PATCHES ** (1 / len(shape)))
    yield from product(*(_intervals(length, ceil(length / per_side)) for length in shape))


def _intervals(length: int, stride: int) -> list[slice]:
    # Wide enough that the last one ends where the axis does, so that a mirrored image has the mirrored patches.
    width = min(2 * stride + length % stride, length)
    return [slice(start, start + width) for start in range(0, length - width + 1, stride)]
