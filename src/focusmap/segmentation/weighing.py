"""What image-level labels teach the vote: how regions are weighed, how much the map counts, dark or bright.

The score of an image is that of its best region,

    S = 1 / T log sum_R exp(T s(R)),

with s as in `focusmap.segmentation.votes`, and w is what best tells the labelled images apart, held near w_0,
`BY_DEFAULT`, by a penalty. So a feature counts as far as regions that have it are seldom in images without a lesion.

What all regions of an image have in common, their mean x_mean, tells of the image, such as at which height of the head
a slice lies, and makes no region a lesion (Mundlak 1978). It is taken off the regions and has weights g of its own:

    P(lesion) = sigmoid(exp(a) S' + b + g . x_mean),        S' as S, of x - x_mean.

How strongly w is held and how much the map counts are chosen on the tuning set, by how well S tells its images apart.
Whether lesions are dark or bright is decided by that, too, and by where the maps of lesions are highest: in regions of
which kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from focusmap.images import BRIGHT, DARK
from focusmap.segmentation.votes import BY_DEFAULT, LEAST_CONTRAST, MAP_POWER, SHARPNESS, Candidates, Vote, choose
from focusmap.statistics import Z, auroc, paired_delong

MAP_POWERS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# The last leaves the weights as they are.
PENALTIES = (5.0, 50.0, inf)
# Of contrast, as a share of its usual weight.
LEAST_WEIGHT = 0.5
# Of images with and of those without a lesion: below it nothing is learnt of their differences.
FEWEST = 8
# Of the images' highest means inside a region, what counts as high.
USUAL = 0.9


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
    table, starts = np.concatenate(rows), np.cumsum([0, *map(len, rows)])[:-1]
    deviations = table.std(axis=0) + 1e-6
    means = np.stack([features.mean(axis=0) for features in rows])
    within = (table - np.repeat(means, [len(features) for features in rows], axis=0)) / deviations
    spread = means.std(axis=0) + 1e-6
    bags = _Bags(within, (means - means.mean(axis=0)) / spread, starts, labels, penalty)
    prior = np.array(BY_DEFAULT) * deviations
    # A region is what stands out: no label may teach that lesions are those that do not.
    bounds = [(LEAST_WEIGHT * prior[0], None), *[(None, None)] * (2 * len(prior) + 1)]
    start = np.concatenate([prior, np.zeros(2 + len(prior))])
    found = minimize(bags.loss, start, (prior,), jac=True, method="L-BFGS-B", bounds=bounds)
    return Vote(polarity, tuple(float(value) for value in found.x[: len(prior)] / deviations), 0.0)


@dataclass(frozen=True)
class _Bags:
    """What bags of regions are fitted from.

    Parameters
    ----------
    table : (R, K)
        Of all regions, how far each is from the mean of its own image, in deviations of all.
    means : (N, K)
        Of the regions of each image, standardised.
    starts, labels : (N,)
        Where an image's regions begin, and its label.
    """

    table: np.ndarray
    means: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    penalty: float

    def loss(self, values: np.ndarray, prior: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the penalised log loss, as if both classes were as frequent, and its gradient by w, a, b and g."""
        w, log_scale, offset, of_means = np.split(values, np.cumsum([len(prior), 1, 1]))
        owner = np.repeat(np.arange(len(self.starts)), np.diff([*self.starts, len(self.table)]))
        s = self.table @ w
        highest = np.maximum.reduceat(s, self.starts)
        share = np.exp(SHARPNESS * (s - highest[owner]))
        total = np.add.reduceat(share, self.starts)
        of_image = highest + np.log(total) / SHARPNESS
        slopes = np.add.reduceat((share / total[owner])[:, None] * self.table, self.starts)
        scale, y = np.exp(log_scale), self.labels
        z = scale * of_image + offset + self.means @ of_means
        weight = len(y) / 2 * np.where(y == 1, 1 / y.sum(), 1 / (len(y) - y.sum()))
        held = self.penalty * ((w - prior) ** 2).sum() + 0.1 * (log_scale**2).sum() + 0.1 * (of_means**2).sum()
        # log(1 + exp(z)) - y z
        loss = weight @ (np.logaddexp(0, z) - y * z) + held
        g = weight * (0.5 * (1 + np.tanh(z / 2)) - y)
        by_w = scale * (g @ slopes) + 2 * self.penalty * (w - prior)
        by_scale = scale * (g @ of_image) + 0.2 * log_scale
        return float(loss), np.concatenate([by_w, by_scale, [g.sum()], g @ self.means + 0.2 * of_means])
