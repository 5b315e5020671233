"""Where findings really are: mask files and boxes of a cohort, as masks in the image's own grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from focusmap.basics import InputError, MissingFileError, nearest, read_table
from focusmap.images import MASK_REMEDY, mask_misfit, read_image, read_mask, read_shape
from focusmap.study import Cohort, Task, means_empty, numbers_in, plain

BOX_COLUMNS = ("image_id", "finding", "x", "y", "w", "h")
SIDES = ["x", "y", "w", "h"]


@dataclass(frozen=True)
class Boxes:
    """Lesion boxes of a study.

    Parameters
    ----------
    by_label
        ``(image_id, label name)`` to ``(n, 4) float``: left, top, width, height in pixels of the source image.
    unmatched
        Finding names of the file that are no label of the task; their boxes are not used and never guessed.
    n_elsewhere
        Boxes of images that are not in the cohort.
    nearest
        Of the names in `unmatched`, those that a label's name comes near, and which one.
    n_outside
        Boxes that lie outside their image wholly; they are not used.
    n_beyond
        Boxes that are used, and reach beyond their image by more than a pixel.
    unknown
        The first image that is not in the cohort, and the one in it that comes near; empty where there is none.
    """

    by_label: Mapping[tuple[str, str], np.ndarray]
    unmatched: tuple[str, ...] = ()
    n_elsewhere: int = 0
    nearest: Mapping[str, str] = field(default_factory=dict)
    n_outside: int = 0
    n_beyond: int = 0
    unknown: tuple[str, str] = ("", "")

    def in_words(self) -> str:
        """Return how many boxes there are to score maps by, and which find no image, no label, or lie outside."""
        n, n_images = sum(map(len, self.by_label.values())), len({image_id for image_id, _ in self.by_label})
        sentences = [
            f"{n} in {n_images} images; used to score heat maps" if n else "none finds its image and its label"
        ]
        if self.n_elsewhere:
            name, near = self.unknown
            meant = f" ({name}; did you mean {near}?)" if near else ""
            sentences.append(f"{self.n_elsewhere} are of images that the table lacks{meant}")
        if self.n_outside:
            sentences.append(f"{self.n_outside} lie outside their image and do not apply: are they of a resized one?")
        if self.n_beyond:
            sentences.append(f"{self.n_beyond} reach beyond their image: are they of a resized one?")
        if self.unmatched:
            sentences.append(f"no label is called {', '.join(self.unmatched)}{did_you_mean(self.nearest)}")
        return "; ".join(sentences)


def did_you_mean(nearest: Mapping[str, str]) -> str:
    """Return a question after the labels that come near to names which are none; empty where there are none.

    >>> did_you_mean({"Infiltrate": "Infiltration"})
    ". Did you mean 'Infiltration'?"
    """
    names = dict.fromkeys(map(repr, nearest.values()))
    return f". Did you mean {', '.join(names)}?" if names else ""


@dataclass(frozen=True)
class Reference:
    """Reference masks of a cohort: a box where there is one for the label, else its mask file."""

    cohort: Cohort
    boxes: Boxes | None = None

    @property
    def exists(self) -> bool:
        """True if any image of the cohort has a mask or a box."""
        return self.cohort.has_masks or bool(self.boxes and self.boxes.by_label)

    def mask(self, image_id: str, label: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return ``(*shape) bool``, or None where nothing is known of this label in this image.

        Raises
        ------
        InputError
            If a mask does not have the shape of its image, or a volume has boxes.
        """
        if self.boxes is not None and (image_id, label) in self.boxes.by_label:
            return fill_boxes(self.boxes.by_label[image_id, label], shape)
        file = self.cohort.mask_file(image_id, target_of(self.cohort.task, label))
        if file is None:
            return None
        mask = read_mask(file)
        if wrong := mask_misfit(file, mask.shape, image_id, shape):
            raise InputError(f"{wrong}. {MASK_REMEDY}")
        return mask

    def boxes_of(self, image_id: str) -> dict[str, np.ndarray]:
        """Return the boxes ``(n, 4)`` of each label that has some in an image."""
        by_label = self.boxes.by_label if self.boxes is not None else {}
        names = [name for name in self.cohort.task.label_names if (image_id, name) in by_label]
        return {name: by_label[image_id, name] for name in names}

    def masks_of(self, label: str) -> Iterator[np.ndarray]:
        """Yield ``(*spatial) bool``, each of its own size, for every known positive of a label with a mask."""
        truth = self.cohort.task.label_truth(self.cohort.truth)[:, self.cohort.task.label_names.index(label)]
        for i in np.flatnonzero(truth >= 0.5):
            image_id = self.cohort.image_ids[i]
            if self.boxes is not None and (image_id, label) in self.boxes.by_label:
                shape = read_image(self.cohort.file(image_id)).source_shape
                yield fill_boxes(self.boxes.by_label[image_id, label], shape)
            elif file := self.cohort.mask_file(image_id, target_of(self.cohort.task, label)):
                yield read_mask(file)


def reference_of(cohort: Cohort, boxes_file: Path | None = None) -> Reference:
    """Return the masks of a cohort, with the boxes of `boxes_file`, or else of the file that its study names."""
    path = boxes_file or cohort.study.boxes_file
    return Reference(cohort, read_boxes(path, cohort) if path else None)


def lesion_boxes(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Return what is marked in each of N images, and which labels ``(L,) bool`` are marked in some.

    The first is ``(N, 4)``: top, left, bottom and right edge of all marks, as shares of the image's rows and columns;
    NaN where nothing is marked. Masks count whether the image has the label or not.
    """
    cohort, edges_of_images = reference.cohort, np.full((len(reference.cohort), 4), np.nan)
    names, positive = cohort.task.label_names, cohort.task.label_truth(cohort.truth) >= 0.5
    marked: set[str] = set()
    for i, image_id in enumerate(cohort.image_ids):
        files = {name: cohort.mask_file(image_id, target_of(cohort.task, name)) for name in names}
        edges = {file: _edges(read_mask(file)) for file in set(files.values()) if file is not None}
        marked |= {name for k, name in enumerate(names) if positive[i, k] and edges.get(files[name] or Path())}
        known = [one for one in edges.values() if one is not None]
        if boxes := reference.boxes_of(image_id):
            shape = read_shape(cohort.file(image_id))
            known += [box_edges for one in boxes.values() if (box_edges := _edges(fill_boxes(one, shape)))]
            marked |= boxes.keys()
        if known:
            every = np.array(known)
            edges_of_images[i] = [*every[:, :2].min(axis=0), *every[:, 2:].max(axis=0)]
    return edges_of_images, np.array([name in marked for name in names], dtype=bool)


def _edges(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """Return top, left, bottom and right of what is true in a mask, as shares of its sides; None of an empty one."""
    if not mask.any():
        return None
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] + (0, 1) for axis in (1, 0))
    return top / mask.shape[0], left / mask.shape[1], bottom / mask.shape[0], right / mask.shape[1]


def fill_boxes(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``(rows, columns) bool``, true in every pixel that a box touches; `InputError` for a volume.

    >>> fill_boxes(np.array([[1.0, 0.0, 1.5, 1.0]]), (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    if len(shape) != 2:
        raise InputError("boxes mark images; mark lesions of volumes by masks (--mask).")
    mask = np.zeros(shape, dtype=bool)
    for x, y, w, h in boxes:
        left, top = max(int(np.floor(x)), 0), max(int(np.floor(y)), 0)
        mask[top : int(np.ceil(y + h)), left : int(np.ceil(x + w))] = True
    return mask


def target_of(task: Task, label: str) -> str:
    """Return the name of the target that a label name belongs to.

    >>> from focusmap.study import Target
    >>> target_of(Task((Target("label", "multiclass", ("benign", "malignant")),)), "label=benign")
    'label'
    """
    return next(target.name for target in task.targets if label in target.label_names)


def read_boxes(path: Path, cohort: Cohort) -> Boxes:
    """Return the boxes of a CSV file with the columns ``image_id, finding, x, y, w, h`` (pixels of the source).

    Numbers may have decimal commas and a unit; rows with no number in them are of images without a box. A finding is a
    label of the task, or a class of one of its targets. Where a column ``path`` stands too, it
    finds the image if the image_id does not.

    Raises
    ------
    InputError
        If a column is missing, a side is not a number or a size not above 0, or all are shares of the images.
    """
    table = read_table(path)
    missing = [name for name in BOX_COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; {', '.join(BOX_COLUMNS)} are expected.")
    # A row of an image without a finding has no box, and one box in two rows is one.
    table = table[~table[SIDES].map(means_empty).all(axis=1)].drop_duplicates([*BOX_COLUMNS])
    sides = _sides(path, table)
    images, labels = _image_ids(table, cohort), [_label_of(cohort.task, name) for name in table["finding"]]
    by_label, n_outside, n_beyond = _grouped(images, labels, sides, cohort)
    unmatched = sorted({name for name, label in zip(table["finding"], labels, strict=True) if label is None})
    unknown = next((str(name) for name, image in zip(table["image_id"], images, strict=True) if image is None), "")
    return Boxes(
        by_label,
        tuple(unmatched),
        sum(image_id is None for image_id in images),
        _nearest(cohort.task, unmatched),
        n_outside,
        n_beyond,
        (unknown, _image_near(unknown, cohort) if unknown else ""),
    )


def _grouped(
    images: Sequence[str | None], labels: Sequence[str | None], sides: np.ndarray, cohort: Cohort
) -> tuple[dict[tuple[str, str], np.ndarray], int, int]:
    """Return the boxes ``(n, 4)`` per image and label; how many lie outside their image, and how many reach beyond."""
    shapes = {image_id: _shape_of(cohort, image_id) for image_id in dict.fromkeys(images) if image_id is not None}
    grouped: dict[tuple[str, str], list[np.ndarray]] = {}
    n_outside = n_beyond = 0
    for image_id, label, box in zip(images, labels, sides, strict=True):
        if image_id is None or label is None:
            continue
        if not _touches(box, shapes[image_id]):
            n_outside += 1
            continue
        n_beyond += _reaches_beyond(box, shapes[image_id])
        grouped.setdefault((image_id, label), []).append(box)
    return {key: np.stack(boxes) for key, boxes in grouped.items()}, n_outside, n_beyond


def _shape_of(cohort: Cohort, image_id: str) -> tuple[int, ...]:
    """Return rows and columns of an image by its header; empty where they cannot be told."""
    try:
        return read_shape(cohort.file(image_id))
    except (InputError, MissingFileError):
        return ()


def _touches(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    x, y, w, h = box
    return len(shape) != 2 or bool(x < shape[1] and y < shape[0] and x + w > 0 and y + h > 0)


def _reaches_beyond(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    x, y, w, h = box
    return len(shape) == 2 and bool(min(x, y) < -1 or x + w > shape[1] + 1 or y + h > shape[0] + 1)


def _image_near(image_id: str, cohort: Cohort) -> str:
    """Return the image whose name is this one but for folders, suffix or spelling; else one that comes near."""
    word = plain(PurePosixPath(image_id).stem)
    for known in cohort.image_ids:
        if plain(PurePosixPath(known).stem) == word:
            return known
    return ""


def _sides(path: Path, table: pd.DataFrame) -> np.ndarray:
    sides = np.stack([numbers_in(table[name]) for name in SIDES], axis=1) if len(table) else np.empty((0, 4))
    wrong = np.flatnonzero(~np.isfinite(sides).all(axis=1) | (sides[:, 2:] <= 0).any(axis=1))
    if len(wrong):
        cells = ", ".join(table[SIDES].iloc[wrong[0]])
        row = table.index[wrong[0]] + 2
        raise InputError(f"{path} row {row}: {cells} is not a box; x, y and a w and h above 0 are expected.")
    if len(sides) and sides.max() <= 1:
        raise InputError(f"{path}: no side is above 1; they seem to be shares of the images. Write them in pixels.")
    return sides


def _image_ids(table: pd.DataFrame, cohort: Cohort) -> list[str | None]:
    known = {image_id: image_id for image_id in cohort.image_ids}
    by_path = dict(zip(cohort.table["path"], cohort.image_ids, strict=True))
    pairs = zip(table["image_id"], table["path" if "path" in table else "image_id"], strict=True)
    return [known.get(image_id) or by_path.get(path) for image_id, path in pairs]


def _nearest(task: Task, findings: Sequence[str]) -> dict[str, str]:
    known = [label.removeprefix(f"{target_of(task, label)}=") for label in task.label_names]
    found = {finding: nearest(finding, known) for finding in findings}
    return {finding: label for finding, label in found.items() if label}


def _label_of(task: Task, finding: str) -> str | None:
    candidates = [finding, *(f"{name}={finding}" for name in task.names)]
    return next((name for name in candidates if name in task.label_names), None)
