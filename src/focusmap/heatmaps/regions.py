"""XRAI: maps made of regions of the image (Kapishnikov et al. 2019, algorithm 1).

Each pixel's attribution is the mean of integrated gradients from a black and from a white image, so that dark and
bright places may count alike (section 3.1); signed, summed over channels. The image is over-segmented at six scales
(section 3.2), so that most of what it shows is a segment of some scale. Segments are taken one after the other, always
the one with the highest mean attribution over what it adds to those taken before, and what it adds has that mean as its
value (section 3.3). No value is lost: a map adds up to what the attributions add up to.

Two dimensions are segmented as in the paper, by Felzenszwalb and Huttenlocher's graphs. Those are slow beyond, where
segments are SLIC's (Achanta et al. 2012): in a volume, supervoxels, which know nothing of orientation but their seeds'.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from torch import Tensor

from focusmap.heatmaps.gradients import N_STEPS, Classifier, path_integral

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
    found = np.zeros_like(attributions)
    for i, image in enumerate(batch.double().cpu().numpy()):
        segments = membership(image)
        for k, attribution in enumerate(attributions[i]):
            found[i, k] = ranked(segments, attribution.ravel()).reshape(attribution.shape)
    return torch.from_numpy(found).to(batch)


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


def over_segmentations(image: np.ndarray) -> Iterator[NDArray[np.intp]]:
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
    found, free = np.zeros_like(attribution), np.ones(len(attribution), dtype=bool)
    by_pixel, sums, areas = segments.tocsc(), segments @ attribution, segments.sum(axis=1)
    least = max(round(_grown(LEAST_ADDED, len(attribution))), 1)
    while (worth := areas >= least).any():
        best = np.where(worth, sums / np.maximum(areas, 1), -np.inf).argmax()
        added = segments.indices[segments.indptr[best] : segments.indptr[best + 1]]
        added = added[free[added]]
        found[added], free[added] = attribution[added].mean(), False
        # Each pixel is taken off once in all, so that an image costs as much as its segments have pixels.
        columns = by_pixel[:, added]
        sums, areas = sums - columns @ attribution[added], areas - columns.sum(axis=1)
    if free.any():
        found[free] = attribution[free].mean()
    return found


def _grown(paper: float, n_pixels: int) -> float:
    """Return a number of pixels, given for the paper's images, for one of `n_pixels`."""
    return paper * n_pixels / PAPER_SIDE**2


def _grown_segments(labels: NDArray[np.intp], radius: int) -> Iterator[NDArray[np.intp]]:
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
