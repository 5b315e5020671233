"""A region grows from a few points of a lesion over what is like them, and keeps to the edges of the image."""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import dia_array

from focusmap.segmentation.pairs import offsets_within, similarity, squared_distances
from focusmap.segmentation.seeds import IGNORED

# Features of so many voxels are compared with the points at a time: what is computed of them stays in the cache.
CHUNK = 256


def highest_points(heat_map: np.ndarray, share: float, least: int = 5) -> np.ndarray:
    """Return the flat positions of the highest voxels of a map ``(*spatial)``: a share of all, at least `least`.

    >>> highest_points(np.array([[0.1, 0.9], [0.5, 0.2]]), 0.25, least=1).tolist()
    [1]
    """
    n = min(max(round(share * heat_map.size), least), heat_map.size)
    return np.argsort(-heat_map, axis=None, kind="stable")[:n]


def grow(features: torch.Tensor, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how much each voxel is like some points: sum over points of w_p S(p, q), weights made to sum to 1.

    Parameters
    ----------
    features : (K, *spatial)
    points : (P,) int
        Flat positions of the points.
    weights : (P,)
        How much each says, not all 0.

    Returns
    -------
    (*spatial) float32
        Between 0 and 1; those of at least a threshold lambda join the region.
    """
    flat = features.flatten(1).T.float()
    shares = torch.from_numpy(weights / weights.sum()).to(flat)
    own = flat[torch.from_numpy(points).to(flat.device)]
    found = [similarity(squared_distances(own, part)).T @ shares for part in torch.split(flat, CHUNK)]
    return np.asarray(torch.cat(found).reshape(features.shape[1:]).cpu().numpy())


def transitions(features: torch.Tensor, radius: float, beta: float) -> "dia_array[np.float32]":
    """Return the walk's matrix ``(N, N)``: S^beta between voxels no further apart than `radius`, each row of sum 1.

    A voxel may stay where it is, as S(p, p) = 1 says, so that no row is empty. It is stored by diagonals: a step to a
    neighbour is one of them, as a rule, and there are 28 within a radius of 3 in 2-D and 122 in 3-D.
    """
    diagonals = _diagonals(features.float().cpu(), radius, beta)
    n, offsets = diagonals[0].size, np.array(list(diagonals))
    values = np.stack([diagonal.ravel() for diagonal in diagonals.values()])
    matrix: dia_array[np.float32] = dia_array((values, offsets), shape=(n, n))
    sums = matrix @ np.ones(n, np.float32)
    for diagonal, offset in zip(matrix.data, offsets, strict=True):
        diagonal[max(offset, 0) : n + min(offset, 0)] /= sums[max(-offset, 0) : n - max(offset, 0)]
    return matrix


def _diagonals(features: torch.Tensor, radius: float, beta: float) -> dict[int, np.ndarray]:
    """Return S^beta by how far apart flat positions are, ``(*spatial)`` each, by columns as SciPy stores them."""
    shape = tuple(features.shape[1:])
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    found: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(shape, np.float32))
    found[0] += 1
    # S is symmetric: a step and the one back are worked out together.
    for step in (step for step in offsets_within(radius, len(shape)) if step > (0,) * len(shape)):
        if any(abs(by) >= side for by, side in zip(step, shape, strict=True)):
            continue
        here, there = _overlap(step), _overlap([-by for by in step])
        squares = (features[:, *here] - features[:, *there]).square().sum(dim=0)
        like, offset = similarity(squares).pow(beta).numpy(), sum(map(operator.mul, step, strides))
        # In a narrow grid two steps may share a diagonal; they never share a place on it.
        found[offset][there] += like
        found[-offset][here] += like
    return found


def _overlap(step: Sequence[int]) -> tuple[slice, ...]:
    """Return the voxels that have a neighbour at a step: of an axis of 5, those at 0 to 3 have one at +1."""
    return tuple(slice(max(-by, 0), -by if by > 0 else None) for by in step)


def walk(matrix: "dia_array[np.float32]", heat_map: np.ndarray, n_steps: int) -> np.ndarray:
    """Return the map ``(*spatial)`` after so many steps of the walk, each voxel the mean of where it may step to.

    >>> from scipy.sparse import dia_array
    >>> walk(dia_array([[0.5, 0.5], [0.0, 1.0]]), np.array([0.0, 1.0]), 2).tolist()
    [0.75, 1.0]
    """
    walked = heat_map.ravel()
    for _ in range(n_steps):
        walked = matrix @ walked
    return np.asarray(walked).reshape(heat_map.shape)


@dataclass(frozen=True)
class Refining:
    """What an image-edge refinement works on.

    Parameters
    ----------
    image : (C, *spatial)
        Standardised: mean 0 and deviation 1.
    region : (*spatial) float
        What is known so far, between 0 and 1.
    marked : (*spatial) int8
        Seeds: 1 lesion, 0 background, -1 to be decided.
    """

    image: np.ndarray
    region: np.ndarray
    marked: np.ndarray


def keep_as_is(case: Refining) -> np.ndarray:
    """Return the region as it is."""
    return case.region


def random_walker(case: Refining) -> np.ndarray:
    """Return the probability of lesion from the random walker between the seeds (Grady 2006); seeds stay as marked.

    The region itself where either kind of seed is missing.
    """
    from skimage.segmentation import random_walker as walker

    kinds = set(np.unique(case.marked).tolist())
    if not {0, 1} <= kinds:
        return case.region
    if IGNORED not in kinds:
        return np.asarray(case.marked, dtype=np.float32)
    # Its labels are from 1 on, and 0 is to be decided.
    found = walker(
        case.image, case.marked.astype(int) + 1, beta=90, mode="cg_j", tol=1e-5, return_full_prob=True, channel_axis=0
    )
    return np.asarray(found[1], dtype=np.float32)


def superpixels(case: Refining) -> np.ndarray:
    """Return the region's mean within each superpixel (SLIC, Achanta et al. 2012): each votes as a whole."""
    from skimage.segmentation import slic

    shape = case.region.shape
    n_segments = max(int(np.prod(shape) / 4 ** len(shape)), 2)
    segments = slic(case.image, n_segments=n_segments, compactness=0.1, channel_axis=0, start_label=0)
    totals = np.bincount(segments.ravel(), case.region.ravel()) / np.maximum(np.bincount(segments.ravel()), 1)
    return np.asarray(totals[segments], dtype=np.float32)


EDGES: dict[str, Callable[[Refining], np.ndarray]] = {
    "none": keep_as_is,
    "random-walker": random_walker,
    "superpixels": superpixels,
}
