"""Parts of images that are covered, to see what is left of a label: the lesion, the centre, all but the border.

A cover must not tell the label itself. So it has one size in all images, and an image without a lesion is covered at
the place of another's (compare Maguolo and Nanni, Information Fusion 76 (2021), 1-7, who cover the lungs of all films).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.evaluation import Reference, lesion_boxes
from focusmap.images import AnyPlacement, FloatArray, Placement

# Half of the image's area about its middle; all but a tenth at each side.
CENTRE, INSIDE = 0.5**0.5, 0.8
# So many of the lesions are covered wholly, along each side; the others are larger.
HELD = 0.95
FEWEST_LESIONS = 10
LESION = "lesion"


@dataclass(frozen=True)
class Cover:
    """What is covered of each of N images.

    Parameters
    ----------
    boxes
        ``(N, 4) float``: top, left, bottom and right edge, as shares of the image's rows and columns.
    rows
        ``(N,) bool``: the images that count.
    """

    boxes: np.ndarray
    rows: np.ndarray

    @property
    def share(self) -> float:
        """How much of the images is covered in the mean."""
        top, left, bottom, right = self.boxes[self.rows].T
        return float(((bottom - top) * (right - left)).mean())


def covers_of(reference: Reference, seed: int) -> dict[str, Cover]:
    """Return the covers of a cohort's images, by name; that of the lesion where masks or boxes say where lesions are.

    Raises
    ------
    InputError, UnreadableImageError
        If a mask cannot be read.
    """
    n = len(reference.cohort)
    covers = {name: Cover(np.tile(_middle(side), (n, 1)), np.full(n, True)) for name, side in
             (("centre", CENTRE), ("all but the border", INSIDE))}  # fmt: skip
    if not reference.exists:
        return covers
    boxes, is_marked = lesion_boxes(reference)
    if np.isfinite(boxes[:, 0]).sum() < FEWEST_LESIONS:
        return covers
    cohort = reference.cohort
    positive = np.any(cohort.task.label_truth(cohort.truth)[:, is_marked] >= 0.5, axis=1)
    return {LESION: over_lesions(boxes, np.asarray(positive), np.random.default_rng(seed)), **covers}


def _middle(side: float) -> np.ndarray:
    return np.array([(1 - side) / 2, (1 - side) / 2, (1 + side) / 2, (1 + side) / 2])


def over_lesions(marked: np.ndarray, positive: np.ndarray, draw: np.random.Generator) -> Cover:
    """Return a cover of one size over the lesions of N images, of others at the place of a random lesion.

    An image whose lesion may be anywhere does not count: one without a mark that has a label that is marked elsewhere.

    Parameters
    ----------
    marked
        ``(N, 4) float``: boxes of lesions in shares of the image; NaN where none is marked.
    positive
        ``(N,) bool``: which images have a label that is marked in some image.
    """
    is_marked = np.isfinite(marked[:, 0])
    low, high = marked[:, :2], marked[:, 2:]
    size = np.minimum(np.nanquantile(high - low, HELD, axis=0), 1.0)
    centres = (low + high)[is_marked] / 2
    middles = centres[draw.integers(0, len(centres), len(marked))]
    middles[is_marked] = centres
    # Moved inside the image, so that as much is covered of each.
    corner = np.clip(middles - size / 2, 0, 1 - size)
    return Cover(np.hstack([corner, corner + size]), is_marked | ~positive)


def covered(pixels: FloatArray, placements: Sequence[AnyPlacement], boxes: np.ndarray) -> FloatArray:
    """Return prepared images ``(P, C, rows, columns)`` with their boxes ``(P, 4)`` filled with each one's own median.

    The median is of the image without its padding, channel by channel.
    """
    filled = pixels.copy()
    for image, placement, box in zip(filled, placements, boxes, strict=True):
        assert isinstance(placement, Placement)
        rows, columns = placement.content
        content = image[:, rows, columns]
        height, width = content.shape[1:]
        top, bottom = (round(float(edge) * height) for edge in box[[0, 2]])
        left, right = (round(float(edge) * width) for edge in box[[1, 3]])
        content[:, top:bottom, left:right] = np.median(content, axis=(1, 2), keepdims=True)
    return filled


@dataclass(frozen=True)
class Covered:
    """Features ``(N, D)`` of images of which a part is covered, and what is covered."""

    features: np.ndarray
    cover: Cover
