"""Lesions: which labels of a study mean that there is one, and what a drawn one measures: size, diameters, place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.basics import InputError, Json, suggest
from focusmap.evaluation import extent
from focusmap.models import model_name, rows_for
from focusmap.study import Cohort, Recipe, Target, Task, means_benign, means_nothing_found, plain_name

NO_CLASS = ("none",)
"""In place of classes that mean no lesion: there is none, every image has a lesion."""


@dataclass(frozen=True)
class Lesion:
    """What is to be drawn for a target.

    Parameters
    ----------
    name
        What it is called in files: the target, or one class of it, as in ``label=malignant``.
    target
        Name of the target.
    labels
        Names of its labels that mean a lesion.
    negatives
        Names of those that mean none; empty for a binary target, and where every class is a lesion.
    is_either_class
        Whether both classes of a binary target mean a lesion.
    """

    name: str
    target: str
    labels: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    is_either_class: bool = False

    def in_words(self) -> str:
        """Return what counts as a lesion, for the user to see.

        >>> Lesion("label", "label", ("label=benign", "label=malignant"), ("label=normal",)).in_words()
        'label: a lesion is benign or malignant; none is normal'
        """
        if self.is_either_class:
            return f"{self.name}: every image has a lesion, whichever of its two classes it has"
        if self.labels == (self.target,):
            return f"{self.name}: a lesion is what the target names"
        shown = [" or ".join(label.partition("=")[2] for label in names) for names in (self.labels, self.negatives)]
        return f"{self.name}: a lesion is {shown[0]}; " + (f"none is {shown[1]}" if shown[1] else "every image has one")

    def columns(self, task: Task) -> list[int]:
        """Return the positions of its labels among the logits."""
        return [task.label_names.index(label) for label in self.labels]

    def truth(self, task: Task, truth: np.ndarray) -> np.ndarray:
        """Return ``(N,)``: 1 where a lesion is known, 0 where none is, NaN unknown, of truth ``(N, T)``."""
        known = task.label_truth(truth)[:, self.columns(task)]
        has_lesion = (known >= 0.5).any(axis=1) | self.is_either_class
        return np.asarray(np.where(np.isnan(known).any(axis=1), np.nan, has_lesion))


def lesions_of(task: Task, wanted: Sequence[str] = (), negatives: Sequence[str] = ()) -> tuple[Lesion, ...]:
    """Return what is drawn: for the targets or classes wanted, for all targets if none is named.

    A binary target's lesion is its positive class, or either class where the other one `means_benign`. Of several
    classes those mean none that `negatives` names, or else whose name `means_nothing_found`; of ordered ones, the
    first. All others mean a lesion, and each that is wanted alone, as in ``label=malignant``, is one of its own.
    Continuous targets have none. Where `negatives` is `NO_CLASS`, every class of every target means a lesion.

    Raises
    ------
    InputError
        If a name is no target, class or label name, or a target has no lesion to draw.

    >>> from focusmap.study import Target, Task
    >>> task = Task((Target("label", "multiclass", ("benign", "malignant", "normal")),))
    >>> lesions_of(task)[0].labels, lesions_of(task, ["label=malignant"])[0].negatives
    (('label=benign', 'label=malignant'), ('label=benign', 'label=normal'))
    """
    classes = {name for target in task.targets for name in target.classes}
    for name in negatives:
        if name not in classes and tuple(negatives) != NO_CLASS:
            raise InputError(f"negative class {name!r} is not one of {', '.join(classes)}.{suggest(name, classes)}")
    if not wanted:
        drawn = [target for target in task.targets if target.kind != "continuous"]
        if not drawn:
            raise InputError(f"{', '.join(task.names)}: a continuous value has no lesion to draw.")
        return tuple(_lesion_of(target, negatives) for target in drawn)
    return tuple(_lesion_named(task, name, negatives) for name in dict.fromkeys(wanted))


def check_lesions(cohort: Cohort, recipe: Recipe, wanted: Sequence[str] = (), negatives: Sequence[str] = ()) -> None:
    """Raise `InputError` if there is no lesion in a study's targets to be drawn, or the model has no maps for it."""
    name = model_name(cohort, recipe)
    is_plain = name.is_net_of_images and rows_for(cohort, recipe).images is None
    if not is_plain or not recipe.learns_labels:
        raise InputError(f"model {name.name!r} has no heat maps of labels to draw masks from. Leave --segment out.")
    lesions_of(cohort.task, wanted, negatives)


def _lesion_named(task: Task, name: str, negatives: Sequence[str]) -> Lesion:
    owners = {label: target for target in task.targets for label in target.label_names}
    if name in owners and owners[name].name != name:
        other_labels = tuple(label for label in owners[name].label_names if label != name)
        return Lesion(name, owners[name].name, (name,), other_labels)
    binary = next((one for one in task.targets if one.kind == "binary" and name == f"{one.name}={one.positive}"), None)
    if binary is not None:
        return Lesion(name, binary.name, binary.label_names)
    return _lesion_of(task.target(name), negatives)


def _lesion_of(target: Target, negatives: Sequence[str]) -> Lesion:
    if target.kind == "continuous":
        raise InputError(f"target {target.name!r} is continuous: it has no lesion to draw.")
    if target.kind == "binary":
        is_either = means_benign(target.classes[0]) if not negatives else _is_every_class(target, negatives)
        return Lesion(target.name, target.name, target.label_names, is_either_class=is_either)
    none = tuple(f"{target.name}={name}" for name in _without_lesion(target, negatives))
    labels = tuple(label for label in target.label_names if label not in none)
    if not labels:
        raise InputError(f"target {target.name!r}: no class is left that means a lesion.")
    return Lesion(target.name, target.name, labels, none)


def _is_every_class(target: Target, negatives: Sequence[str]) -> bool:
    return tuple(negatives) == NO_CLASS and not set(NO_CLASS) & set(target.classes)


def _without_lesion(target: Target, negatives: Sequence[str]) -> list[str]:
    if negatives:
        named = {plain_name(name) for name in negatives}
        return [name for name in target.classes if plain_name(name) in named]
    if target.kind == "ordinal":
        return [target.classes[0]]
    return [name for name in target.classes if means_nothing_found(name)]


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
