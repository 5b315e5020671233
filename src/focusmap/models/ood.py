"""Out-of-distribution (OOD) check: does an image look like those of train? A model answers for any image.

Two plain descriptions of an image, standardised by itself as a net is shown it, are held against those of train: its
grey values with its edges, and its layout. The distance is Mahalanobis' with a shrunken covariance (Ledoit and Wolf,
J. Multivariate Anal. 88 (2004), 365-411). Lee et al. (NeurIPS 2018, arXiv:1807.03888) take that distance on a net's
features, to the nearest class; here it is taken on descriptions made by hand, to all of train: models without a net
have it too, and no label is asked for. Tune says how far its own images lie. What lies farther is unlike; of what
does not, nothing is promised: it may still be of another device, or of a disease that train does not have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from focusmap.basics import ModelError, atomic
from focusmap.evaluation import Showing, standings_of, whys_in
from focusmap.study import Run

# So many cells a side, by the number of spatial axes.
FINE, LAYOUT = {2: 48, 3: 24}, {2: 8, 3: 4}
# Histograms of standardised grey values, and of slopes in powers of two; the least slope is added, for what is flat.
GREY_BINS, GREY_RANGE = 16, (-2.5, 2.5)
SLOPE_BINS, LOG2_SLOPE_RANGE = 8, (-8.0, 2.0)
LEAST_SLOPE = 2.0 ** (LOG2_SLOPE_RANGE[0] - 1)
# Of fewer images nothing is known of how far they lie.
FEWEST = 20
# A limit is what 99 % of tune keep within, and a little more: tune is small.
WITHIN, MARGIN = 0.99, 1.05
KEYS = ("centre", "precision", "limit")
# Counted up when a description changes: what was saved of another is of no use.
VERSION = 1
UNLIKE = "unlike the images of train in "


def describe_greys(image: np.ndarray) -> np.ndarray:
    """Return shares (their roots) of grey values and of slopes at three scales; of several channels their means too."""
    grey, channels = _standardised(image)
    fine = cells(grey, FINE[grey.ndim])
    shares = [_shares(fine, GREY_BINS, GREY_RANGE)]
    for factor in (1, 2, 4):
        coarse = cells(grey, FINE[grey.ndim] // factor)
        slopes = [np.gradient(coarse, axis=axis) for axis in range(coarse.ndim) if coarse.shape[axis] > 1]
        steepness = np.sqrt(np.sum(np.square(slopes), axis=0)) if slopes else np.zeros(1)
        shares.append(_shares(np.log2(steepness + LEAST_SLOPE), SLOPE_BINS, LOG2_SLOPE_RANGE))
    return np.concatenate([*shares, channels])


def describe_layout(image: np.ndarray) -> np.ndarray:
    """Return the mean grey value of each of 8 x 8 cells, or 4 x 4 x 4 of a volume."""
    grey, _ = _standardised(image)
    return cells(grey, LAYOUT[grey.ndim]).ravel()


ASPECTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "grey values and edges": describe_greys,
    "layout": describe_layout,
}


@dataclass(frozen=True)
class Aspect:
    """What one description is like on train, and how far images of tune lie from that.

    Parameters
    ----------
    centre : (D,)
    precision : (D, D)
        Inverse of the covariance.
    limit
        Distance beyond which an image counts as unlike: 1.05 times what 99 % of tune keep within.
    """

    centre: np.ndarray
    precision: np.ndarray
    limit: float

    def __post_init__(self) -> None:
        if self.precision.shape != (len(self.centre),) * 2 or np.ndim(self.limit):
            raise ValueError(f"precision {self.precision.shape} and limit do not fit a centre of {len(self.centre)}")

    def distances(self, descriptions: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance ``(N,)`` of descriptions ``(N, D)``."""
        apart = descriptions - self.centre
        return np.asarray(np.sqrt(np.maximum(np.einsum("nd,de,ne->n", apart, self.precision, apart), 0)))


@dataclass(frozen=True)
class Ood:
    """What images of train look like, by the names of `ASPECTS`; of several trains, an image may be like any."""

    aspects: Mapping[str, Sequence[Aspect]]

    def unlike(self, image: np.ndarray) -> str:
        """Return in what an image ``(C, *spatial)`` is unlike those of train, in words; empty where in nothing.

        It may be prepared or standardised: a description does not change with brightness and contrast.
        """
        names = []
        for name, aspects in self.aspects.items():
            description = ASPECTS[name](image)[np.newaxis]
            if all(aspect.distances(description)[0] > aspect.limit for aspect in aspects):
                names.append(name)
        return f"{UNLIKE}{' and in '.join(names)}" if names else ""


def fit_ood(train: Sequence[np.ndarray], tune: Sequence[np.ndarray]) -> Ood | None:
    """Return what images ``(C, *spatial)`` of train look like; None where train or tune has fewer than 20."""
    from sklearn.covariance import LedoitWolf

    if min(len(train), len(tune)) < FEWEST:
        return None
    aspects = {}
    for name, describe in ASPECTS.items():
        of_train, of_tune = (np.stack([describe(image) for image in part]) for part in (train, tune))
        fitted = LedoitWolf().fit(of_train)
        aspect = Aspect(fitted.location_, fitted.precision_, np.inf)
        limit = MARGIN * float(np.quantile(aspect.distances(of_tune), WITHIN))
        aspects[name] = [Aspect(aspect.centre, aspect.precision, limit)]
    return Ood(aspects)


def ood_of_any(oods: Sequence[Ood]) -> Ood:
    """Return what the images of several trains look like."""
    return Ood({name: [aspect for ood in oods for aspect in ood.aspects[name]] for name in ASPECTS})


def save_ood(ood: Ood, path: Path) -> None:
    """Write what `read_ood` reads."""
    arrays = {
        f"{name}.{key}": np.stack([getattr(aspect, key) for aspect in aspects])
        for name, aspects in ood.aspects.items()
        for key in KEYS
    }
    with atomic(path) as temporary:
        save_file({**arrays, "version": np.array(VERSION)}, temporary)


def read_ood(path: Path) -> Ood | None:
    """Return what was saved; None of no file, or of one with other descriptions; `ModelError` if it is damaged."""
    if not path.is_file():
        return None
    try:
        arrays = load_file(path)
        if arrays["version"] != VERSION:
            return None
        of_each = {name: zip(*(arrays[f"{name}.{key}"] for key in KEYS), strict=True) for name in ASPECTS}
        return Ood({name: [Aspect(*values) for values in rows] for name, rows in of_each.items()})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is damaged. Delete it, and no image is flagged, or copy the model again.") from error


def cells(values: np.ndarray, n: int) -> np.ndarray:
    """Return the means over at most `n` cells along each axis.

    >>> cells(np.array([[1.0, 3.0, 5.0, 7.0]]), 2).tolist()
    [[2.0, 6.0]]
    """
    for axis, side in enumerate(values.shape):
        starts = np.linspace(0, side, min(n, side), endpoint=False).astype(int)
        sizes = np.diff([*starts, side]).reshape([-1 if k == axis else 1 for k in range(values.ndim)])
        values = np.add.reduceat(values, starts, axis=axis) / sizes
    return values


def _standardised(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over channels, with mean 0 and deviation 1, and how much brighter than it each of several is."""
    channels = np.asarray(image, dtype=np.float64)
    grey = channels.mean(axis=0)
    deviation = float(grey.std()) or 1.0
    apart = (channels.reshape(len(channels), -1).mean(axis=1) - grey.mean()) / deviation
    return (grey - grey.mean()) / deviation, apart if len(channels) > 1 else np.empty(0)


def _shares(values: np.ndarray, n: int, ends: tuple[float, float]) -> np.ndarray:
    """Return the roots of the shares of values in `n` steps between two ends; what lies beyond is in the last steps."""
    counts, _ = np.histogram(np.clip(values, *ends), n, ends)
    return np.asarray(np.sqrt(counts / values.size))


OOD_FILE = "likeness.safetensors"


def share_ood(run: Run) -> None:
    """Let the ensemble of a run's folds know what each fold knows: an image may be like the train of any."""
    if known := [ood for part in run.parts() if (ood := ood_of(part.folder)) is not None]:
        save_ood(ood_of_any(known), run.model / OOD_FILE)


def ood_of(folder: Path) -> Ood | None:
    """Return what train of a run, or of a model folder itself, looks like; None where that is not known."""
    place = folder if (folder / "model.json").is_file() else Run(folder).model
    return read_ood(place / OOD_FILE)


def showing_of(folder: Path) -> Showing:
    """Return what may be shown of the model of a run, or of a model folder itself."""
    ood = ood_of(folder)
    return Showing(whys_in(standings_of(folder)), None if ood is None else ood.unlike)
