"""From several readers to one label an image: by majority or by error rates; what is known overrides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.consensus.agreement import count_votes
from focusmap.consensus.dawid_skene import DawidSkene, dawid_skene
from focusmap.errors import InputError, suggest
from focusmap.statistics.formulas import ratio
from focusmap.study.options import ConsensusOptions
from focusmap.study.readings import NOT_READ, Readings
from focusmap.study.task import Target

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
