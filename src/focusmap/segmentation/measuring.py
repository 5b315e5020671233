"""What the lesions of a mask measure: size, diameters, place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.basics import Json
from focusmap.evaluation import extent

# A piece is a lesion of its own from so large a share of the largest on; less is crumbs of the threshold.
LEAST_SHARE = 0.05
UNKNOWN = "unknown"
DIAMETERS = ("long_axis_mm", "short_axis_mm", "long_axis_px", "short_axis_px", "position")
CELLS = ("n_pixels", "area", "volume_ml", *DIAMETERS, "centre")
"""Columns of a table of lesions."""
IN_SHORT = ("n_lesions", "volume_ml", *DIAMETERS)
"""Columns of a table of masks: how many lesions, the volume of all, and the rest of the largest."""
THIRDS = (("top", "middle", "bottom"), ("left", "centre", "right"))


@dataclass(frozen=True)
class LesionMeasures:
    """One lesion of a mask.

    Parameters
    ----------
    n_places
        Pixels or voxels.
    size
        mm^2 of an image, mL of a volume; None where the spacing is unknown.
    long_axis, short_axis
        The longest diameter, and the longest one perpendicular to it, from edge to edge; in mm, or in pixels where the
        spacing is unknown.
    centre
        Of its places, counted from 0 along each axis of the file.
    position
        Of an image its part, such as ``top left``; of a volume the patient's side, or empty where that is unknown.
    """

    n_places: int
    size: float | None
    long_axis: float
    short_axis: float
    centre: tuple[float, ...]
    position: str

    def cells(self) -> dict[str, Json]:
        """Return the cells of `CELLS`: in mm where the spacing is known, else in pixels."""
        is_known, axes = self.size is not None, (self.long_axis, self.short_axis)
        in_mm, in_pixels = (axes, ("", "")) if is_known else ((UNKNOWN, UNKNOWN), axes)
        area = UNKNOWN if self.size is None else self.size
        values = (
            self.n_places, area, area if len(self.centre) == 3 else "", *in_mm, *in_pixels, self.position,
            " ".join(f"{value:.1f}" for value in self.centre),
        )  # fmt: skip
        return dict(zip(CELLS, values, strict=True))


def in_short(found: Sequence[LesionMeasures], mask: np.ndarray, spacing: Sequence[float] | None) -> dict[str, Json]:
    """Return the cells of `IN_SHORT` of a mask ``(*spatial) bool`` and its lesions, the largest first."""
    total = extent(int(np.count_nonzero(mask)), spacing)
    volume = "" if mask.ndim == 2 else UNKNOWN if total is None else total
    largest = found[0].cells() if found else dict.fromkeys(CELLS, "")
    return {"n_lesions": len(found), "volume_ml": volume, **{name: largest[name] for name in DIAMETERS}}


def measure_lesions(
    mask: np.ndarray, spacing: Sequence[float] | None, affine: np.ndarray | None = None
) -> list[LesionMeasures]:
    """Return the measures of the lesions of a mask ``(*spatial) bool``, the largest first; none of an empty one.

    Parameters
    ----------
    spacing
        Of the axes, in mm; None unknown.
    affine
        Of a volume: from voxels to mm towards the patient's right, front and top, to tell its side.

    >>> mask = np.zeros((10, 30), bool)
    >>> mask[3:6, 2:6] = True
    >>> found = measure_lesions(mask, (1.0, 2.0))[0]
    >>> found.size, round(found.long_axis, 2), found.position
    (24.0, 8.54, 'middle left')
    """
    from scipy.ndimage import label

    labels, n = label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    order = [int(k) for k in np.argsort(-sizes, kind="stable") if sizes[k] >= LEAST_SHARE * sizes.max()]
    return [_measured(np.argwhere(labels == k + 1), mask.shape, spacing, affine) for k in order]


def _measured(
    places: np.ndarray, shape: tuple[int, ...], spacing: Sequence[float] | None, affine: np.ndarray | None
) -> LesionMeasures:
    centre = places.mean(axis=0)
    corners = _corners(_outermost(places)) * np.array(spacing or (1.0,) * len(shape))
    long_axis, direction = _longest(corners)
    # The corners in the plane (of an image: on the line) across the longest diameter.
    across = corners @ np.linalg.svd(direction[np.newaxis])[2][1:].T
    position = _part(centre, shape) if len(shape) == 2 else _side(centre, shape, affine)
    size = extent(len(places), spacing)
    # Equal but for rounding where a lesion is as wide as it is long.
    short_axis = min(_longest(across)[0], long_axis)
    return LesionMeasures(len(places), size, long_axis, short_axis, tuple(map(float, centre)), position)


def _outermost(places: np.ndarray) -> np.ndarray:
    """Return the places ``(n, axes)`` of which the others are between: along each row the first and the last."""
    order = np.lexsort(places.T[::-1])
    rows = places[order]
    is_new = np.any(rows[1:, :-1] != rows[:-1, :-1], axis=1)
    return np.asarray(rows[np.concatenate([[True], is_new]) | np.concatenate([is_new, [True]])])


def _corners(places: np.ndarray) -> np.ndarray:
    n_axes = places.shape[1]
    steps = np.stack(np.meshgrid(*[(-0.5, 0.5)] * n_axes, indexing="ij"), axis=-1).reshape(-1, n_axes)
    return np.unique((places[:, None] + steps).reshape(-1, n_axes), axis=0)


def _longest(points: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest distance of two points ``(n, axes)``, and its direction, of length 1."""
    from scipy.spatial import ConvexHull

    ends = points[ConvexHull(points).vertices] if points.shape[1] > 1 else np.array([points.min(0), points.max(0)])
    squares = ((ends[:, None] - ends) ** 2).sum(axis=-1)
    first, second = np.unravel_index(int(squares.argmax()), squares.shape)
    length = float(np.sqrt(squares[first, second]))
    return length, (ends[first] - ends[second]) / length


def _part(centre: np.ndarray, shape: tuple[int, ...]) -> str:
    thirds = [min(int(3 * (c + 0.5) / n), 2) for c, n in zip(centre, shape, strict=True)]
    return " ".join(names[third] for names, third in zip(THIRDS, thirds, strict=True))


def _side(centre: np.ndarray, shape: tuple[int, ...], affine: np.ndarray | None) -> str:
    if affine is None:
        return ""
    from_middle = centre - (np.array(shape) - 1) / 2
    towards_right = float(np.asarray(affine)[0, : len(shape)] @ from_middle)
    return "right" if towards_right > 0 else "left"
