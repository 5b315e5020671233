"""The vote: which of the regions that an image proposes is the lesion, learnt from image-level labels alone.

A region's score is a sum over what it looks like and of where the map sees the lesion:

    s(R) = sum_k w_k x_k(R) + p log m(R)

with x_k of `FEATURES` and m the mean inside R of the map, scaled to between 0 and 1 in each image, so that it says
where and not whether. The score of an image is that of its best region,

    S = 1 / T log sum_R exp(T s(R)),        P(lesion) = sigmoid(exp(a) S + b),

and w is what best tells the labelled images apart, held near w_0, contrast alone, by a penalty. So a feature counts as
far as regions that have it are seldom in images without a lesion. How strongly w is held is chosen by the images of
inner folds, of patients that w has not seen. How much the map counts is chosen on the tuning set, since a net's maps of
what it learnt from say more than those of other images; so is, in part, whether lesions are dark or bright.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from focusmap.files import Json
from focusmap.images import BRIGHT, DARK, Regions, propose_regions
from focusmap.statistics import auroc

FEATURES = ("contrast", "size", "form", "extremeness", "border", "off_centre", "height")
"""Logarithms of contrast and of the share of the image, form, how extreme its grey value is, contact with the border,
squared distance from the middle, position along the first axis (shares of the sides)."""
CONTRAST_ALONE = np.array([1.0, 0, 0, 0, 0, 0, 0])
# What breast ultrasound with and without lesions taught (docs/results.md), for where every image has a lesion.
BY_DEFAULT = (1.0, 0.3, 1.4, 0.25, -0.5, -2.3, 0.0)
MAP_POWERS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MAP_POWER = 0.5
PENALTIES = (5.0, 50.0, 500.0)
N_INNER_FOLDS = 3
SHARPNESS = 4.0
# Of contrast, as a share of its usual weight.
LEAST_WEIGHT = 0.5
# Of images with and of those without a lesion: below it nothing is learnt of their differences.
FEWEST = 8
LEAST_MAP, LEAST_CONTRAST, MOST_BORDER = 1e-3, 1e-3, 3.0


@dataclass(frozen=True)
class Candidates:
    """The regions of one case, what they look like ``(N, K)``, and how much of the map lies in each, ``(N,)``."""

    regions: Regions
    features: np.ndarray
    log_map: np.ndarray

    def of(self, polarity: str) -> "Candidates":
        """Return those of one polarity."""
        own = np.flatnonzero(self.regions.is_dark == (polarity == DARK))
        return Candidates(self.regions.take(own), self.features[own], self.log_map[own])


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
    is_learnt
        False where every image has a lesion, so that the weights are those by default.
    evidence, error
        AUROC of the score of images of the tuning set, and its standard error; NaN where it has one class alone.
    """

    polarity: str
    weights: tuple[float, ...] = BY_DEFAULT
    map_power: float = MAP_POWER
    is_learnt: bool = False
    evidence: float = float("nan")
    error: float = float("nan")

    def scores(self, candidates: Candidates) -> np.ndarray:
        """Return s of each region, ``(N,)``; higher is more like a lesion."""
        return np.asarray(candidates.features @ np.array(self.weights) + self.map_power * candidates.log_map)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for a file; NaN as None."""
        told = {name: None if value != value else value for name, value in asdict(self).items()}
        return {**told, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, told: dict[str, Json]) -> "Vote":
        """Return the vote that was written."""
        values = {name: float("nan") if value is None else value for name, value in told.items()}
        return cls(**{**values, "weights": tuple(told["weights"])})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Choice:
    """The chosen region ``(*spatial) bool``, and how far the vote agrees on it: the Dice to be expected, 0 to 1."""

    region: np.ndarray
    confidence: float


def candidates_of(image: np.ndarray, heat_map: np.ndarray, polarities: Sequence[str] = (DARK, BRIGHT)) -> Candidates:
    """Return the regions of an image ``(C, *spatial)`` with a map of it ``(*spatial)``."""
    grey = image.mean(axis=0, dtype=np.float32)
    regions = propose_regions(grey, polarities)
    inside = regions.mean_inside((heat_map - heat_map.min()) / (float(np.ptp(heat_map)) or 1.0))
    return Candidates(regions, _features(grey, regions), np.log(np.maximum(inside, LEAST_MAP)))


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
    patients: Sequence[str] | None = None,
) -> Vote:
    """Return how regions are weighed, learnt from which images have a lesion and which have none.

    Parameters
    ----------
    cases, tune
        Of train and of the tuning set.
    known, known_tune
        ``(N,)``: 1 with a lesion, 0 without, NaN unknown.
    patients
        Of all cases, those of train first: who stays on one side of the inner folds. None: each case is a patient.
    """
    known_tune = np.full(len(tune), np.nan) if known_tune is None else known_tune
    both, labels = [*cases, *tune], np.concatenate([known, known_tune])
    if min((labels == 1).sum(), (labels == 0).sum()) < FEWEST:
        return Vote(_agreeing(both))
    folds = _folds(np.arange(len(both)).astype(str) if patients is None else np.asarray(patients, dtype=str))
    found = [_held(polarity, both, labels, folds) for polarity in (DARK, BRIGHT)]
    fitted = [_fitted(polarity, both, labels, held) for polarity, (held, _) in zip((DARK, BRIGHT), found, strict=True)]
    on_tune = [_with_powers(vote, tune, known_tune) for vote in fitted]
    # How well each tells images of the inner folds apart without the map, and with it those of tune.
    apart = [
        area + max((with_map for with_map, _ in powers.values()), default=0.0)
        for (_, area), powers in zip(found, on_tune, strict=True)
    ]
    best = int(np.argmax(apart))
    vote, power = fitted[best], _map_power(on_tune[best])
    scores = image_scores(Vote(vote.polarity, vote.weights, power), tune)
    return Vote(vote.polarity, vote.weights, power, True, *area_and_error(scores, known_tune))


def _agreeing(cases: Sequence[Candidates]) -> str:
    """Return the polarity on whose regions the vote agrees more, where no label says which lesions have.

    A lesion is much the same region at many thresholds; other structures are not.
    """
    means = {
        polarity: np.mean([choose(Vote(polarity), case.of(polarity)).confidence for case in cases])
        for polarity in (DARK, BRIGHT)
    }
    return max(means, key=lambda polarity: means[polarity])


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


def _with_powers(vote: Vote, cases: Sequence[Candidates], known: np.ndarray) -> dict[float, tuple[float, float]]:
    """Return by `MAP_POWERS` how well a vote tells images apart, with the error; nothing where there are too few."""
    if min((known == 1).sum(), (known == 0).sum()) < FEWEST:
        return {}
    votes = {power: Vote(vote.polarity, vote.weights, power) for power in MAP_POWERS}
    return {power: area_and_error(image_scores(one, cases), known) for power, one in votes.items()}


def _map_power(found: Mapping[float, tuple[float, float]]) -> float:
    """Return how much the map counts: of what is within a standard error of the best, the nearest to the usual."""
    if not found:
        return MAP_POWER
    best, error = max(found.values())
    close = [power for power in found if found[power][0] >= best - error]
    return min(close, key=lambda power: abs(power - MAP_POWER))


def _folds(patients: np.ndarray) -> np.ndarray:
    """Return ``(N,)``: the inner fold of each case, that of its patient."""
    _, patient = np.unique(patients, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(patient.max() + 1)[patient] % N_INNER_FOLDS)


def _held(polarity: str, cases: Sequence[Candidates], known: np.ndarray, folds: np.ndarray) -> tuple[float, float]:
    """Return the penalty that inner folds ask for, and the AUROC of their images with it.

    Of the penalties within a standard error of the best it is the strongest, so that what says little changes little.
    """
    found = {}
    for penalty in PENALTIES:
        of_folds = [_area_of_fold(polarity, cases, known, folds == fold, penalty) for fold in range(N_INNER_FOLDS)]
        areas, errors = np.array([one for one in of_folds if np.isfinite(one[0])] or [(0.5, 0.5)]).T
        found[penalty] = float(areas.mean()), float(np.sqrt((errors**2).mean() / len(errors)))
    best, error = max(found.values())
    penalty = max(penalty for penalty in PENALTIES if found[penalty][0] >= best - error)
    return penalty, found[penalty][0]


def _area_of_fold(
    polarity: str, cases: Sequence[Candidates], known: np.ndarray, is_own: np.ndarray, penalty: float
) -> tuple[float, float]:
    """Return `area_and_error` of the images of a fold, by weights that those of the others taught."""
    own, others = np.flatnonzero(is_own), np.flatnonzero(~is_own)
    vote = _fitted(polarity, [cases[i] for i in others], known[others], penalty)
    return area_and_error(image_scores(vote, [cases[i] for i in own]), known[own])


def _fitted(polarity: str, cases: Sequence[Candidates], known: np.ndarray, penalty: float) -> Vote:
    """Return the weights that best tell images with a lesion from those without, by regions alone of one polarity."""
    from scipy.optimize import minimize

    own = [(case.of(polarity).features, label) for case, label in zip(cases, known, strict=True) if label in (0, 1)]
    rows = [features for features, _ in own if len(features)]
    labels = np.array([label for features, label in own if len(features)])
    if not (0 < labels.sum() < len(labels)):
        return Vote(polarity, tuple(CONTRAST_ALONE), 0.0)
    table = np.concatenate(rows)
    deviations = table.std(axis=0) + 1e-6
    bags = _Bags((table - table.mean(axis=0)) / deviations, np.cumsum([0, *map(len, rows)])[:-1], labels, penalty)
    prior = CONTRAST_ALONE * deviations
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
        g = weight * (1 / (1 + np.exp(-z)) - y)
        by_w = scale * g @ slopes + 2 * self.penalty * (w - prior)
        return float(loss), np.array([*by_w, scale * g @ of_image + 0.2 * log_scale, g.sum()])
