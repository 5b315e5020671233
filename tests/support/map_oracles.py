"""Slow, obvious versions of the heat maps, each from its paper: one image, one label, one number at a time."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

Net = Callable[[Tensor], Tensor]


def head_gradient(classify: Net, features: Tensor, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (K, *grid) of one image and dy/dA, by one backward pass."""
    features = features.detach().clone().requires_grad_()
    classify(features)[0, label].backward()
    return features.detach()[0].numpy(), features.grad[0].numpy()


def cells(activation: np.ndarray) -> Iterator[tuple[int, ...]]:
    return product(*(range(n) for n in activation.shape[1:]))


def cam(weights: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Zhou et al. 2016, equation 2."""
    return sum(w * a for w, a in zip(weights, activation, strict=True))


def grad_cam(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2."""
    weighted = np.zeros(activation.shape[1:])
    for k in range(len(activation)):
        weighted += gradient[k].mean() * activation[k]
    return np.maximum(weighted, 0)


def hires_cam(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Draelos and Carin 2020, equation 4."""
    found = np.zeros(activation.shape[1:])
    for cell in cells(activation):
        found[cell] = sum(gradient[k][cell] * activation[k][cell] for k in range(len(activation)))
    return np.maximum(found, 0)


def layer_cam(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Jiang et al. 2021, equations 5 to 7: each cell has its own weight."""
    found = np.zeros(activation.shape[1:])
    for cell in cells(activation):
        found[cell] = sum(max(gradient[k][cell], 0) * activation[k][cell] for k in range(len(activation)))
    return np.maximum(found, 0)


def grad_cam_plus_plus(classify: Net, features: Tensor, label: int) -> np.ndarray:
    """Chattopadhay et al. 2018, equations 5 and 10, with Y = exp(y): every derivative by autograd, cell by cell.

    Divided by exp(y), which is the same for every cell. The derivatives of y itself beyond the first must vanish, as
    the paper assumes.
    """
    features = features.detach().clone().requires_grad_()
    logit = classify(features)[0, label]
    score = logit.exp()
    (first,) = torch.autograd.grad(score, features, create_graph=True)
    found = torch.zeros(features.shape[2:], dtype=features.dtype)
    for k in range(features.shape[1]):
        weight = 0.0
        for cell in cells(features[0].detach()):
            place = (0, k, *cell)
            second = torch.autograd.grad(first[place], features, create_graph=True)[0][place]
            third = torch.autograd.grad(second, features, retain_graph=True)[0][place]
            alpha = second / (2 * second + features[0, k].sum() * third)
            weight += float((alpha * first[place].clamp(min=0)).detach())
        found += weight * features.detach()[0, k]
    return (found.clamp(min=0) / score.detach()).numpy()


def eigen_cam(activation: np.ndarray) -> np.ndarray:
    """Muhammad and Yeasin 2020: the first principal direction by repeated multiplication, then the projection on it."""
    matrix = activation.reshape(len(activation), -1).T
    direction = np.ones(len(activation))
    for _ in range(2000):
        direction = matrix.T @ (matrix @ direction)
        direction /= np.linalg.norm(direction)
    projected = matrix @ direction
    return (projected * (-1 if projected.sum() < 0 else 1)).reshape(activation.shape[1:])


def ablation_cam(classify: Net, features: Tensor, label: int) -> np.ndarray:
    """Ramaswamy and Desai 2020, equations 3 and 4, times the logit, which the paper divides by."""
    found = np.zeros(features.shape[2:])
    with torch.no_grad():
        logit = float(classify(features)[0, label])
        for k in range(features.shape[1]):
            ablated = features.clone()
            ablated[0, k] = 0
            found += (logit - float(classify(ablated)[0, label])) / logit * features[0, k].numpy()
    return np.maximum(found * logit, 0)


def score_cam(net: Net, image: Tensor, features: Tensor, label: int) -> np.ndarray:
    """Wang et al. 2020, algorithm 1, features (1, K, *grid) of one image; the baseline is an empty image."""
    mode = {2: "bilinear", 3: "trilinear"}[image.ndim - 1]
    increases = []
    with torch.no_grad():
        for k in range(features.shape[1]):
            mask = torch.nn.functional.interpolate(features[:, k : k + 1], image.shape[1:], mode=mode)[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else 0 * mask
            empty = net(torch.zeros_like(image)[None])[0, label]
            increases.append(float(net((image * mask)[None])[0, label] - empty))
    exponentials = np.exp(increases)
    return np.maximum(cam(exponentials / exponentials.sum(), features[0].numpy()), 0)


def gradient(net: Net, image: Tensor, label: int) -> np.ndarray:
    """dy/dx of one image (C, *spatial)."""
    x = image.detach().clone()[None].requires_grad_()
    net(x)[0, label].backward()
    return x.grad[0].numpy()


def saliency(net: Net, image: Tensor, label: int) -> np.ndarray:
    """Simonyan et al. 2014, section 3.1."""
    return np.abs(gradient(net, image, label)).max(axis=0)


def smooth_grad(net: Net, image: Tensor, label: int, noises: list[Tensor]) -> np.ndarray:
    """Smilkov et al. 2017, section 2.1, with noise of 15 % of the image's range."""
    total = np.zeros(image.shape)
    for noise in noises:
        total += gradient(net, image + 0.15 * (image.max() - image.min()) * noise.to(image), label)
    return np.abs(total / len(noises)).max(axis=0)


def integrated_gradients(net: Net, image: Tensor, label: int, n_steps: int) -> np.ndarray:
    """Sundararajan et al. 2017, equation 1, by the midpoint rule from the baseline 0."""
    return path_integral(net, image, torch.zeros_like(image), label, n_steps)


def path_integral(net: Net, image: Tensor, start: Tensor, label: int, n_steps: int) -> np.ndarray:
    """Sundararajan et al. 2017, equation 1, by the midpoint rule from any baseline."""
    total = np.zeros(image.shape)
    for step in range(n_steps):
        total += gradient(net, start + (step + 0.5) / n_steps * (image - start), label)
    return ((image - start).numpy() * total / n_steps).sum(axis=0)


def occlusion(net: Net, image: Tensor, label: int, patches: list[tuple[slice, ...]]) -> np.ndarray:
    """Zeiler and Fergus 2014, section 4.2: the mean loss over all patches that cover a pixel."""
    losses: dict[tuple[int, ...], list[float]] = {cell: [] for cell in cells(image)}
    with torch.no_grad():
        for patch in patches:
            hidden = image.clone()
            hidden[(slice(None), *patch)] = 0
            loss = float(net(image[None])[0, label] - net(hidden[None])[0, label])
            for cell in product(*(range(part.start, part.stop) for part in patch)):
                losses[cell].append(loss)
    found = np.zeros(image.shape[1:])
    for cell, covering in losses.items():
        found[cell] = sum(covering) / len(covering)
    return found


def layer_cam_of_stages(head: Net, stages: list[Tensor], label: int) -> np.ndarray:
    """Jiang et al. 2021: LayerCAM of every stage, scaled, enlarged to the finest and joined by the maximum.

    `head` goes from the finest stage of one image to its logits, and keeps what it made of it in `stages`.
    """
    logits = head(stages[0])
    for stage in stages:
        stage.retain_grad()
    logits[0, label].backward(retain_graph=True)
    shape, found = stages[0].shape[2:], []
    for stage in stages:
        one = layer_cam(stage.detach()[0].numpy(), stage.grad[0].numpy())
        one = np.tanh(2 * one / one.max())
        mode = {2: "bilinear", 3: "trilinear"}[one.ndim]
        found.append(torch.nn.functional.interpolate(torch.from_numpy(one)[None, None], shape, mode=mode)[0, 0].numpy())
        stage.grad = None
    return np.maximum.reduce(found)


def rollout(attentions: list[np.ndarray]) -> np.ndarray:
    """Abnar and Zuidema 2020, equation 1, of one image's attentions (heads, T, T), first layer first."""
    n = attentions[0].shape[-1]
    rolled = [[float(i == j) for j in range(n)] for i in range(n)]
    for heads in attentions:
        layer = [[0.5 * float(np.mean(heads[:, i, j])) + 0.5 * (i == j) for j in range(n)] for i in range(n)]
        rolled = [[sum(layer[i][k] * rolled[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
    return np.array(rolled)


def grown(segment: np.ndarray, radius: int) -> np.ndarray:
    """Return a segment (*spatial) bool with all pixels within a radius of it."""
    distances = cdist(np.argwhere(np.ones_like(segment)), np.argwhere(segment))
    return (distances.min(axis=1) <= radius).reshape(segment.shape)


def xrai(attribution: np.ndarray, segments: list[np.ndarray], least: int) -> np.ndarray:
    """Kapishnikov et al. 2019, algorithm 1: what each segment adds has its mean; one that adds less is passed over."""
    found, mask, left = np.zeros(attribution.shape), np.zeros(attribution.shape, dtype=bool), list(segments)
    while left := [segment for segment in left if (segment & ~mask).sum() >= least]:
        gains = [attribution[segment & ~mask].mean() for segment in left]
        best = int(np.argmax(gains))
        found[left[best] & ~mask] = gains[best]
        mask |= left.pop(best)
    if not mask.all():
        found[~mask] = attribution[~mask].mean()
    return found


def copies(n_dims: int, side: int) -> list[tuple[bool, int, tuple[int, ...]]]:
    """Return (mirrored, side, pixels moved along each axis at that side) of every copy of a square or cube."""
    found = []
    for mirrored, size, axis, sign in product((False, True), (1, 0.75, 1.25), range(n_dims + 1), (-1, 1)):
        if axis == n_dims and sign == 1:
            continue  # not moved at all: once
        new = round(size * side)
        found.append((mirrored, new, tuple(sign * round(new / 16) * (axis == k) for k in range(n_dims))))
    return found


def moved(array: np.ndarray, pixels: tuple[int, ...]) -> np.ndarray:
    """Return an array (K, *spatial) moved along each spatial axis; the edge is repeated."""
    found = np.empty_like(array)
    for place in cells(array):
        source = [min(max(i - step, 0), n - 1) for i, step, n in zip(place, pixels, array.shape[1:], strict=True)]
        found[(slice(None), *place)] = array[(slice(None), *source)]
    return found


def mean_over_copies(draw: Net, image: Tensor) -> np.ndarray:
    """Return the mean map (M, *spatial) over all copies of an image (C, *spatial); `draw` gives maps (1, M, *grid)."""
    n_dims, side = image.ndim - 1, image.shape[-1]
    mode = {2: "bilinear", 3: "trilinear"}[n_dims]

    def resized(x: np.ndarray, new: int) -> np.ndarray:
        return torch.nn.functional.interpolate(torch.from_numpy(x)[None], [new] * n_dims, mode=mode)[0].numpy()

    found = []
    for mirrored, new, pixels in copies(n_dims, side):
        copy = image.numpy()[..., ::-1].copy() if mirrored else image.numpy()
        copy = moved(resized(copy, new) if new != side else copy, pixels)
        maps = resized(draw(torch.from_numpy(copy)[None])[0].numpy(), side)
        back = tuple(-int(np.sign(step)) * round(side / 16) for step in pixels)
        maps = moved(maps, back)
        found.append(maps[..., ::-1] if mirrored else maps)
    return sum(found) / len(found)
