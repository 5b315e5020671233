"""From several readers to one label per image: by majority or by error rates; what is known overrides.

Dawid and Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm, Journal of the Royal
Statistical Society C 28 (1979), 20-28.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.basics import InputError, suggest
from focusmap.consensus.agreement import count_votes
from focusmap.statistics import ratio
from focusmap.study import NOT_READ, ConsensusOptions, Readings, Target

MAX_ITERATIONS = 1000
TOLERANCE = 1e-6  # largest change of a posterior in one step
SMALLEST = 1e-300  # in the place of 0 before a logarithm; no posterior can tell the two apart


@dataclass(frozen=True)
class DawidSkene:
    """What the estimation found.

    Parameters
    ----------
    posterior : (N, C) float
        Probability of each class of each image, from its readings alone; NaN where nobody has read it.
    prevalence : (C,) float
        Share of each class.
    errors : (R, C, C) float
        Of images of class j (rows), the share that reader r calls l (columns); NaN where no such image was read.
    n_iterations, converged
        Steps made, and whether the last one changed no posterior by more than `TOLERANCE`.
    log_likelihoods
        Of the readings after each step; they never fall.
    """

    posterior: np.ndarray
    prevalence: np.ndarray
    errors: np.ndarray
    n_iterations: int
    converged: bool
    log_likelihoods: tuple[float, ...]


def dawid_skene(votes: np.ndarray, n_classes: int, known: np.ndarray | None = None) -> DawidSkene:
    """Return the maximum-likelihood estimate by EM, started from the shares of votes.

    Starting from the votes keeps the classes' names: a start at random may end with all of them exchanged, which has
    the same likelihood.

    Parameters
    ----------
    votes : (N, R) int
        Class of each reading, -1 where there is none.
    n_classes
        Number of classes, C.
    known : (N,) int, optional
        The true class where it is known, -1 elsewhere; it teaches how the readers err.

    Examples
    --------
    >>> votes = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
    >>> dawid_skene(votes, 2).posterior[:, 1].round(3)
    array([1., 0., 1., 0.])
    """
    known = np.full(len(votes), -1) if known is None else known
    is_known, fixed = known >= 0, np.eye(n_classes)[known]
    counts = count_votes(votes, n_classes)
    read = np.any(counts > 0, axis=1)
    used = read | is_known
    one_hot = (votes[:, :, None] == np.arange(n_classes)).astype(np.float64)
    posterior = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    likelihoods: list[float] = []
    converged = False
    while not converged and len(likelihoods) < MAX_ITERATIONS:
        prevalence, errors = _maximise(np.where(is_known[:, None], fixed, posterior)[used], one_hot[used])
        joint = _log_joint(prevalence, errors, one_hot)
        total = np.logaddexp.reduce(joint, axis=1, keepdims=True)
        of_truth = np.where(is_known, joint[np.arange(len(known)), known], total[:, 0])
        likelihoods.append(float(of_truth[used].sum()))
        revised = np.exp(joint - total)
        converged = bool(np.abs(revised - posterior)[read].max(initial=0.0) < TOLERANCE)
        posterior = revised
    posterior = np.where(read[:, None], posterior, np.nan)
    return DawidSkene(posterior, prevalence, errors, len(likelihoods), converged, tuple(likelihoods))


def _maximise(posterior: np.ndarray, spelt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return p_j = sum_i T_ij / I (eq. 2.4), and pi_jl = sum_i T_ij n_il / sum_l sum_i T_ij n_il (eq. 2.3)."""
    prevalence = posterior.mean(axis=0)
    weights = np.einsum("ij,irl->rjl", posterior, spelt)
    total = weights.sum(axis=2, keepdims=True)
    errors = np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)
    return prevalence, errors


def _log_joint(prevalence: np.ndarray, errors: np.ndarray, spelt: np.ndarray) -> np.ndarray:
    """Return ``(N, C)``: log p_j + sum over readings of log pi_jl, the logarithm of eq. 2.5's numerator."""
    log_errors, prior = (np.log(np.maximum(np.nan_to_num(shares), SMALLEST)) for shares in (errors, prevalence))
    return np.asarray(prior + np.einsum("irl,rjl->ij", spelt, log_errors))


UNDECIDED = -1
TIED = 1e-9  # posteriors that differ by less are equal but for rounding
FEWEST_READERS = 3


@dataclass(frozen=True)
class Decision:
    """What was decided of one label.

    Parameters
    ----------
    target
        The label.
    shares : (N, C) float
        Share of votes, or posterior, of each class; one-hot where the truth is known; NaN where nobody has read.
    voted : (N,) int
        What the readings alone say, ties broken; -1 undecided.
    codes : (N,) int
        The label: `voted`, or what is known; -1 undecided.
    tied, disputed, known : (N,) bool
        Where classes were equal; where readers gave different classes; where a definitive answer stands.
    estimate
        Of Dawid and Skene, where that was the method.
    """

    target: Target
    shares: np.ndarray
    voted: np.ndarray
    codes: np.ndarray
    tied: np.ndarray
    disputed: np.ndarray
    known: np.ndarray
    estimate: DawidSkene | None = None

    @property
    def unread(self) -> np.ndarray:
        """``(N,) bool``: nobody has read it and nothing is known."""
        return np.asarray(np.isnan(self.shares[:, 0]))

    @property
    def overridden(self) -> np.ndarray:
        """``(N,) bool``: what is known differs from what the readings say."""
        return np.asarray(self.known & (self.voted != UNDECIDED) & (self.voted != self.codes))

    def by(self, position: int) -> str:
        """Return in one word what decided an image: ``definitive``, ``tie``, ``vote``, or ``nobody``."""
        if self.known[position]:
            return "definitive"
        return "nobody" if self.unread[position] else "tie" if self.tied[position] else "vote"


def decide(readings: Readings, options: ConsensusOptions = ConsensusOptions()) -> tuple[Decision, ...]:
    """Return the decision on every label of the readings.

    Raises
    ------
    InputError
        If the tie rule is unknown or does not fit a label, soft labels are asked for and none is binary, or Dawid and
        Skene's estimate is asked of fewer than three readers.
    """
    kinds = {target.kind for target in readings.task.targets}
    if options.soft and "binary" not in kinds:
        raise InputError("soft labels are made of binary labels, and there is none here.")
    return tuple(_decide(target, readings, options) for target in readings.task.targets)


def consensus_table(readings: Readings, decisions: Sequence[Decision], options: ConsensusOptions) -> pd.DataFrame:
    """Return the label file: what the table says of each image, and one column per label; "" where undecided."""
    labels = {decision.target.name: _cells(decision, soft=options.soft) for decision in decisions}
    return readings.images.assign(**labels)


def _decide(target: Target, readings: Readings, options: ConsensusOptions) -> Decision:
    votes = readings.votes[target.name]
    known = readings.definitive.get(target.name, np.full(len(votes), UNDECIDED))
    casting = _casting_votes(options.ties, target, readings)
    counts = count_votes(votes, len(target.classes))
    estimate = _estimate(target, votes, known) if options.method == "dawid-skene" else None
    shares = _vote_shares(counts) if estimate is None else estimate.posterior
    best = shares >= shares.max(axis=1, keepdims=True) - TIED  # false throughout where nobody has read
    n_best = best.sum(axis=1)
    settled = (n_best > 1) & (casting != UNDECIDED) & best[np.arange(len(best)), casting]
    voted = np.select([n_best == 1, settled], [best.argmax(axis=1), casting], UNDECIDED)
    is_known = known != UNDECIDED
    shares = np.where(is_known[:, None], np.eye(len(target.classes))[known], shares)
    codes, disputed = np.where(is_known, known, voted), (counts > 0).sum(axis=1) > 1
    return Decision(target, shares, voted, codes, n_best > 1, disputed, is_known, estimate)


def _estimate(target: Target, votes: np.ndarray, known: np.ndarray) -> DawidSkene:
    n_readers = int((votes != NOT_READ).any(axis=0).sum())
    if n_readers < FEWEST_READERS:
        raise InputError(
            f"dawid-skene: the readings of {n_readers} readers of {target.name} do not show who errs; it needs "
            f"{FEWEST_READERS} or more. Use --method majority."
        )
    return dawid_skene(votes, len(target.classes), known)


def _vote_shares(counts: np.ndarray) -> np.ndarray:
    return ratio(counts.astype(np.float64), counts.sum(axis=1, keepdims=True))


def _cells(decision: Decision, *, soft: bool) -> list[str]:
    target = decision.target
    if soft and target.kind == "binary":
        return ["" if np.isnan(share) else f"{round(share, 6):g}" for share in decision.shares[:, 1]]
    return ["" if code == UNDECIDED else target.classes[code] for code in decision.codes]


BINARY_RULES: Mapping[str, int] = {"negative": 0, "positive": 1}


def _casting_votes(ties: str, target: Target, readings: Readings) -> np.ndarray:
    """Return the class that settles a tie in each image ``(N,) int``, -1 where nothing does."""
    n, (name, _, reader) = len(readings.names), ties.partition("=")
    if ties == "unknown":
        return np.full(n, UNDECIDED)
    if ties in BINARY_RULES:
        if target.kind != "binary":
            raise InputError(f"ties {ties!r} decides binary labels; {target.name} is {target.kind}.")
        return np.full(n, BINARY_RULES[ties])
    if name != "reader":
        known = ["unknown", *BINARY_RULES, "reader=NAME"]
        raise InputError(f"ties {ties!r} is not one of {', '.join(known)}.{suggest(ties, known)}")
    if reader not in readings.readers:
        known = list(readings.readers)
        raise InputError(f"ties: reader {reader!r} is not one of {', '.join(known)}.{suggest(reader, known)}")
    return readings.votes[target.name][:, readings.readers.index(reader)]
