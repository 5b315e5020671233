"""The vote: which of the regions that an image proposes is the lesion, learnt from image-level labels alone.

A region's score is a sum over what it looks like and of where the map sees the lesion:

    s(R) = sum_k w_k x_k(R) + p log m(R)

with x_k of `FEATURES` and m the mean inside R of what the map has for a lesion, in units of what is high in the images
learnt from: so it says where, and whether too. The score of an image is that of its best region,

    S = 1 / T log sum_R exp(T s(R)),        P(lesion) = sigmoid(exp(a) S + b),

and w is what best tells the labelled images apart, held near w_0, `BY_DEFAULT`, by a penalty. So a feature counts as
far as regions that have it are seldom in images without a lesion. How strongly w is held and how much the map counts
are chosen on the tuning set, by how well the scores tell its images apart. Whether lesions are dark or bright is
decided by that, too, and by where the maps of lesions are highest: in regions of which kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf

import numpy as np

from focusmap.basics import Json
from focusmap.images import BRIGHT, DARK, Regions, propose_regions
from focusmap.statistics import Z, auroc, paired_delong

FEATURES = ("contrast", "size", "form", "extremeness", "border", "off_centre", "height", "in_tissue")
"""Logarithms of contrast and of the share of the image, form, how extreme its grey value is, contact with the border,
squared distance from the middle, position along the first axis (shares of the sides), and how dark what lies around it
is: a head stands out of the air, a tumour of a brain."""
# What breast ultrasound with and without lesions taught, and for what lies around it brain slices (docs/results.md):
# where weights start, and what they are where every image has a lesion.
BY_DEFAULT = (1.0, 0.3, 1.4, 0.25, -0.5, -2.3, 0.0, 1.0)
# Deviations from the mean of the image: what lies around a region is not dark from there on.
NOT_DARK = 0.3
MAP_POWERS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MAP_POWER = 0.5
# The last leaves the weights as they are.
PENALTIES = (5.0, 50.0, inf)
SHARPNESS = 4.0
# Of contrast, as a share of its usual weight.
LEAST_WEIGHT = 0.5
# Of images with and of those without a lesion: below it nothing is learnt of their differences.
FEWEST = 8
LEAST_MAP, LEAST_CONTRAST, MOST_BORDER = 1e-2, 1e-3, 3.0
# Of a map's places, the highest: where it sees the lesion.
HIGHEST = 0.05
# Of the images' highest means inside a region, what counts as high.
USUAL = 0.9


@dataclass(frozen=True)
class Candidates:
    """The regions of one case.

    Parameters
    ----------
    features : (N, K)
        What they look like.
    evidence : (N,)
        Mean inside each of what the map has for a lesion, in its own units; at least 0.
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
    is_learnt
        False where every image has a lesion, so that the weights are those by default.
    evidence, error
        AUROC of the score of images of the tuning set, and its standard error; NaN where it has one class alone.
    """

    polarity: str
    weights: tuple[float, ...] = BY_DEFAULT
    map_power: float = MAP_POWER
    map_unit: float = 1.0
    is_learnt: bool = False
    evidence: float = float("nan")
    error: float = float("nan")

    def scores(self, candidates: Candidates) -> np.ndarray:
        """Return s of each region, ``(N,)``; higher is more like a lesion."""
        log_map = np.log(np.maximum(candidates.evidence / self.map_unit, LEAST_MAP))
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
    return regions.mean_inside(np.maximum(heat_map, 0)), 2 * both / (regions.sizes + n_highest)


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


def learn_vote(
    cases: Sequence[Candidates],
    known: np.ndarray,
    tune: Sequence[Candidates] = (),
    known_tune: np.ndarray | None = None,
) -> Vote:
    """Return how regions are weighed, learnt from which images have a lesion and which have none.

    Parameters
    ----------
    cases, tune
        Of train and of the tuning set.
    known, known_tune
        ``(N,)``: 1 with a lesion, 0 without, NaN unknown.
    """
    known_tune = np.full(len(tune), np.nan) if known_tune is None else known_tune
    both, labels = [*cases, *tune], np.concatenate([known, known_tune])
    unit = _unit(both)
    if min((labels == 1).sum(), (labels == 0).sum()) < FEWEST:
        return Vote(_agreeing(both), map_unit=unit)
    taught = {
        polarity: {held: replace(_fitted(polarity, cases, known, held), map_unit=unit) for held in PENALTIES}
        for polarity in (DARK, BRIGHT)
    }
    found = {polarity: _told_apart(votes, tune, known_tune) for polarity, votes in taught.items()}
    with_lesion = [case for case, label in zip(both, labels, strict=True) if label == 1]
    # How well the images of tune are told apart, and where maps are highest.
    apart = {
        polarity: max((area_and_error(one, known_tune)[0] for one in scores.values()), default=0.0)
        + _overlap(polarity, with_lesion)
        for polarity, scores in found.items()
    }
    polarity = max(apart, key=lambda polarity: apart[polarity])
    penalty, power = _chosen(found[polarity], known_tune)
    evidence, error = np.nan, np.nan
    if found[polarity]:
        evidence, error = area_and_error(found[polarity][penalty, power], known_tune)
    vote = _fitted(polarity, both, labels, penalty)
    return Vote(polarity, vote.weights, power, unit, True, evidence, error)


Scores = Mapping[tuple[float, float], np.ndarray]
"""Penalty and map power to the scores of the images of the tuning set ``(N,)``."""


def _told_apart(votes: Mapping[float, Vote], cases: Sequence[Candidates], known: np.ndarray) -> Scores:
    """Return what votes, by their penalties, say of cases with the map to each power; nothing of too few cases."""
    if min((known == 1).sum(), (known == 0).sum()) < FEWEST:
        return {}
    return {
        (penalty, power): image_scores(replace(vote, map_power=power), cases)
        for penalty, vote in votes.items()
        for power in MAP_POWERS
    }


def _chosen(scores: Scores, known: np.ndarray) -> tuple[float, float]:
    """Return penalty and map power: the usual ones where there are no scores to choose by.

    Of all that is within a standard error of the best, the strongest penalty: what labels say of whole images is worth
    little where it tells them apart no better. Of its powers, the nearest to the usual that is not worse than the best
    of them by more than a standard error of the difference.
    """
    if not scores:
        return PENALTIES[-1], MAP_POWER
    reached = {key: area_and_error(one, known) for key, one in scores.items()}
    best, error = max(reached.values())
    penalty = max(penalty for (penalty, _), (area, _) in reached.items() if area >= best - error)
    own = {power: one for (held, power), one in scores.items() if held == penalty}
    best_of_own = max(own.values(), key=lambda one: area_and_error(one, known)[0])
    close = [power for power, one in own.items() if _is_close(best_of_own, one, known)]
    return penalty, min(close, key=lambda power: abs(power - MAP_POWER))


def _is_close(best: np.ndarray, other: np.ndarray, known: np.ndarray) -> bool:
    found = paired_delong(known, best, other, np.arange(len(known)).astype(str)).difference
    error = 0.0 if found.high is None or found.low is None else (found.high - found.low) / (2 * Z)
    return (found.value or 0.0) <= error


def _agreeing(cases: Sequence[Candidates]) -> str:
    """Return the polarity on whose regions the vote agrees more, where no label says which lesions have.

    A lesion is much the same region at many thresholds; other structures are not.
    """
    means = {
        polarity: np.mean([choose(Vote(polarity, map_power=0.0), case.of(polarity)).confidence for case in cases])
        for polarity in (DARK, BRIGHT)
    }
    return max(means, key=lambda polarity: means[polarity])


def _unit(cases: Sequence[Candidates]) -> float:
    """Return what is high inside a region of their maps; 1 where no map has anything for a lesion."""
    highest = [case.evidence.max(initial=0.0) for case in cases]
    return float(np.quantile(highest, USUAL)) or 1.0


def _overlap(polarity: str, cases: Sequence[Candidates]) -> float:
    """Return the mean of the highest overlap that regions of a polarity have with where maps are highest."""
    return float(np.mean([case.of(polarity).overlap.max(initial=0.0) for case in cases]))


def _best(vote: Vote, case: Candidates) -> float:
    """Return the highest score among the regions of the vote's polarity; that of hardly any contrast without one."""
    own = case.of(vote.polarity)
    return float(vote.scores(own).max()) if len(own.regions) else float(np.log(LEAST_CONTRAST))


def image_scores(vote: Vote, cases: Sequence[Candidates]) -> np.ndarray:
    """Return the score of the best region of each case, ``(N,)``."""
    return np.array([_best(vote, case) for case in cases])


def area_and_error(scores: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Return the AUROC of scores of images ``(N,)`` and its standard error (Hanley and McNeil 1982, eq. 1).

    Both are NaN where one of the classes is not there.

    >>> area, error = area_and_error(np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0]))
    >>> round(area, 2), round(error, 2)
    (0.75, 0.28)
    """
    n_with, n_without = int((known == 1).sum()), int((known == 0).sum())
    if not min(n_with, n_without):
        return np.nan, np.nan
    is_known = ~np.isnan(known)
    area = float(auroc(known[is_known] == 1, scores[is_known]))
    same, other = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n_with - 1) * (same - area**2) + (n_without - 1) * (other - area**2)
    return area, float(np.sqrt(max(spread, 0) / (n_with * n_without)))


def _fitted(polarity: str, cases: Sequence[Candidates], known: np.ndarray, penalty: float) -> Vote:
    """Return the weights that best tell images with a lesion from those without, by regions alone of one polarity."""
    from scipy.optimize import minimize

    own = [(case.of(polarity).features, label) for case, label in zip(cases, known, strict=True) if label in (0, 1)]
    rows = [features for features, _ in own if len(features)]
    labels = np.array([label for features, label in own if len(features)])
    if not np.isfinite(penalty) or not (0 < labels.sum() < len(labels)):
        return Vote(polarity, map_power=0.0)
    table = np.concatenate(rows)
    deviations = table.std(axis=0) + 1e-6
    bags = _Bags((table - table.mean(axis=0)) / deviations, np.cumsum([0, *map(len, rows)])[:-1], labels, penalty)
    prior = np.array(BY_DEFAULT) * deviations
    # A region is what stands out: no label may teach that lesions are those that do not.
    bounds = [(LEAST_WEIGHT * prior[0], None), *[(None, None)] * (len(prior) + 1)]
    start = np.concatenate([prior, [0.0, 0.0]])
    found = minimize(bags.loss, start, (prior,), jac=True, method="L-BFGS-B", bounds=bounds)
    return Vote(polarity, tuple(float(value) for value in found.x[:-2] / deviations), 0.0)


@dataclass(frozen=True)
class _Bags:
    """Standardised regions ``(R, K)`` of images that start at `starts` ``(N,)``, the images' labels ``(N,)``."""

    table: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    penalty: float

    def loss(self, values: np.ndarray, prior: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the penalised log loss, as if both classes were as frequent, and its gradient by w, a and b."""
        w, log_scale, offset = values[:-2], values[-2], values[-1]
        owner = np.repeat(np.arange(len(self.starts)), np.diff([*self.starts, len(self.table)]))
        s = self.table @ w
        highest = np.maximum.reduceat(s, self.starts)
        share = np.exp(SHARPNESS * (s - highest[owner]))
        total = np.add.reduceat(share, self.starts)
        of_image = highest + np.log(total) / SHARPNESS
        slopes = np.add.reduceat((share / total[owner])[:, None] * self.table, self.starts)
        scale, y = np.exp(log_scale), self.labels
        z = scale * of_image + offset
        weight = len(y) / 2 * np.where(y == 1, 1 / y.sum(), 1 / (len(y) - y.sum()))
        # log(1 + exp(z)) - y z
        loss = weight @ (np.logaddexp(0, z) - y * z) + self.penalty * ((w - prior) ** 2).sum() + 0.1 * log_scale**2
        g = weight * (0.5 * (1 + np.tanh(z / 2)) - y)
        by_w = scale * g @ slopes + 2 * self.penalty * (w - prior)
        return float(loss), np.array([*by_w, scale * g @ of_image + 0.2 * log_scale, g.sum()])
