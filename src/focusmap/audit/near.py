"""Images that are nearly the same: brighter, smaller, mirrored, inverted, cropped, slightly turned, written upon.

They are found on 32-pixel thumbnails. One image is compared with *views* of each other image (`VIEWS`). What is left
of both after the mean of all other images is taken away must correlate (`DETAIL`), since X-rays of different patients
share the outline of a chest; and so must the thumbnails themselves: as a whole (`CORRELATION`), all but identical
(`SAME`), or, for letters and margins, in seven eighths of the cells that are not background (`TRIMMED`). Cropped and
turned images are compared in thumbnails made soft, of which the grid matters less (`TRIMMED_SOFT`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np

CORRELATION, DETAIL, SAME = 0.97, 0.85, 0.999
TRIMMED, TRIMMED_SOFT, TRIMMED_DETAIL, LEFT_OUT = 0.985, 0.995, 0.83, 0.12
BACKGROUND = 0.08
COARSE, COARSE_DETAIL, COARSE_OF_VIEWS = 8, 0.8, 0.9
BLOCK = 1024
MAX_PAIRS = 100_000
LARGEST_EXACT = 100_000
"""Of more images, not all pairs are looked at where faiss is installed: it parts them into lists of images that are
alike (inverted files, Jegou et al. 2011), and each is compared with those of the nearest `PROBED` lists."""
LISTS_A_ROOT, PROBED, LEARNT_FROM = 4, 32, 64

Box = tuple[float, float, float, float]
Thumbnails = np.typing.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """How one image may have been made of another: mirrored, inverted, cut at its sides (shares), or turned."""

    name: str
    step_rows: int = 1
    step_columns: int = 1
    sign: int = 1
    cut: Box = (0, 0, 0, 0)
    degrees: float = 0.0

    @property
    def is_mutual(self) -> bool:
        """Return whether the view of the view is the image."""
        return not self.degrees and not any(self.cut)

    def of(self, thumbnails: Thumbnails) -> Thumbnails:
        """Return the view of each thumbnail ``(N, rows, columns)``."""
        flipped = self.sign * thumbnails[:, :: self.step_rows, :: self.step_columns]
        return np.asarray(flipped if self.is_mutual else _resampled(flipped, self.cut, self.degrees), np.float32)


CUT = 0.05
VIEWS = (
    View("alike"),
    View("mirrored", step_columns=-1),
    View("mirrored", step_rows=-1),
    View("inverted", sign=-1),
    View("cropped", cut=(CUT, 0, 0, 0)),
    View("cropped", cut=(0, CUT, 0, 0)),
    View("cropped", cut=(0, 0, CUT, 0)),
    View("cropped", cut=(0, 0, 0, CUT)),
    View("cropped", cut=(CUT, CUT, CUT, CUT)),
    View("cropped", cut=(CUT / 2, CUT / 2, CUT / 2, CUT / 2)),
    View("turned", degrees=2),
    View("turned", degrees=-2),
)


@dataclass(frozen=True)
class NearPair:
    """Positions of two images, `a` before `b`, the correlation of their thumbnails, and in what they differ."""

    a: int
    b: int
    correlation: float
    how: str = "alike"


def near_pairs(thumbnails: np.ndarray, usable: np.ndarray, views: Sequence[View] = VIEWS) -> list[NearPair]:
    """Return the pairs of nearly equal images, the nearest first; at most `MAX_PAIRS` of them.

    Parameters
    ----------
    thumbnails : (N, rows, columns)
        Any scale; constant ones are in no pair.
    usable : (N,) bool
        Images to compare.
    views
        What an image may have become.
    """
    flat = thumbnails.reshape(len(thumbnails), int(np.prod(thumbnails.shape[1:])))
    kept = np.flatnonzero(usable & (flat.max(axis=1) > flat.min(axis=1))) if len(flat) else np.zeros(0, int)
    if len(kept) < 2:
        return []
    compared = _Compared(np.asarray(thumbnails[kept], np.float32))
    pairs: dict[tuple[int, int], NearPair] = {}
    for view in views:
        for a, b, correlation in compared.pairs(view):
            for i, j, r in zip(kept[a], kept[b], correlation, strict=True):
                pair = NearPair(int(min(i, j)), int(max(i, j)), float(r), view.name)
                known = pairs.setdefault((pair.a, pair.b), pair)
                if known.how != "alike" and r > known.correlation:
                    pairs[pair.a, pair.b] = pair
            if len(pairs) > MAX_PAIRS:
                break
    return sorted(pairs.values(), key=lambda pair: (-pair.correlation, pair.a, pair.b))[:MAX_PAIRS]


def unit_rows(flat: np.ndarray) -> np.ndarray:
    """Return each row centred and of length 1 (zero if constant), so that inner products are correlations."""
    centred = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-9), dtype=np.float32)


class _Side:
    """Thumbnails ``(N, rows, columns)`` as unit rows, their mean, and in coarse what is left of them without it."""

    def __init__(self, thumbnails: Thumbnails, mean: np.ndarray | None = None) -> None:
        self.unit = _rows(thumbnails)
        self.mean = self.unit.mean(axis=0) if mean is None else mean
        self.coarse = _coarse(self.unit - self.mean, thumbnails.shape[1:])


class _Compared:
    """All thumbnails, as they are and soft, to be compared with views of them."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self.thumbnails, self.plain, self.soft = thumbnails, _Side(thumbnails), _Side(_soft(thumbnails))

    def pairs(self, view: View) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield positions and correlations of near pairs under a view, `BLOCK` rows at a time to keep memory small."""
        is_plain, n = view.is_mutual, len(self.thumbnails)
        own = self.plain if is_plain else self.soft
        seen = view.of(self.thumbnails)
        other = own if view == VIEWS[0] else _Side(seen if is_plain else _soft(seen), own.mean)
        limit = -2 if n <= 2 else COARSE_DETAIL if other is own else COARSE_OF_VIEWS
        search = _listed_above if n > LARGEST_EXACT and find_spec("faiss") else _all_above
        for a, b in search(own.coarse, other.coarse, limit, is_mutual=view.is_mutual):
            kept = np.flatnonzero(a < b if view.is_mutual else a != b)
            for part in range(0, len(kept), BLOCK * 16):
                rows, columns = (side[kept[part : part + BLOCK * 16]] for side in (a, b))
                r, is_near = _judged(own.unit[rows], other.unit[columns], own.mean, n, is_plain=is_plain)
                yield rows[is_near], columns[is_near], r[is_near]


Positions: TypeAlias = tuple[np.ndarray, np.ndarray]


def _all_above(own: np.ndarray, other: np.ndarray, limit: float, *, is_mutual: bool) -> Iterator[Positions]:
    """Yield positions of rows ``(N, cells)`` whose inner product is above a limit, `BLOCK` rows at a time."""
    for start in range(0, len(own), BLOCK):
        first = start if is_mutual else 0
        product = own[start : start + BLOCK] @ other[first:].T
        a, b = np.divmod(np.flatnonzero(product > limit), product.shape[1])
        yield a + start, b + first


def _listed_above(own: np.ndarray, other: np.ndarray, limit: float, *, is_mutual: bool) -> Iterator[Positions]:  # noqa: ARG001
    """Yield as `_all_above`, of those alone that lie in the lists nearest to each row."""
    import faiss

    n_lists = max(1, min(LISTS_A_ROOT * round(len(other) ** 0.5), len(other) // LEARNT_FROM))
    index: Any = faiss.index_factory(other.shape[1], f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(other[:: max(1, len(other) // (LEARNT_FROM * n_lists))])
    index.add(other)
    index.nprobe = PROBED
    for start in range(0, len(own), BLOCK):
        ends, _, columns = index.range_search(own[start : start + BLOCK], limit)
        yield start + np.repeat(np.arange(len(ends) - 1), np.diff(ends.astype(np.int64))), columns


def _judged(a: np.ndarray, b: np.ndarray, mean: np.ndarray, n: int, *, is_plain: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of rows ``(P, cells)``, two of `n` with that mean, and whether they are near."""
    r = np.minimum(np.einsum("ij,ij->i", a, b), 1.0)
    detail = _detail(a, b, mean, n)
    near = (((r > CORRELATION) & (detail > DETAIL)) | (r > SAME)) & is_plain
    doubtful = np.flatnonzero(~near & (detail > TRIMMED_DETAIL))
    trimmed = _trimmed(a[doubtful], b[doubtful])
    near[doubtful] = trimmed > (TRIMMED if is_plain else TRIMMED_SOFT)
    r[doubtful] = np.where(near[doubtful], trimmed, r[doubtful])
    return r, near


def _detail(a: np.ndarray, b: np.ndarray, mean: np.ndarray, n: int) -> np.ndarray:
    """Return the correlation of rows less the mean of the other n - 2.

    With x the sum of all n less both: ``u_a = a - x / (n - 2)``, and `b` alike.
    """
    if n <= 2:
        return np.ones(len(a), np.float32)
    rest = (n * mean - a - b) / (n - 2)
    left_a, left_b = a - rest, b - rest
    lengths = np.linalg.norm(left_a, axis=1) * np.linalg.norm(left_b, axis=1)
    return np.asarray(np.einsum("ij,ij->i", left_a, left_b) / np.maximum(lengths, 1e-10))


def _trimmed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation of rows without background, and without the cells in which they differ most, ``(P,)``."""
    if not len(a):
        return np.zeros(0)
    low, high = (end(end(a, axis=1), end(b, axis=1))[:, None] for end in (_least, _greatest))
    foreground = np.maximum(a, b) > low + BACKGROUND * (high - low)
    x, y = _centred(a, foreground), _centred(b, foreground)
    slope = (x * y).sum(axis=1, keepdims=True) / np.maximum((x * x).sum(axis=1, keepdims=True), 1e-12)
    off = np.where(foreground, np.abs(y - slope * x), np.inf)
    n_kept = np.maximum((foreground.sum(axis=1) * (1 - LEFT_OUT)).astype(int), 1)
    limit = np.take_along_axis(np.sort(off, axis=1), n_kept[:, None] - 1, axis=1)
    x, y = _centred(a, off <= limit), _centred(b, off <= limit)
    return np.asarray((x * y).sum(axis=1) / np.sqrt(np.maximum((x * x).sum(axis=1) * (y * y).sum(axis=1), 1e-20)))


def _least(values: np.ndarray, *other: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.minimum(values, *other) if other else np.asarray(values.min(axis=axis))


def _greatest(values: np.ndarray, *other: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.maximum(values, *other) if other else np.asarray(values.max(axis=axis))


def _centred(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the kept cells of each row less their mean, and 0 for the others."""
    mean = (values * kept).sum(axis=1, keepdims=True) / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    return np.asarray((values - mean) * kept)


def _soft(thumbnails: Thumbnails) -> Thumbnails:
    """Return thumbnails of which each cell is a mean of itself and its neighbours, 1 2 1 in both directions."""
    for axis in (1, 2):
        padding = [(1, 1) if axis == place else (0, 0) for place in range(3)]
        padded = np.pad(thumbnails, padding, mode="edge")
        before, after = (np.delete(padded, place, axis=axis) for place in ([-2, -1], [0, 1]))
        thumbnails = np.asarray((before + 2 * thumbnails + after) / 4, np.float32)
    return thumbnails


def _rows(thumbnails: Thumbnails) -> np.ndarray:
    return unit_rows(thumbnails.reshape(len(thumbnails), int(np.prod(thumbnails.shape[1:]))))


def _coarse(rest: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return unit rows of the means over patches, ``(N, 64)``: quick to compare, and little moved by a few cells."""
    if min(shape) < COARSE:
        return unit_rows(rest)
    rows, columns = (side // COARSE * COARSE for side in shape)
    cells = rest.reshape(-1, *shape)[:, :rows, :columns]
    patches = cells.reshape(len(rest), COARSE, rows // COARSE, COARSE, columns // COARSE).mean(axis=(2, 4))
    return unit_rows(patches.reshape(len(rest), -1))


def _resampled(thumbnails: Thumbnails, cut: Box, degrees: float) -> Thumbnails:
    """Return thumbnails cut at left, top, right and bottom and stretched again, or turned; linear, edges repeated."""
    n_rows, n_columns = thumbnails.shape[1:]
    left, top, right, bottom = cut
    y, x = np.meshgrid(
        (np.arange(n_rows) + 0.5) / n_rows - 0.5, (np.arange(n_columns) + 0.5) / n_columns - 0.5, indexing="ij"
    )
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rows = (0.5 + (top - bottom) / 2 + (1 - top - bottom) * (cosine * y - sine * x)) * n_rows - 0.5
    columns = (0.5 + (left - right) / 2 + (1 - left - right) * (sine * y + cosine * x)) * n_columns - 0.5
    rows, columns = np.clip(rows, 0, n_rows - 1), np.clip(columns, 0, n_columns - 1)
    i, j = np.minimum(rows.astype(int), n_rows - 2), np.minimum(columns.astype(int), n_columns - 2)
    v, u = (rows - i).astype(np.float32), (columns - j).astype(np.float32)
    above = thumbnails[:, i, j] * (1 - u) + thumbnails[:, i, j + 1] * u
    below = thumbnails[:, i + 1, j] * (1 - u) + thumbnails[:, i + 1, j + 1] * u
    return np.asarray(above * (1 - v) + below * v, np.float32)
