"""Learning the vote from image-level labels: whether lesions are dark or bright, and how much the heat map counts.

The score of an image is that of its best region, by the weights of `focusmap.segmentation.votes`. How much the map
counts is chosen on the tuning set, by how well these scores tell its images apart. Whether lesions are dark or bright
is decided by that, too, and by where the maps of lesions are highest: in regions of which kind. Where every image has a
lesion, maps alone decide it, and how much they count is fixed.

Weights that labels teach as well were tried: on breast ultrasound they drew now a little better and now worse than the
usual ones, on brain slices far worse. What tells an image with a lesion is often not the lesion (docs/decisions, 33).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from focusmap.images import BRIGHT, DARK
from focusmap.segmentation.votes import LEAST_CONTRAST, MAP_POWER, Candidates, Vote
from focusmap.statistics import Z, auroc, paired_delong

MAP_POWERS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# Where no image label can choose one: like what labels choose elsewhere (docs/decisions, 33).
POWER_WITHOUT_LABELS = 4.0
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
    """Return how regions are weighed, so that the scores of images best tell those with a lesion from those without.

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
        polarity = max((DARK, BRIGHT), key=lambda polarity: _overlap(polarity, both))
        return Vote(polarity, map_power=POWER_WITHOUT_LABELS, map_unit=unit)
    found = {polarity: _told_apart(Vote(polarity, map_unit=unit), tune, known_tune) for polarity in (DARK, BRIGHT)}
    with_lesion = [case for case, label in zip(both, labels, strict=True) if label == 1]
    # How well the images of tune are told apart, and where maps are highest.
    apart = {
        polarity: max((area_and_error(one, known_tune)[0] for one in scores.values()), default=0.0)
        + _overlap(polarity, with_lesion)
        for polarity, scores in found.items()
    }
    polarity = max(apart, key=lambda polarity: apart[polarity])
    scores = found[polarity]
    if not scores:
        return Vote(polarity, map_unit=unit)
    power = _chosen(scores, known_tune)
    evidence, error = area_and_error(scores[power], known_tune)
    return Vote(polarity, map_power=power, map_unit=unit, evidence=evidence, error=error)


Scores = Mapping[float, np.ndarray]
"""Map power to the scores of the images of the tuning set ``(N,)``."""


def _told_apart(vote: Vote, cases: Sequence[Candidates], known: np.ndarray) -> Scores:
    """Return the scores of cases with the map raised to each power; empty where there are too few cases."""
    if min((known == 1).sum(), (known == 0).sum()) < FEWEST:
        return {}
    return {power: image_scores(replace(vote, map_power=power), cases) for power in MAP_POWERS}


def _chosen(scores: Scores, known: np.ndarray) -> float:
    """Return the power nearest to the usual one of those not worse than the best by more than a standard error."""
    best = max(scores.values(), key=lambda one: area_and_error(one, known)[0])
    close = [power for power, one in scores.items() if _is_close(best, one, known)]
    return min(close, key=lambda power: abs(power - MAP_POWER))


def _is_close(best: np.ndarray, other: np.ndarray, known: np.ndarray) -> bool:
    found = paired_delong(known, best, other, np.arange(len(known)).astype(str)).difference
    error = 0.0 if found.high is None or found.low is None else (found.high - found.low) / (2 * Z)
    return (found.value or 0.0) <= error


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
