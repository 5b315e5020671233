"""Maps on the grid of the net's input, from what the logits do when a part of the picture is hidden.

Occlusion (Zeiler and Fergus 2014, section 4.2): a patch of mean grey slides over the picture; a pixel's value is the
mean loss of logit, y(x) - y(x with the patch), over the patches that cover it. All labels cost the same forward
passes, none backward.

Pictures are ``(N, C, *spatial)`` with any number of spatial dimensions; maps are ``(N, M, *spatial)`` for the M labels
asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil

import torch
from torch import Tensor

Classifier = Callable[[Tensor], Tensor]

# At most that many positions of the patch, in any number of dimensions: 15 along each side of a picture, 5 of a volume.
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


def patches(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the patches that cover a grid: about an eighth of each side wide, half overlapping, symmetric.

    >>> [(patch[0].start, patch[0].stop) for patch in patches((10, 300))][:2]
    [(0, 2), (0, 2)]
    """
    per_side = round(N_PATCHES ** (1 / len(shape)))
    yield from product(*(_intervals(length, ceil(length / per_side)) for length in shape))


def _intervals(length: int, stride: int) -> list[slice]:
    # Wide enough that the last one ends where the axis does, so that a mirrored picture has the mirrored patches.
    width = min(2 * stride + length % stride, length)
    return [slice(start, start + width) for start in range(0, length - width + 1, stride)]
