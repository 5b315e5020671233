"""Maps on the grid of the net's input, from gradients of the logits: pixel by pixel, or of regions of the image (XRAI).

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

Each pixel's attribution is the mean of integrated gradients from a black and from a white image, so that dark and
bright places may count alike (section 3.1); signed, summed over channels. The image is over-segmented at six scales
(section 3.2), so that most of what it shows is a segment of some scale. Segments are taken one after the other, always
the one with the highest mean attribution over what it adds to those taken before, and what it adds has that mean as its
value (section 3.3). No value is lost: a map adds up to what the attributions add up to.

Two dimensions are segmented as in the paper, by Felzenszwalb and Huttenlocher's graphs. Those are slow beyond, where
segments are SLIC's (Achanta et al. 2012): in a volume, supervoxels, which know nothing of orientation but their seeds'.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from typing import cast

import numpy as np
import torch
from scipy import ndimage, sparse
from torch import Tensor
from torch.overrides import TorchFunctionMode

from focusmap.basics import InputError

Classifier = Callable[[Tensor], Tensor]

# The paper advises 10 to 20 % of the range, and sees little gain beyond 50 samples.
NOISE_SHARE, N_NOISY, NOISE_SEED = 0.15, 16, 0
N_STEPS = 32
RELUS = (torch.nn.functional.relu, torch.relu, Tensor.relu)


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
        answer = function(*args, **cast(dict[str, object], kwargs or {}))
        if function in RELUS and answer.requires_grad:
            answer.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]  # so in torch
        return answer


def symmetric_noise(shape: Sequence[int]) -> list[Tensor]:
    """Return at least 16 arrays of standard normal noise ``(C, *spatial)``; mirrored or turned, they are the same set.

    >>> len(symmetric_noise((1, 6, 6))), len(symmetric_noise((1, 6, 5)))
    (16, 16)
    """
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    random = np.random.RandomState(NOISE_SEED)
    noises: list[Tensor] = []
    while len(noises) < N_NOISY:
        noises += orientations(torch.from_numpy(random.standard_normal(tuple(shape))))
    return noises


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


# The paper's own, for images of this many pixels; scales and areas grow with the image.
PAPER_SIDE = 224
SCALES = (50, 100, 150, 250, 500, 1200)
SMOOTHING, LEAST_SEGMENT = 0.8, 150
# Segments reach over their own border, since edges matter most to a net.
GROWN_BY = 5
# What a segment adds must be worth a region.
LEAST_ADDED = 50
SUPERVOXELS = (1000, 500, 250, 125, 60, 30)
LEAST_SUPERVOXEL = 8
COMPACTNESS = 0.1


def xrai(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return what each region adds to the logit, per pixel ``(N, M, *spatial)``; signed.

    As many passes as `integrated_gradients`: 16 steps from black and 16 from white. Black and white are the darkest and
    the brightest value of the image itself.
    """
    attributions = attributions_of(net, batch, labels).double().cpu().numpy()
    maps = np.zeros_like(attributions)
    for i, image in enumerate(batch.double().cpu().numpy()):
        segments = membership(image)
        for k, attribution in enumerate(attributions[i]):
            maps[i, k] = ranked(segments, attribution.ravel()).reshape(attribution.shape)
    return torch.from_numpy(maps).to(batch)


def attributions_of(net: Classifier, batch: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the mean of integrated gradients from black and from white, ``(N, M, *spatial)``."""
    dims = tuple(range(1, batch.ndim))
    black, white = (end(dim=dims, keepdim=True).expand_as(batch) for end in (batch.amin, batch.amax))
    return (
        path_integral(net, batch, black, labels, N_STEPS // 2) + path_integral(net, batch, white, labels, N_STEPS // 2)
    ) / 2


def membership(image: np.ndarray) -> sparse.csr_array:
    """Return ``(S, P)``: 1 where one of S segments of an image ``(C, *spatial)`` has one of its P pixels."""
    shape = image.shape[1:]
    radius = round(GROWN_BY * max(shape) / PAPER_SIDE)
    members = [grown for labels in over_segmentations(image) for grown in _grown_segments(labels, radius)]
    starts = np.cumsum([0, *map(len, members)])
    columns = np.concatenate(members)
    return sparse.csr_array((np.ones(len(columns)), columns, starts), shape=(len(members), int(np.prod(shape))))


def over_segmentations(image: np.ndarray) -> Iterator[np.typing.NDArray[np.intp]]:
    """Yield the number of each pixel's segment, from 1, in six segmentations of an image ``(C, *spatial)``."""
    from skimage.segmentation import felzenszwalb, slic

    low, high = image.min(), image.max()
    scaled = (image - low) / (high - low) * 2 - 1 if high > low else np.zeros_like(image)
    n_pixels = image[0].size
    if image.ndim == 3:
        for scale in SCALES:
            least = max(round(_grown(LEAST_SEGMENT, n_pixels)), 1)
            yield felzenszwalb(scaled, _grown(scale, n_pixels), SMOOTHING, least, channel_axis=0) + 1
    else:
        for n in SUPERVOXELS:
            most = max(n_pixels // LEAST_SUPERVOXEL, 1)
            yield slic(scaled, min(n, most), COMPACTNESS, channel_axis=0, start_label=1)


def ranked(segments: sparse.csr_array, attribution: np.ndarray) -> np.ndarray:
    """Return the map ``(P,)`` of an attribution ``(P,)``; what no segment adds has its own mean.

    >>> two = sparse.csr_array(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
    >>> ranked(two, np.array([4.0, 2.0, 1.0])).tolist()
    [3.0, 3.0, 1.0]
    """
    values, free = np.zeros_like(attribution), np.ones(len(attribution), dtype=bool)
    by_pixel, sums, areas = segments.tocsc(), segments @ attribution, segments.sum(axis=1)
    least = max(round(_grown(LEAST_ADDED, len(attribution))), 1)
    while (worth := areas >= least).any():
        best = np.where(worth, sums / np.maximum(areas, 1), -np.inf).argmax()
        added = segments.indices[segments.indptr[best] : segments.indptr[best + 1]]
        added = added[free[added]]
        values[added], free[added] = attribution[added].mean(), False
        # Each pixel is taken off once in all, so that an image costs as much as its segments have pixels.
        columns = by_pixel[:, added]
        sums, areas = sums - columns @ attribution[added], areas - columns.sum(axis=1)
    if free.any():
        values[free] = attribution[free].mean()
    return values


def _grown(paper: float, n_pixels: int) -> float:
    """Return a number of pixels, given for the paper's images, for one of `n_pixels`."""
    return paper * n_pixels / PAPER_SIDE**2


def _grown_segments(labels: np.typing.NDArray[np.intp], radius: int) -> Iterator[np.typing.NDArray[np.intp]]:
    """Yield the flat indices of each segment, grown by `radius` pixels in every direction."""
    places = np.arange(labels.size).reshape(labels.shape)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            around = tuple(
                slice(max(part.start - radius, 0), min(part.stop + radius, side))
                for part, side in zip(box, labels.shape, strict=True)
            )
            outside = labels[around] != number
            yield places[around][ndimage.distance_transform_edt(outside) <= radius if radius else ~outside]
