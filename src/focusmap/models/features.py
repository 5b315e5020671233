"""What can be measured of an image without a net: histograms, moments, shape, texture, gradients, words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
import skimage

Pixels: TypeAlias = np.typing.NDArray[np.uint8]
"""One prepared image, ``(C, H, W)``."""

# Images are brought to one side first, so that a number means the same whatever the store's size.
SIDE, HOG_SIDE, SIFT_SIDE = 128, 64, 96
GREY_LEVELS = 32
LBP_RINGS = ((8, 1), (16, 2))
GLCM_DISTANCES, GLCM_PROPERTIES = (1, 2, 4), ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
PYRAMID_LEVELS, PYRAMID_GRID = 4, 4
CONTOUR_BINS = 16
N_WORDS, SIFT_STEP, SIFT_SIZES, MAX_DESCRIPTORS = 128, 8, (8.0, 16.0), 20_000


def _grey(image: Pixels, side: int) -> Pixels:
    plane = image[0] if len(image) == 1 else cv2.cvtColor(_last(image), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _last(image: Pixels) -> Pixels:
    return np.ascontiguousarray(np.moveaxis(image, 0, -1))


def histogram(image: Pixels) -> np.ndarray:
    """Return counts of grey values in 32 steps; of a colour image those of red, green and blue after them."""
    planes = [_grey(image, SIDE)] + ([] if len(image) == 1 else list(image))
    return np.concatenate([np.histogram(plane, GREY_LEVELS, (0, 256))[0] for plane in planes])


def moments(image: Pixels) -> np.ndarray:
    """Return mean, deviation, skewness, kurtosis and entropy of grey values; mean and deviation of 3 x 3 parts."""
    from scipy.stats import kurtosis, skew

    grey = _grey(image, 3 * (SIDE // 3)).astype(np.float64)
    flat = grey.ravel()
    varies = flat.std() > 0
    whole = [flat.mean(), flat.std(), skew(flat) if varies else 0, kurtosis(flat) if varies else 0]
    parts = grey.reshape(3, SIDE // 3, 3, SIDE // 3)
    return np.array(
        [
            *whole,
            skimage.measure.shannon_entropy(grey),
            *parts.mean(axis=(1, 3)).ravel(),
            *parts.std(axis=(1, 3)).ravel(),
        ]
    )


def shape(image: Pixels) -> np.ndarray:
    """Return Hu's seven moments and the contour of what Otsu's threshold makes bright.

    Moments are on a logarithmic scale with their sign (Hu 1962). Of the largest contour: its share of the image, its
    circularity, and the histogram of its points' distances from its centre, in sixteenths of the largest.
    """
    grey = _grey(image, SIDE)
    _, bright = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    hu = cv2.HuMoments(cv2.moments(bright, binaryImage=True)).ravel()
    logged = -np.sign(hu) * np.log10(np.abs(hu) + 1e-30)
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.concatenate([logged, np.zeros(2 + CONTOUR_BINS)])
    contour = max(contours, key=cv2.contourArea)
    area, length = cv2.contourArea(contour), cv2.arcLength(contour, True)
    points = contour[:, 0].astype(np.float64)
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    counts = np.histogram(distance / (distance.max() or 1.0), CONTOUR_BINS, (0, 1))[0] / len(points)
    return np.concatenate([logged, [area / SIDE**2, 4 * np.pi * area / max(length, 1.0) ** 2], counts])


def texture(image: Pixels) -> np.ndarray:
    """Return contrast, dissimilarity, homogeneity, energy and correlation of neighbouring grey values.

    Of the co-occurrence matrices of 32 grey values (Haralick et al. 1973) at three distances, mean and range over four
    directions.
    """
    levels = _grey(image, SIDE) // (256 // GREY_LEVELS)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrices = skimage.feature.graycomatrix(levels, GLCM_DISTANCES, angles, GREY_LEVELS, symmetric=True, normed=True)
    properties = [skimage.feature.graycoprops(matrices, name) for name in GLCM_PROPERTIES]
    return np.concatenate([part for values in properties for part in (values.mean(axis=1), np.ptp(values, axis=1))])


def lbp(image: Pixels) -> np.ndarray:
    """Return counts of uniform local binary patterns on two rings (Ojala et al. 2002)."""
    grey = _grey(image, SIDE)
    patterns = [
        skimage.feature.local_binary_pattern(grey, n_points, radius, "uniform") for n_points, radius in LBP_RINGS
    ]
    sizes = [n_points + 2 for n_points, _ in LBP_RINGS]
    return np.concatenate(
        [np.bincount(codes.ravel().astype(int), minlength=n) for codes, n in zip(patterns, sizes, strict=True)]
    )


def hog(image: Pixels) -> np.ndarray:
    """Return histograms of gradients: 9 directions, cells of 8 pixels, blocks of 2 x 2 (Dalal, Triggs 2005)."""
    cells = {"orientations": 9, "pixels_per_cell": (8, 8), "cells_per_block": (2, 2)}
    return np.asarray(skimage.feature.hog(_grey(image, HOG_SIDE), **cells))


def pyramid(image: Pixels) -> np.ndarray:
    """Return the energy of each level of a Laplacian pyramid (Burt, Adelson 1983) in 4 x 4 parts, as its logarithm."""
    grey, energies = _grey(image, SIDE).astype(np.float32), []
    for _ in range(PYRAMID_LEVELS):
        smaller = cv2.pyrDown(grey)
        band = grey - cv2.pyrUp(smaller, dstsize=grey.shape[::-1])
        step = len(band) // PYRAMID_GRID
        parts = np.square(band).reshape(PYRAMID_GRID, step, PYRAMID_GRID, step).mean(axis=(1, 3))
        energies.append(np.log1p(parts).ravel())
        grey = smaller
    return np.concatenate(energies)


def sift(image: Pixels) -> np.ndarray:
    """Return SIFT descriptors ``(n, 128)`` on a grid, of two sizes (Lowe 2004), as square roots of their shares."""
    grey = _grey(image, SIFT_SIDE)
    places = range(SIFT_STEP, SIFT_SIDE - SIFT_STEP + 1, SIFT_STEP)
    points = [cv2.KeyPoint(float(x), float(y), size) for size in SIFT_SIZES for y in places for x in places]
    _, descriptors = cv2.SIFT.create().compute(grey, points)
    # Hellinger's kernel (Arandjelovic and Zisserman 2012, section 2): Euclidean distances then compare histograms.
    return np.asarray(np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)))


MEASURED: Mapping[str, Callable[[Pixels], np.ndarray]] = {
    "histogram": histogram, "lbp": lbp, "moments": moments, "shape": shape, "texture": texture, "hog": hog,
    "pyramid": pyramid,
}  # fmt: skip
BAG = "sift-bow"


@dataclass(frozen=True)
class ImageFeatures:
    """Features of images, side by side.

    Parameters
    ----------
    names
        In order.
    words
        ``(W, 128)``: visual words, found on train; empty unless ``sift-bow`` is among the names.
    """

    names: tuple[str, ...]
    words: np.ndarray = field(default_factory=lambda: np.empty((0, 128), np.float32))

    def __call__(self, images: np.typing.NDArray[np.uint8]) -> np.ndarray:
        """Return the features ``(N, K) float32`` of prepared images ``(N, C, H, W) uint8``."""
        rows = [np.concatenate([self._of(name, image) for name in self.names]) for image in images]
        return np.array(rows, dtype=np.float32)

    def _of(self, name: str, image: Pixels) -> np.ndarray:
        return _bag(sift(image), self.words) if name == BAG else MEASURED[name](image)


def fit_features(names: Sequence[str], images: np.typing.NDArray[np.uint8], seed: int) -> ImageFeatures:
    """Return the features called `names`; visual words are the means of clusters of the training images' descriptors.

    Parameters
    ----------
    names
        Of `focusmap.study.recipe_parts.FEATURES`.
    images
        ``(N, C, H, W) uint8``, of train.
    seed
        Of the clusters (Csurka et al. 2004, Visual categorization with bags of keypoints).
    """
    if BAG not in names:
        return ImageFeatures(tuple(names))
    from sklearn.cluster import MiniBatchKMeans

    descriptors = np.concatenate([sift(image) for image in images])
    chosen = np.random.default_rng(seed).permutation(len(descriptors))[:MAX_DESCRIPTORS]
    n_words = min(N_WORDS, len(chosen))
    clusters = MiniBatchKMeans(n_words, random_state=seed, n_init=1, batch_size=2048).fit(descriptors[np.sort(chosen)])
    return ImageFeatures(tuple(names), clusters.cluster_centers_.astype(np.float32))


def _bag(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return how often each word is the nearest to a descriptor."""
    distance = np.square(words).sum(axis=1) - 2 * descriptors @ words.T
    return np.bincount(distance.argmin(axis=1), minlength=len(words))
