"""What a lesion is in a study, and what a model says of it in each case: how probable it is, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.nn import functional as F

from focusmap.errors import InputError, suggest
from focusmap.evaluation.calibration import apply
from focusmap.heatmaps import ACAM, FOCUS, heat_maps, methods_of
from focusmap.heatmaps.evidence import Item, Picture, pixels_of, predicted_labels, read_pictures
from focusmap.images.prepare import AnyPlacement
from focusmap.models.net import Model
from focusmap.nets.grids import on_grid
from focusmap.study.task import Target, Task, means_nothing_found, plain_name

CAM = "cam"
BATCH_SIZE = 16
# Masks are worked out on at most so many places, by the number of axes: 128 x 128, 64 x 64 x 64.
WORKING_PLACES = {2: 128**2, 3: 64**3}


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
    """

    name: str
    target: str
    labels: tuple[str, ...]
    negatives: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return what counts as a lesion, for the user to see.

        >>> Lesion("label", "label", ("label=benign", "label=malignant"), ("label=normal",)).in_words()
        'label: a lesion is benign or malignant; none is normal'
        """
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
        return np.asarray(np.where(np.isnan(known).any(axis=1), np.nan, (known >= 0.5).any(axis=1)))


def lesions_of(task: Task, wanted: Sequence[str] = (), negatives: Sequence[str] = ()) -> tuple[Lesion, ...]:
    """Return what is drawn: for the targets or classes wanted, for all targets if none is named.

    A binary target's lesion is its positive class. Of several classes those mean none that `negatives` names, or else
    whose name `means_nothing_found`; of ordered ones, the first. All others mean a lesion, and each that is
    wanted by its label name alone, as in ``label=malignant``, is one of its own. Continuous targets have none.

    Raises
    ------
    InputError
        If a name is no target, class or label name, or a target has no lesion to draw.

    >>> from focusmap.study.task import Target
    >>> task = Task((Target("label", "multiclass", ("benign", "malignant", "normal")),))
    >>> lesions_of(task)[0].labels, lesions_of(task, ["label=malignant"])[0].negatives
    (('label=benign', 'label=malignant'), ('label=benign', 'label=normal'))
    """
    classes = {name for target in task.targets for name in target.classes}
    for name in negatives:
        if name not in classes:
            raise InputError(f"negative class {name!r} is not one of {', '.join(classes)}.{suggest(name, classes)}")
    if not wanted:
        drawn = [target for target in task.targets if target.kind != "continuous"]
        if not drawn:
            raise InputError(f"{', '.join(task.names)}: a continuous value has no lesion to draw.")
        return tuple(_lesion_of(target, negatives) for target in drawn)
    return tuple(_lesion_named(task, name, negatives) for name in dict.fromkeys(wanted))


def _lesion_named(task: Task, name: str, negatives: Sequence[str]) -> Lesion:
    owners = {label: target for target in task.targets for label in target.label_names}
    if name in owners and owners[name].name != name:
        others = tuple(label for label in owners[name].label_names if label != name)
        return Lesion(name, owners[name].name, (name,), others)
    return _lesion_of(task.target(name), negatives)


def _lesion_of(target: Target, negatives: Sequence[str]) -> Lesion:
    if target.kind == "continuous":
        raise InputError(f"target {target.name!r} is continuous: it has no lesion to draw.")
    if target.kind == "binary":
        return Lesion(target.name, target.name, target.label_names)
    none = tuple(f"{target.name}={name}" for name in _without_lesion(target, negatives))
    labels = tuple(label for label in target.label_names if label not in none)
    if not labels:
        raise InputError(f"target {target.name!r}: no class is left that means a lesion.")
    return Lesion(target.name, target.name, labels, none)


def _without_lesion(target: Target, negatives: Sequence[str]) -> list[str]:
    if negatives:
        named = {plain_name(name) for name in negatives}
        return [name for name in target.classes if plain_name(name) in named]
    if target.kind == "ordinal":
        return [target.classes[0]]
    return [name for name in target.classes if means_nothing_found(name)]


@dataclass(frozen=True)
class LesionCase:
    """One case as the model sees it.

    Parameters
    ----------
    item, placement
        Which picture, and where its prepared square comes from.
    picture : (C, *spatial) float32
        Standardised, on the grid that masks are worked out on.
    maps
        Method to map ``(*spatial)``, as the net draws it, on that grid; the first is the one that masks start from.
    probability
        Calibrated, that there is a lesion.
    predicted
        Whether the model says that there is one.
    """

    item: Item
    placement: AnyPlacement
    picture: np.ndarray
    maps: dict[str, np.ndarray]
    probability: float
    predicted: bool


def map_methods(model: Model) -> tuple[str, ...]:
    """Return the maps that are drawn of a model: the one that masks start from, and the plain class activation map."""
    own = [name for name in (ACAM, FOCUS) if name in methods_of(model.net)]
    return (*own[:1], CAM)


def read_cases(
    model: Model, items: Sequence[Item], lesion: Lesion, failures: list[tuple[str, str]]
) -> Iterator[LesionCase]:
    """Yield the cases that can be read, in order; append (image_id, reason) of the others to `failures`."""
    for start in range(0, len(items), BATCH_SIZE):
        pictures = list(read_pictures(items[start : start + BATCH_SIZE], model.preparation, failures))
        if pictures:
            yield from _cases_of(model, pictures, lesion)


def _cases_of(model: Model, pictures: Sequence[Picture], lesion: Lesion) -> Iterator[LesionCase]:
    batch = pixels_of(model, pictures)
    shape = working_shape(tuple(batch.shape[2:]))
    columns = lesion.columns(model.task)
    drawn = {name: heat_maps(model.net.eval(), batch, name, columns) for name in map_methods(model)}
    logits = drawn[CAM].logits.cpu().double().numpy()
    probabilities = apply(model.task, model.to_units(logits), model.card.temperatures)
    predicted = np.any(predicted_labels(model, probabilities)[:, columns], axis=1, keepdims=True)
    probable = probabilities[:, columns]
    maps = {name: on_grid(found.maps.float(), shape).cpu().numpy() for name, found in drawn.items()}
    shrunk = F.interpolate(batch, shape, mode="area").cpu().numpy()
    for i, picture in enumerate(pictures):
        most = int(probable[i].argmax())
        yield LesionCase(
            picture.item,
            picture.placement,
            shrunk[i],
            {name: found[i, most] for name, found in maps.items()},
            float(min(probable[i].sum(), 1.0)),
            bool(predicted[i, 0]),
        )


def working_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the grid that masks are worked out on: the net's own input, shrunk evenly to `WORKING_PLACES`.

    >>> working_shape((48, 48)), working_shape((224, 224))
    ((48, 48), (128, 128))
    """
    factor = (WORKING_PLACES[len(shape)] / np.prod(shape)) ** (1 / len(shape))
    return shape if factor >= 1 else tuple(max(round(side * factor), 1) for side in shape)
