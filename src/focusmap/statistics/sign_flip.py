"""Is a mean paired difference more than chance: every difference might as well have had the other sign.

Of many comparisons some look like more than chance; `holm` adjusts their p values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.basics import Json

MOST_EXACT = 16
# Signs that are drawn where there are too many to try all.
N_DRAWS = 20_000
BLOCK = 4096
# Sums that differ by rounding alone are equal.
TOLERANCE = 1e-12


@dataclass(frozen=True)
class SignFlip:
    """A two-sided p-value, how many signs it was computed from, and how many differences there were.

    `is_exact` is false where there were too many differences to try all signs, and some were drawn.
    """

    p: float
    n: int
    n_signs: int
    is_exact: bool

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        return {"p": self.p, "n": self.n, "n_signs": self.n_signs, "exact": self.is_exact}


def sign_flip_test(differences: np.ndarray) -> SignFlip:
    """Return the share of all signs that give a mean as far from 0 as the one that was found (Fisher 1935, section 21).

    Where n is above `MOST_EXACT`, `N_DRAWS` signs are drawn, always the same, and those that were found count as one
    more (Phipson and Smyth 2010).

    Parameters
    ----------
    differences
        ``(n,)``, one an independent unit such as a patient; n of at least 1. Their distribution under the null
        hypothesis is symmetric about 0.

    >>> sign_flip_test(np.array([1.0, 2.0, 3.0])).p
    0.25
    """
    n = len(differences)
    observed = abs(float(differences.sum()))
    is_exact = n <= MOST_EXACT
    n_signs, rng = (2**n if is_exact else N_DRAWS), np.random.default_rng(0)
    n_as_far = 0
    for start in range(0, n_signs, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, n_signs))
        bits = numbers[:, None] >> np.arange(n) & 1 if is_exact else rng.integers(0, 2, (len(numbers), n))
        sums = np.abs((2 * bits - 1) @ differences)
        n_as_far += int((sums >= observed * (1 - TOLERANCE)).sum())
    p = n_as_far / n_signs if is_exact else (n_as_far + 1) / (n_signs + 1)
    return SignFlip(p, n, n_signs, is_exact)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number by Holm's step-down (Scand. J. Stat. 6 (1979), 65-70).

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    adjusted, highest = [0.0] * len(values), 0.0
    for place, k in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - place) * values[k]))
        adjusted[k] = highest
    return adjusted
