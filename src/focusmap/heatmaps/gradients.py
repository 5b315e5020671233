"""Maps on the grid of the net's input, from gradients of the logits: a backward pass a label.

With x a prepared image and y_c the logit of label c:

- Input gradients, "saliency": max over channels of |dy_c/dx| (Simonyan et al. 2014, section 3.1).
- SmoothGrad: the same of the mean gradient of noisy images (Smilkov et al. 2017, section 2.1).
- Integrated gradients: x times the mean gradient on the straight way from the baseline 0 to x (Sundararajan et al.
  2017, eq. 1). A standardised image's 0 is its mean grey.
- Guided backpropagation: input gradients, where each ReLU passes on positive gradients only (Springenberg et al. 2015,
  section 3.4). It draws the image's edges, much the same ones with random weights (Adebayo et al. 2018, section 3):
  it is here to be compared with.

Images are ``(N, C, *spatial)`` with any number of spatial dimensions; maps are ``(N, M, *spatial)`` for the M labels
asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from focusmap.errors import InputError

Classifier = Callable[[Tensor], Tensor]

# The paper advises 10 to 20 % of the range, and sees little gain beyond 50 samples.
NOISE_SHARE, N_NOISY, NOISE_SEED = 0.15, 16, 0
N_STEPS = 32
RELUS = (F.relu, torch.relu, Tensor.relu)


def gradient_of(logits: Tensor, label: int, source: Tensor) -> Tensor:
    """Return the gradient of one label's logit with respect to `source`, of its shape; 0 where it has no part in it."""
    chosen = torch.zeros_like(logits)
    chosen[:, label] = 1
    return torch.autograd.grad(logits, source, chosen, retain_graph=True, materialize_grads=True)[0]


def gradients_of(logits: Tensor, label: int, sources: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return `gradient_of` for several sources at once.

    Raises
    ------
    InputError
        If a source has no part in the logits.
    """
    chosen = torch.zeros_like(logits)
    chosen[:, label] = 1
    found = torch.autograd.grad(logits, sources, chosen, retain_graph=True, allow_unused=True)
    if any(gradient is None for gradient in found):
        raise InputError("this net's answer is not made from the maps that its stages hand out; use layercam.")
    return found


def input_gradients(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return dy_c/dx ``(N, M, C, *spatial)``, from one forward pass and a backward pass a label."""
    with torch.enable_grad():
        x = batch.detach().requires_grad_()
        logits = net(x)
    return torch.stack([gradient_of(logits, label, x) for label in labels], dim=1)


def saliency(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return by how much the logit changes, up or down, with each pixel: logits per unit of the input.

    >>> saliency(lambda x: x.flatten(1) @ torch.tensor([[2.0], [-3.0]]), torch.zeros(1, 1, 1, 2), [0]).tolist()
    [[[[2.0, 3.0]]]]
    """
    return _magnitude(input_gradients(net, batch, labels))


def smooth_grad(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return `saliency` of the mean gradient of at least 16 noisy images.

    The noise has a deviation of 15 % of each image's range. It is the same for every image and every call, and
    comes in all orientations of a few draws, so that the map of a turned image is the turned map.
    """
    dims = tuple(range(1, batch.ndim))
    deviation = NOISE_SHARE * (batch.amax(dim=dims, keepdim=True) - batch.amin(dim=dims, keepdim=True))
    noises = symmetric_noise(batch[0].shape)
    gradients = (input_gradients(net, batch + deviation * noise.to(batch), labels) for noise in noises)
    return _magnitude(sum(gradients, start=batch.new_zeros(())) / len(noises))


def integrated_gradients(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return what each pixel adds to the logit, summed over channels; signed.

    By the midpoint rule with 32 steps. The sum over a map is y(x) - y(0), but for the error of the rule.

    >>> integrated_gradients(lambda x: x.flatten(1).square().sum(1, keepdim=True), torch.ones(1, 1, 1, 2), [0]).tolist()
    [[[[1.0, 1.0]]]]
    """
    return path_integral(net, batch, torch.zeros_like(batch), labels, N_STEPS)


def path_integral(net: Classifier, batch: Tensor, start: Tensor, labels: Sequence[int], n_steps: int) -> Tensor:
    """Return integrated gradients ``(N, M, *spatial)`` on the straight way to each image from its `start`."""
    way = batch - start
    gradients = (input_gradients(net, start + (i + 0.5) / n_steps * way, labels) for i in range(n_steps))
    return (way[:, None] * sum(gradients, start=batch.new_zeros(())) / n_steps).sum(dim=2)


def guided_backpropagation(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the magnitude of guided gradients, without a unit; `saliency` if the net has no ReLU."""

    def guided(x: Tensor) -> Tensor:
        with _GuidedReLU():
            return net(x)

    return saliency(guided, batch, labels)


class _GuidedReLU(TorchFunctionMode):
    """While it is on, what follows a ReLU hands back the positive part of its gradient; modules stay as they are."""

    def __torch_function__(
        self, function: Callable[..., Tensor], types: object, args: Sequence[object] = (), kwargs: object = None
    ) -> Tensor:
        found = function(*args, **cast(dict[str, object], kwargs or {}))
        if function in RELUS and found.requires_grad:
            found.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]  # so in torch
        return found


def symmetric_noise(shape: Sequence[int]) -> list[Tensor]:
    """Return at least 16 arrays of standard normal noise ``(C, *spatial)``; mirrored or turned, they are the same set.

    >>> len(symmetric_noise((1, 6, 6))), len(symmetric_noise((1, 6, 5)))
    (16, 16)
    """
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    random = np.random.RandomState(NOISE_SEED)
    found: list[Tensor] = []
    while len(found) < N_NOISY:
        found += orientations(torch.from_numpy(random.standard_normal(tuple(shape))))
    return found


def orientations(x: Tensor) -> Iterator[Tensor]:
    """Yield ``(C, *spatial)`` in every mirrored and turned form that keeps its shape, `x` first: 8 of a square."""
    axes = range(1, x.ndim)
    for order in permutations(axes):
        turned = x.permute(0, *order)
        if turned.shape == x.shape:
            for n_flipped in range(x.ndim):
                for flipped in combinations(axes, n_flipped):
                    yield turned.flip(flipped)


def _magnitude(gradients: Tensor) -> Tensor:
    return gradients.abs().amax(dim=2)
