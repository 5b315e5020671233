"""What a heat map method must show to be believed of one model, each criterion with its limit and its source.

Few papers state a limit. Where none does, the limit is what the same method says in the wrong place (`displaced`), or
of another image (`between_images`), and the whole interval must lie beyond it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from focusmap.basics import Json, Reason, reason_entries
from focusmap.faithfulness.randomisation import Comparison
from focusmap.statistics import bootstrap

# By how much the SSIM may exceed that between images and still count as no more alike.
MARGIN = 0.05
# Of a map's own size. No paper states a limit; half a map that comes and goes with invisible noise is no evidence.
MOST_CHANGE = 0.5

SOURCES = {
    "deletion": "Petsiuk et al. 2018 (RISE)",
    "insertion": "Petsiuk et al. 2018 (RISE)",
    "road": "Rong et al. 2022",
    "infidelity": "Yeh et al. 2019",
    "sensitivity-n": "Ancona et al. 2018",
    "max-sensitivity": "Yeh et al. 2019",
    "randomisation": "Adebayo et al. 2018; level as Arun et al. 2021",
    "label-randomisation": "Adebayo et al. 2018",
    "repeatability": "Arun et al. 2021",
    "reproducibility": "Arun et al. 2021",
}


@dataclass(frozen=True)
class Verdict:
    """Whether a method passes a criterion.

    Parameters
    ----------
    passes
        None where it could not be judged; `reason` says why.
    value, low, high
        What was measured, with its 95 % interval where the criterion is about one.
    limit
        What `value`, or the interval, must lie beyond.
    n
        Images, or pairs of maps, that it rests on.
    n_left_out
        Those of which it is undefined, such as empty maps.
    """

    passes: bool | None
    value: float | None
    limit: float
    n: int
    low: float | None = None
    high: float | None = None
    n_left_out: int = 0
    reason: Reason | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        return {**asdict(self), **reason_entries(self.reason)}


def better_than_nothing(gains: Tensor, patients: Sequence[str], seed: int = 0) -> Verdict:
    """Return whether the mean gain over an uninformative map is above 0, its patient-clustered interval and all.

    Parameters
    ----------
    gains
        ``(N,)``, NaN where undefined; above 0 speaks for the map.
    patients
        ``(N,)`` patient of each image.
    """
    values = gains.cpu().double().numpy()
    known = np.isfinite(values)
    values, n_left_out = values[known], int((~known).sum())
    if not len(values):
        return Verdict(None, None, 0.0, 0, n_left_out=n_left_out, reason=Reason("map-undefined"))
    owners = [patient for patient, keep in zip(patients, known, strict=True) if keep]
    mean = bootstrap(lambda weights: values @ weights / weights.sum(axis=0), owners, seed=seed)
    passes = None if mean.low is None else mean.low > 0
    return Verdict(passes, mean.value, 0.0, len(values), mean.low, mean.high, n_left_out, mean.reason)


def steady(changes: Tensor) -> Verdict:
    """Return whether the median max-sensitivity ``(N,)`` is at most 0.5."""
    values = changes.cpu().double().numpy()
    known = values[np.isfinite(values)]
    n_left_out = len(values) - len(known)
    if not len(known):
        return Verdict(None, None, MOST_CHANGE, 0, n_left_out=n_left_out, reason=Reason("maps-empty"))
    median = float(np.median(known))
    return Verdict(median <= MOST_CHANGE, median, MOST_CHANGE, len(known), n_left_out=n_left_out)


def forgets(other: Comparison, between: Comparison) -> Verdict:
    """Return whether maps of a net that knows nothing are no more alike than maps of different images.

    Signed and absolute maps must pass; the verdict shows the worse of the two.
    """
    undefined = _undefined(other, between)
    if undefined is not None:
        return undefined
    pairs = [(other.signed, between.signed), (other.absolute, between.absolute)]
    mine, level = max(pairs, key=lambda pair: pair[0].median_ssim - pair[1].median_ssim)
    limit = level.median_ssim + MARGIN
    return Verdict(mine.median_ssim <= limit, mine.median_ssim, limit, len(mine.ssim), n_left_out=mine.n_empty)


def agrees(same: Comparison, between: Comparison) -> Verdict:
    """Return whether maps of one image by several nets are more alike than maps of different images."""
    undefined = _undefined(same, between)
    if undefined is not None:
        return undefined
    mine, limit = same.signed, between.signed.median_ssim + MARGIN
    return Verdict(mine.median_ssim > limit, mine.median_ssim, limit, len(mine.ssim), n_left_out=mine.n_empty)


def _undefined(other: Comparison, between: Comparison) -> Verdict | None:
    if not len(between.signed.ssim):
        return Verdict(None, None, MARGIN, 0, reason=Reason("nothing-between"))
    if not len(other.signed.ssim):
        reason = Reason("others-empty")
        return Verdict(
            None, None, between.signed.median_ssim + MARGIN, 0, n_left_out=other.signed.n_empty, reason=reason
        )
    return None
