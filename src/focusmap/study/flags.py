"""Flags: what is to be known of a row of predictions, of a kind that is counted and in words that are written."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, TypeAlias

FlagKind = Literal["unseen", "outside", "unlike", "unknown", "unreadable"]


@dataclass(frozen=True)
class Flag:
    """One thing that is to be known of a row.

    Parameters
    ----------
    kind
        ``unseen``: a category, and ``outside``: a number, that train does not have; ``unlike``: an image unlike those
        of train; ``unknown``: a baseline value is not known; ``unreadable``: images of a case cannot be read,
        or show nothing.
    text
        The same in words.
    """

    kind: FlagKind
    text: str


BLANK = Flag("unlike", "shows nothing (every pixel has the same value)")
"""Of a row none of whose images shows anything, whether or not anyone knows what train looks like."""

Flags: TypeAlias = tuple[Flag, ...]
"""All that is to be known of one row; empty where nothing is."""


def flags_in_words(flags: Iterable[Flag]) -> str:
    """Return what is to be known of a row as the column ``flags`` has it; empty where nothing is.

    >>> flags_in_words([Flag("outside", "age 9 lies below train"), Flag("unseen", "eye both is not in train")])
    'age 9 lies below train; eye both is not in train'
    """
    return "; ".join(flag.text for flag in flags)


def side_by_side(*columns: Iterable[Flags]) -> tuple[Flags, ...]:
    """Return for each of N rows all its flags, each once, of several that flag N rows each."""
    return tuple(tuple(dict.fromkeys(chain.from_iterable(of_row))) for of_row in zip(*columns, strict=True))


def count_rows(rows: Iterable[Flags], kind: FlagKind) -> int:
    """Return how many rows have a flag of a kind."""
    return sum(any(flag.kind == kind for flag in flags) for flags in rows)


def said_by_models(by_model: Sequence[Flags]) -> Flags:
    """Return what n models flag a row for, each by its own train, and how many of them where not all do.

    >>> low, new = Flag("outside", "age 9 lies below train"), Flag("unseen", "eye both is not in train")
    >>> flags_in_words(said_by_models([(low, new), (low,)]))
    'age 9 lies below train; eye both is not in train of 1 of 2 models'
    """
    counts = Counter(chain.from_iterable(by_model))
    return tuple(
        flag if n == len(by_model) else replace(flag, text=f"{flag.text} of {n} of {len(by_model)} models")
        for flag, n in counts.items()
    )
