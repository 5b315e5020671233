"""Where a focus map is cut in two: inside the region of its label, and outside.

One cut a label, chosen on tune and never changed again. With masks: the cut with the greatest mean IoU. Without masks:
the smallest region that keeps a stated share of the evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from focusmap.evaluation.localisation.measures import MapOnMask

# In equal steps of the logit, since maps are sigmoids or shares: they may be as telling below 0.01 as around 1/2.
CUTS: np.ndarray = 1 / (1 + np.exp(-np.arange(-8, 8.1, 0.25)))
KEPT_SHARE = 0.8


@dataclass(frozen=True)
class FocusCut:
    """Where the focus maps of a label are cut: at or above lies the region of the label.

    Parameters
    ----------
    cut
        Between 0 and 1.
    rule
        ``masks`` (greatest mean IoU on tune), ``evidence`` (smallest region that keeps a share of it) or ``default``.
    n_images, n_masks
        True positives of tune that it was chosen on, and how many masks of theirs were looked at.
    """

    cut: float
    rule: Literal["masks", "evidence", "default"]
    n_images: int = 0
    n_masks: int = 0


def iou_at_cuts(heat_map: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return ``(n,)``: the IoU of {M >= cut} with the mask, at each of `CUTS`.

    Parameters
    ----------
    heat_map
        ``(*spatial) float`` between 0 and 1.
    mask
        ``(*spatial) bool``, not empty.
    """
    pair = MapOnMask.of(heat_map, mask)
    n_region, n_inside = pair.reaching(CUTS)
    return np.asarray(n_inside / (n_region + len(pair.inside) - n_inside))


def kept_at_cuts(heat_map: np.ndarray) -> np.ndarray:
    """Return ``(n,)``: the share of the map's evidence that lies in {M >= cut}, at each of `CUTS`; NaN if it has none.

    Evidence is what stands out: sum over places of max(M - median of M, 0). A lesion fills less than half of an image,
    so that the median is what the map says of the rest.

    >>> heat_map = np.array([0.1, 0.1, 0.1, 0.6, 0.9])
    >>> kept = kept_at_cuts(heat_map)
    >>> [round(float(kept[CUTS >= cut][0]), 2) for cut in (0.05, 0.5, 0.7)]
    [1.0, 1.0, 0.62]
    """
    evidence = np.maximum(heat_map.astype(np.float64) - np.median(heat_map), 0).ravel()
    total = evidence.sum()
    if total <= 0:
        return np.full(len(CUTS), np.nan)
    order = np.argsort(heat_map, axis=None)
    below = np.concatenate([[0.0], np.cumsum(evidence[order])])
    return np.asarray(1 - below[np.searchsorted(heat_map.ravel()[order], CUTS)] / total)


def cut_by_masks(ious: Sequence[np.ndarray]) -> float:
    """Return the cut with the greatest mean IoU, the lowest of several; `ious` as `iou_at_cuts` gives them."""
    return float(CUTS[np.argmax(np.mean(ious, axis=0))])


def cut_by_evidence(kept: Sequence[np.ndarray], share: float = KEPT_SHARE) -> float:
    """Return the highest cut at which maps keep `share` of their evidence on average: the smallest region that does.

    Parameters
    ----------
    kept
        As `kept_at_cuts` gives them; maps without evidence (NaN) are left out. The lowest cut if none has any.
    """
    known = [row for row in kept if not np.isnan(row).any()]
    if not known:
        return float(CUTS[0])
    # Every map keeps more than any share asked for at the lowest cut, or the lowest cut is the answer.
    enough = np.flatnonzero(np.mean(known, axis=0) >= share)
    return float(CUTS[enough.max(initial=0)])
