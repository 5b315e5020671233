"""Lesions: which labels of a study mean that there is one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.basics import InputError, suggest
from focusmap.fitting import model_name, rows_for
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

    def in_words(self, task: Task) -> str:
        """Return which images of a study's classes have a lesion and which have none, for the user to see.

        >>> from focusmap.study import Target
        >>> task = Task((Target("nodule"), Target("label", "multiclass", ("benign", "malignant", "normal"))))
        >>> for lesion in lesions_of(task):
        ...     print(lesion.in_words(task))
        nodule: images labelled 1 have a lesion, those labelled 0 have none
        label: images labelled benign or malignant have a lesion, those labelled normal have none
        """
        having, lacking = self._classes(task)
        if not lacking:
            return f"{self.name}: every image has a lesion, labelled {' or '.join(having)}"
        shown = " or ".join(having), " or ".join(lacking)
        return f"{self.name}: images labelled {shown[0]} have a lesion, those labelled {shown[1]} have none"

    def _classes(self, task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the classes that mean a lesion, and those that mean none."""
        classes = task.target(self.target).classes
        if self.is_either_class:
            return classes, ()
        if self.labels == (self.target,):
            return classes[1:], classes[:1]
        having, lacking = (tuple(one.partition("=")[2] for one in own) for own in (self.labels, self.negatives))
        return having, lacking

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
