"""Regions that an image itself proposes: closed dark or bright ones of many thresholds and scales, in 2-D and 3-D.

A region is a connected component of the image, or of its locally standardised copy, below or above a threshold: opened
so that bridges break, filled, and kept where its size, its form and its contact with the border are those of a lesion.
Components at thresholds stand for a component tree: the same regions at the levels that are looked at, in 3-D in a
sixteenth of the time (docs/decisions).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import gamma, pi

import numpy as np
from scipy.ndimage import gaussian_filter, label, maximum_filter, minimum_filter
from scipy.sparse import csr_array, vstack

from focusmap.images.image import along, averaging, interpolation

# Regions are looked for on at most so many places, by the number of axes.
PLACES = {2: 128**2, 3: 64**3}
DARK, BRIGHT = "dark", "bright"


@dataclass(frozen=True)
class Proposing:
    """How regions are looked for; lengths are shares of the image's mean side.

    Parameters
    ----------
    smoothing
        Deviations of the Gaussians that the image is smoothed with.
    surroundings
        Deviation of the Gaussian that the locally standardised copy is taken against.
    opening
        Radius of what breaks bridges.
    n_levels
        Thresholds of each copy, at even quantiles.
    least_size, largest_size
        Shares of an image that a region may cover; of a volume, with sides of the same shares, their powers of 3 / 2.
    least_form
        How much of the ellipsoid of its own moments it fills at least: 1 for a solid ellipse.
    border
        How much of a region may lie on the border, as a share of its own outline (that of a ball of its size).
    most
        Regions of one polarity that are kept, those of most contrast first.
    """

    smoothing: tuple[float, ...] = (0.008, 0.02)
    surroundings: float = 0.12
    opening: float = 0.012
    n_levels: int = 24
    least_size: float = 0.004
    largest_size: float = 0.45
    least_form: float = 0.7
    border: float = 0.25
    most: int = 150


@dataclass(frozen=True)
class Regions:
    """Regions of one image.

    Parameters
    ----------
    shape
        Of the grid.
    inside, ring : (N, places) csr_array
        1 where a place lies in a region, or in the ring around it; places in C order.
    is_dark : (N,) bool
        Whether a region is darker than what lies around it.
    form : (N,) float
        As `Proposing.least_form` has it; higher is more compact.
    contrast : (N,) float
        How far the mean of the ring is from that of the region, in deviations of the image; above 0.
    """

    shape: tuple[int, ...]
    inside: "csr_array"
    ring: "csr_array"
    is_dark: np.ndarray
    form: np.ndarray
    contrast: np.ndarray

    def __len__(self) -> int:
        return len(self.is_dark)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Places of each region, ``(N,)``."""
        return np.diff(self.inside.indptr)

    def mean_inside(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of values ``(*shape)`` in each region, ``(N,)``."""
        return np.asarray(self.inside @ values.ravel() / self.sizes)

    def mean_ring(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of values ``(*shape)`` in the ring of each region, ``(N,)``."""
        return np.asarray(self.ring @ values.ravel()) / np.maximum(np.diff(self.ring.indptr), 1)

    def mask(self, i: int) -> np.ndarray:
        """Return region `i`, ``(*shape) bool``."""
        mask = np.zeros(int(np.prod(self.shape)), dtype=bool)
        mask[self.inside.indices[self.inside.indptr[i] : self.inside.indptr[i + 1]]] = True
        return np.asarray(mask.reshape(self.shape))

    def take(self, chosen: np.ndarray) -> "Regions":
        """Return some of the regions, by their positions."""
        parts = {name: getattr(self, name)[chosen] for name in ("inside", "ring", "is_dark", "form", "contrast")}
        return replace(self, **parts)


def propose_regions(
    image: np.ndarray, polarities: Sequence[str] = (DARK, BRIGHT), how: Proposing = Proposing()
) -> Regions:
    """Return the regions that an image ``(*spatial) float`` proposes, the most contrasting of each polarity.

    A constant image proposes none.

    >>> image = np.ones((64, 64))
    >>> image[20:36, 24:40] = 0
    >>> found = propose_regions(image, ("dark",))
    >>> int(found.mask(0)[28, 32]), int(found.mask(0)[2, 2])
    (1, 0)
    """
    grey = image.astype(np.float32)
    grey = (grey - grey.mean()) / (float(grey.std()) or 1.0)
    side = float(np.prod(grey.shape)) ** (1 / grey.ndim)
    by_polarity = [_of_polarity(grey, side, how, is_dark=polarity == DARK) for polarity in polarities]
    return _joined(by_polarity)


def _of_polarity(grey: np.ndarray, side: float, how: Proposing, *, is_dark: bool) -> Regions:
    seen: dict[tuple[int, ...], tuple[np.ndarray, float]] = {}
    for copy in _copies(-grey if is_dark else grey, side, how):
        for places, form, key in _components(copy, side, how):
            seen.setdefault(key, (places, form))
    return _described(grey, list(seen.values()), how, is_dark=is_dark)


def _copies(grey: np.ndarray, side: float, how: Proposing) -> Iterator[np.ndarray]:
    """Yield the image and its locally standardised copy, smoothed: what is sought is bright in them."""
    around = gaussian_filter(grey, how.surroundings * side)
    deviation = np.sqrt(gaussian_filter((grey - around) ** 2, how.surroundings * side))
    local = (grey - around) / np.maximum(deviation, 1e-3)
    for share in how.smoothing:
        for copy in (grey, local):
            yield gaussian_filter(copy, share * side)


def _components(copy: np.ndarray, side: float, how: Proposing) -> Iterator[tuple[np.ndarray, float, tuple[int, ...]]]:
    """Yield flat places, form and what tells it from others, of each component at each threshold."""
    levels = np.unique(np.quantile(copy, np.linspace(0.4, 0.995, how.n_levels)))
    for level in levels:
        filled = _filled(opened(copy >= level, max(round(how.opening * side), 1)))
        labels = _labelled(filled)
        yield from _kept(labels, how)


def opened(region: np.ndarray, radius: int) -> np.ndarray:
    """Return a region opened by a box: bridges that are narrower break."""
    size = 2 * radius + 1
    if region.ndim == 2:
        import cv2

        box = np.ones((size, size), np.uint8)
        grey = region.view(np.uint8)
        return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_OPEN, box, borderType=cv2.BORDER_REPLICATE), dtype=bool)

    worn = minimum_filter(region.astype(np.uint8), size, mode="nearest")
    return np.asarray(maximum_filter(worn, size, mode="nearest"), dtype=bool)


def _labelled(region: np.ndarray) -> np.ndarray:
    if region.ndim == 2:
        import cv2

        return np.asarray(cv2.connectedComponents(region.astype(np.uint8), connectivity=4)[1])

    return np.asarray(label(region)[0])


def _filled(region: np.ndarray) -> np.ndarray:
    """Return a region with its holes: what lies outside and does not reach the border."""
    labels = _labelled(~region)
    outer = np.zeros(labels.max() + 1, dtype=bool)
    outer[labels[_border(region.shape)]] = True
    outer[0] = False
    return np.asarray(~outer[labels])


def _border(shape: tuple[int, ...]) -> np.ndarray:
    border = np.ones(shape, dtype=bool)
    border[tuple(slice(1, -1) for _ in shape)] = False
    return border


def _kept(labels: np.ndarray, how: Proposing) -> Iterator[tuple[np.ndarray, float, tuple[int, ...]]]:
    n = labels.size
    places = np.flatnonzero(labels)
    own = labels.ravel()[places]
    sizes = np.bincount(own)
    least, largest = (n * share ** (labels.ndim / 2) for share in (how.least_size, how.largest_size))
    is_sized = (sizes >= max(least, 5)) & (sizes <= largest)
    places, own = places[is_sized[own]], own[is_sized[own]]
    if not len(places):
        return
    at_border = np.bincount(own, _border(labels.shape).ravel()[places], len(sizes))
    form, centre = _moments(places, own, labels.shape, sizes)
    outline = _outline(sizes, labels.ndim)
    chosen = is_sized & (form >= how.least_form) & (at_border <= how.border * outline)
    order = np.argsort(own, kind="stable")
    ends = np.cumsum(np.bincount(own, minlength=len(sizes)))
    for k in np.flatnonzero(chosen):
        inside = places[order[ends[k] - sizes[k] : ends[k]]]
        # Alike in place and size to a part in ten: the same region at the next threshold.
        width = sizes[k] ** (1 / labels.ndim)
        key = (round(10 * float(np.log(sizes[k]))), *(round(float(c) / (0.1 * width)) for c in centre[k]))
        yield inside, float(form[k]), key


def _outline(sizes: np.ndarray, n_axes: int) -> np.ndarray:
    """Return the surface of balls of these sizes, in places."""
    unit = pi ** (n_axes / 2) / gamma(n_axes / 2 + 1)
    radius = (sizes / unit) ** (1 / n_axes)
    return np.asarray(n_axes * unit * radius ** (n_axes - 1))


def _moments(
    places: np.ndarray, own: np.ndarray, shape: tuple[int, ...], sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return of each label the share of the ellipsoid of its moments that it fills, and its centre ``(L, axes)``.

    With Sigma the covariance of its places in d axes, the ellipsoid has the volume
    V_d (d + 2)^(d / 2) sqrt(det Sigma), V_d that of the unit ball; 1 / 12 is the variance within a place.
    """
    d, n = len(shape), np.maximum(sizes, 1)
    axes = [axis.astype(np.float64) for axis in np.unravel_index(places, shape)]
    centre = np.stack([np.bincount(own, axis, len(sizes)) / n for axis in axes], axis=1)
    moved = [axis - centre[own, k] for k, axis in enumerate(axes)]
    sigma = np.zeros((len(sizes), d, d))
    for i in range(d):
        for j in range(i, d):
            sigma[:, i, j] = sigma[:, j, i] = np.bincount(own, moved[i] * moved[j], len(sizes)) / n
    sigma += np.eye(d) / 12
    ball = pi ** (d / 2) / gamma(d / 2 + 1)
    return sizes / (ball * (d + 2) ** (d / 2) * np.sqrt(np.linalg.det(sigma))), centre


def _described(
    grey: np.ndarray, proposed: Sequence[tuple[np.ndarray, float]], how: Proposing, *, is_dark: bool
) -> Regions:
    """Return regions with their rings and contrasts, the most contrasting first."""
    rings = [_ring(places, grey.shape) for places, _ in proposed]
    flat = grey.ravel()
    sign = -1.0 if is_dark else 1.0
    contrast = np.array(
        [
            sign * (flat[places].mean() - flat[ring].mean()) if len(ring) else 0.0
            for (places, _), ring in zip(proposed, rings, strict=True)
        ]
    )
    order = [int(i) for i in np.argsort(-contrast, kind="stable")[: how.most] if contrast[i] > 0]
    return Regions(
        grey.shape,
        _sparse([proposed[i][0] for i in order], grey.size),
        _sparse([rings[i] for i in order], grey.size),
        np.full(len(order), is_dark),
        np.array([proposed[i][1] for i in order]),
        contrast[order],
    )


def _ring(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the flat places around a region, as wide as a third of its radius and at least two places."""
    radius = (len(places) * gamma(len(shape) / 2 + 1) / pi ** (len(shape) / 2)) ** (1 / len(shape))
    width = max(round(radius / 3), 2)
    axes = np.unravel_index(places, shape)
    start = [max(int(axis.min()) - width, 0) for axis in axes]
    stop = [min(int(axis.max()) + width + 1, n) for axis, n in zip(axes, shape, strict=True)]
    box = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=np.uint8)
    box[tuple(axis - a for axis, a in zip(axes, start, strict=True))] = 1
    around = maximum_filter(box, 2 * width + 1, mode="constant") > box
    inner = np.nonzero(around)
    return np.asarray(np.ravel_multi_index([axis + a for axis, a in zip(inner, start, strict=True)], shape))


def _sparse(rows: Sequence[np.ndarray], n: int) -> "csr_array":
    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return csr_array((np.ones(len(indices), np.float32), indices, ends), shape=(len(rows), n))


def _joined(parts: Sequence[Regions]) -> Regions:
    return Regions(
        parts[0].shape,
        vstack([part.inside for part in parts], format="csr"),
        vstack([part.ring for part in parts], format="csr"),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("is_dark", "form", "contrast")),
    )


def shrunk(values: np.ndarray) -> np.ndarray:
    """Return values ``(*spatial)`` averaged on an evenly coarser grid of at most `PLACES`, the same if it has fewer.

    >>> shrunk(np.ones((512, 256))).shape
    (181, 91)
    """
    factor = (PLACES[values.ndim] / values.size) ** (1 / values.ndim)
    for axis, n in enumerate(values.shape if factor < 1 else ()):
        values = along(averaging(n, 0.0, 1.0, max(round(n * factor), 1)), values, axis)
    return values


def contrast_map(image: np.ndarray) -> np.ndarray:
    """Return the map ``picture_only``, ``(*spatial) float32``: made from the image alone, without any net.

    Of each place the contrast of the most contrasting region that holds it, dark or bright; 0 where none does. Its
    highest values are the one region that stands out most.

    Parameters
    ----------
    image : (C, *spatial)
        Its channels are averaged.
    """
    grey = image.mean(axis=0, dtype=np.float32)
    regions = propose_regions(shrunk(grey))
    contrast = np.zeros(regions.shape, np.float32)
    for i in np.argsort(regions.contrast, kind="stable"):
        contrast[regions.mask(int(i))] = regions.contrast[i]
    for axis, n in enumerate(grey.shape):
        contrast = along(interpolation(contrast.shape[axis], 0.0, 1.0, n), contrast, axis)
    return contrast
