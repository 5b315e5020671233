"""The vote: which of the regions that an image proposes is the lesion.

A region's score is a sum over what it looks like and of where the map sees the lesion:

    s(R) = sum_k w_k x_k(R) + p log m(R),        m = 1/2 log(1 + exp(2 e))

with x_k of `FEATURES` and e the mean inside R of what the map has for a lesion, in units of what is high in the images
learnt from: so it says where, and whether too. m is e where that is high, and falls without end where the map speaks
against a lesion: one place may still speak against it less than the others.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from focusmap.basics import Json
from focusmap.images import BRIGHT, DARK, Regions, propose_regions

FEATURES = ("contrast", "size", "form", "extremeness", "border", "off_centre", "height", "in_tissue")
"""Logarithms of contrast and of the share of the image, form, how extreme its grey value is, contact with the border,
squared distance from the middle, position along the first axis (shares of the sides), and how dark what lies around it
is: a head stands out of the air, a tumour of a brain."""
# What breast ultrasound with and without lesions taught, and for what lies around it brain slices (decision 33).
WEIGHTS = (1.0, 0.3, 1.4, 0.25, -0.5, -2.3, 0.0, 1.0)
# Deviations from the mean of the image: what lies around a region is not dark from there on.
NOT_DARK = 0.3
MAP_POWER = 0.5
SHARPNESS = 4.0
LEAST_MAP, LEAST_CONTRAST, MOST_BORDER = 1e-6, 1e-3, 3.0
# Of a map's places, the highest: where it sees the lesion.
HIGHEST = 0.05


@dataclass(frozen=True)
class Candidates:
    """The regions of one case.

    Parameters
    ----------
    features : (N, K)
        What they look like.
    evidence : (N,)
        Mean inside each of what the map has for a lesion, in its own units; below 0 it speaks against one.
    overlap : (N,)
        Dice of each with the map's highest places.
    """

    regions: Regions
    features: np.ndarray
    evidence: np.ndarray
    overlap: np.ndarray

    def of(self, polarity: str) -> "Candidates":
        """Return those of one polarity."""
        own = np.flatnonzero(self.regions.is_dark == (polarity == DARK))
        return Candidates(self.regions.take(own), self.features[own], self.evidence[own], self.overlap[own])


@dataclass(frozen=True)
class Vote:
    """How regions are weighed.

    Parameters
    ----------
    polarity
        Of the regions that are looked at.
    weights
        Of `FEATURES`.
    map_power
        p: 0 leaves the map out.
    map_unit
        What is high inside a region of the maps learnt from.
    evidence, error
        AUROC of the score of images of the tuning set, and its standard error; NaN where it has one class alone.
    """

    polarity: str
    weights: tuple[float, ...] = WEIGHTS
    map_power: float = MAP_POWER
    map_unit: float = 1.0
    evidence: float = float("nan")
    error: float = float("nan")

    def scores(self, candidates: Candidates) -> np.ndarray:
        """Return s of each region, ``(N,)``; higher is more like a lesion."""
        inside = np.logaddexp(0, 2 * candidates.evidence / self.map_unit) / 2
        log_map = np.log(np.maximum(inside, LEAST_MAP))
        return np.asarray(candidates.features @ np.array(self.weights) + self.map_power * log_map)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for a file; NaN as None."""
        values = {name: None if value != value else value for name, value in asdict(self).items()}
        return {**values, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, saved: dict[str, Json]) -> "Vote":
        """Return the vote that was written."""
        values = {name: float("nan") if value is None else value for name, value in saved.items()}
        return cls(**{**values, "weights": tuple(saved["weights"])})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Choice:
    """The chosen region ``(*spatial) bool``, and how far the vote agrees on it: the Dice to be expected, 0 to 1."""

    region: np.ndarray
    confidence: float


def candidates_of(image: np.ndarray, heat_map: np.ndarray, polarities: Sequence[str] = (DARK, BRIGHT)) -> Candidates:
    """Return the regions of an image ``(C, *spatial)`` with a map of it ``(*spatial)``."""
    grey = image.mean(axis=0, dtype=np.float32)
    regions = propose_regions(grey, polarities)
    return Candidates(regions, _features(grey, regions), *seen_in(regions, heat_map))


def seen_in(regions: Regions, heat_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return evidence and overlap of each region, as `Candidates` has them; no overlap with a map of one value."""
    n_highest = max(round(HIGHEST * heat_map.size), 1)
    highest = heat_map >= np.partition(heat_map.ravel(), -n_highest)[-n_highest]
    both = regions.mean_inside(highest.astype(np.float32)) * regions.sizes * (not highest.all())
    return regions.mean_inside(heat_map), 2 * both / (regions.sizes + n_highest)


def _features(grey: np.ndarray, regions: Regions) -> np.ndarray:
    n_axes, places = grey.ndim, grey.size
    standard = (grey - grey.mean()) / (float(grey.std()) or 1.0)
    border = np.ones(grey.shape, np.float32)
    border[tuple(slice(1, -1) for _ in grey.shape)] = 0
    axes = (np.arange(n).reshape(-1, *[1] * (n_axes - k - 1)) for k, n in enumerate(grey.shape))
    shares = [np.broadcast_to((axis + 0.5) / axis.shape[0] - 0.5, grey.shape) for axis in axes]
    centres = np.stack([regions.mean_inside(share) for share in shares], axis=1)
    outline = np.maximum(regions.sizes, 1) ** ((n_axes - 1) / n_axes)
    columns = (
        np.log(regions.contrast + LEAST_CONTRAST),
        np.log(np.maximum(regions.sizes, 1) / places),
        regions.form,
        np.where(regions.is_dark, -1, 1) * regions.mean_inside(standard),
        np.minimum(regions.mean_inside(border) * regions.sizes / outline, MOST_BORDER),
        (centres**2).sum(axis=1),
        centres[:, 0],
        np.minimum(regions.mean_ring(standard), NOT_DARK),
    )
    return np.stack(columns, axis=1)


def choose(vote: Vote, candidates: Candidates) -> Choice:
    """Return the region of the highest score; an empty one, with confidence 0, where the image proposes none.

    The confidence is the mean Dice of the chosen region with all regions, weighed as the vote weighs them.
    """
    regions = candidates.regions
    if not len(regions):
        return Choice(np.zeros(regions.shape, dtype=bool), 0.0)
    scores = vote.scores(candidates)
    best, share = int(scores.argmax()), np.exp(SHARPNESS * (scores - scores.max()))
    mask = regions.mask(best)
    both = np.asarray(regions.inside @ mask.ravel().astype(np.float32))
    dice = 2 * both / (regions.sizes + regions.sizes[best])
    return Choice(mask, float(dice @ share / share.sum()))
