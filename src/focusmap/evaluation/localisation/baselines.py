"""Maps that know nothing of the label or nothing of the image: what a heat map must be better than."""

from collections.abc import Iterable

import numpy as np

BASELINES = ("mean_mask", "centre", "edges", "random")
GRID = 64
CENTRE_SIGMA = 0.25  # of the side


def mean_mask(masks: Iterable[np.ndarray]) -> np.ndarray | None:
    """Return the mean of the training masks on a grid of 64 a side; None where every mask is empty.

    On SIIM pneumothorax this alone is as good as Grad-CAM (Arun et al. 2021).

    Parameters
    ----------
    masks
        ``(*spatial) bool`` each, of any size; empty ones are left out.

    >>> mean_mask([np.ones((8, 8), bool), np.zeros((8, 8), bool)]).mean()
    np.float32(1.0)
    """
    total, n = np.zeros(()), 0
    for mask in masks:
        if mask.any():
            total = total + resized(mask.astype(np.float32), (GRID,) * mask.ndim)
            n += 1
    return (total / n).astype(np.float32) if n else None


def centre_map(shape: tuple[int, ...]) -> np.ndarray:
    """Return a Gaussian on the middle of the image, a quarter of each side wide, 1 at its centre.

    >>> centre_map((3, 3)).argmax()
    np.int64(4)
    """
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    squared = sum(x**2 for x in np.meshgrid(*axes, indexing="ij"))
    return np.asarray(np.exp(-squared / (2 * CENTRE_SIGMA**2)), dtype=np.float32)


def edges_map(image: np.ndarray) -> np.ndarray:
    """Return the Sobel gradient magnitude of an image ``(C, *spatial)``, its channels averaged.

    An edge detector looks like a good saliency map (Adebayo et al. 2018).

    >>> edges_map(np.array([[[0, 0, 1, 1]] * 3]))[1].tolist()
    [0.0, 4.0, 4.0, 0.0]
    """
    from scipy.ndimage import sobel

    grey = image.mean(axis=0, dtype=np.float32)
    squared = sum(sobel(grey, axis=axis) ** 2 for axis in range(grey.ndim))
    return np.asarray(np.sqrt(squared), dtype=np.float32)


def random_map(shape: tuple[int, ...], seed: Iterable[int]) -> np.ndarray:
    """Return uniform noise between 0 and 1; the same seed gives the same map."""
    return np.random.default_rng(list(seed)).random(shape, dtype=np.float32)


def resized(heat_map: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the map on a grid of `shape`, linear between the centres of its cells, averaged where it shrinks."""
    from scipy.ndimage import uniform_filter, zoom

    factors = [new / old for new, old in zip(shape, heat_map.shape, strict=True)]
    window = [max(round(1 / factor), 1) for factor in factors]
    smooth = heat_map.astype(np.float32)
    if max(window) > 1:
        smooth = uniform_filter(smooth, window, mode="nearest")
    return np.asarray(zoom(smooth, factors, order=1, mode="nearest", grid_mode=True), dtype=np.float32)
