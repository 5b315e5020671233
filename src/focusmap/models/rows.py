"""A model of rows of numbers, as a value and as a folder: arrays in ``weights.safetensors`` beside ``model.json``.

Rows are the covariates of a table, or features measured of pictures. Nothing is pickled, so that a model from
elsewhere can hold numbers and texts only. A model of several members (folds, seeds) holds a folder for each in the
place of weights; since each has its own encoding, fitted on its own train, their answers are averaged and not their
numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from focusmap.errors import MissingFileError, ModelError
from focusmap.files import Json, atomic
from focusmap.images.prepare import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard, read_card, write_card
from focusmap.models.features import PictureFeatures
from focusmap.models.fitting import TargetModel, target_model
from focusmap.models.predictor import Looked
from focusmap.study.cohort import Cohort
from focusmap.study.covariates import Covariates
from focusmap.study.flags import Flags, said_by_models
from focusmap.study.samples import Batch
from focusmap.study.task import Task

CARD, WEIGHTS, WORDS = "model.json", "weights.safetensors", "features.words"
PROBE_ROWS = 4
PROBE_TOLERANCE = 1e-3
# Images of a store that are measured together; of files each by itself.
OF_STORE = 256


class Answer(Protocol):
    """What is fitted: from rows of numbers to logits, and back from its arrays."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` of rows ``(N, K)``; a continuous target's value in its own unit."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything that was fitted."""

    def describe(self) -> dict[str, Json]:
        """Return what the arrays are, for the card's architecture."""


@dataclass(frozen=True)
class Estimators:
    """One fitted estimator a target."""

    task: Task
    targets: tuple[TargetModel, ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` of rows ``(N, K)``; a continuous target's value in its own unit."""
        return np.concatenate([model(values) for model in self.targets], axis=1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of all targets, by number."""
        return {key: array for i, model in enumerate(self.targets) for key, array in model.to_arrays(f"{i}").items()}

    def describe(self) -> dict[str, Json]:
        """Return the form of each target's scorer."""
        return {"forms": [model.describe() for model in self.targets]}


def estimators_from(task: Task, architecture: Mapping[str, Json], arrays: Mapping[str, np.ndarray]) -> Answer:
    """Read what `Estimators` wrote; `ModelError` if something is missing."""
    forms = architecture.get("forms")
    if not isinstance(forms, list) or len(forms) != len(task.targets):
        raise ModelError(f"the architecture names no form for each of {len(task.targets)} targets.")
    return Estimators(task, tuple(target_model(f"{i}", str(form), arrays) for i, form in enumerate(forms)))


MakeAnswer = Callable[[Task, Mapping[str, Json], Mapping[str, np.ndarray]], Answer]


@dataclass(frozen=True)
class RowModel:
    """A fitted model with the card that says what it predicts, from what rows, and how its output is read.

    Parameters
    ----------
    card
        What `model.json` holds.
    answer
        What was fitted; None for the mean of several members.
    features
        Of pictures; None for a table's covariates, which the card holds.
    members
        Models of their own, whose logits are averaged.
    """

    card: ModelCard
    answer: Answer | None
    features: PictureFeatures | None = None
    members: tuple["RowModel", ...] = ()

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @cached_property
    def covariates(self) -> Covariates:
        """How a table's cells become rows."""
        return Covariates.from_list(self.card.covariates)

    @property
    def parts(self) -> tuple["RowModel", ...]:
        """The members, or the one model."""
        return self.members or (self,)

    def explainable(self) -> None:
        """Return None: there is no net that could be asked where it looks."""
        return

    def calibrated(self, temperatures: Mapping[str, float], thresholds: Mapping[str, float]) -> "RowModel":
        """Return the same model with the temperatures and thresholds that were fitted on tune."""
        return replace(self, card=replace(self.card, temperatures=temperatures, thresholds=thresholds))

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """How images are prepared; empty of a table's model."""
        return (preparation_from(self.card.preparation),) if self.card.preparation else ()

    @property
    def views(self) -> tuple[str, ...]:
        """None: rows are single images, or have none."""
        return ()

    def n_images(self, *, stored: bool) -> int:
        """Return how many images are measured at once."""
        return OF_STORE if stored else 1

    def check(self, rows: Cohort) -> None:
        """Raise `InputError` where a table lacks a covariate."""
        for part in self.parts:
            if part.card.covariates:
                part.covariates.encode(rows)

    def to(self, device: str) -> "RowModel":  # noqa: ARG002
        """Return the model as it is: it always computes on the processor."""
        return self

    def look(self, batch: Batch) -> Looked:
        """Return of each member what it says of the images of a batch, or nothing of a table."""
        none = np.empty((len(batch), 0))
        seen = [
            part._said_of_images(batch.images(*self.preparations).prepared) if self.preparations else none
            for part in self.parts
        ]
        return Looked(tuple(seen), views=({},) * len(seen))

    def learnt(self, looked: Looked, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return the mean of what the members say, ``(N, L)``, and what of each row of a table is unlike train."""
        if not self.card.covariates:
            return np.asarray(np.mean(looked.features, axis=0)), None
        encoded = [part.covariates.encode(rows) for part in self.parts]
        logits = [part._answered(found.values) for part, found in zip(self.parts, encoded, strict=True)]
        flags = tuple(map(said_by_models, zip(*(found.flags for found in encoded), strict=True)))
        return np.asarray(np.mean(logits, axis=0)), flags

    def _said_of_images(self, images: np.ndarray) -> np.ndarray:
        assert self.features is not None, "a table's model is asked of tables"
        return self._answered(self.features(images))

    def _answered(self, values: np.ndarray) -> np.ndarray:
        assert self.answer is not None, "members answer for the whole"
        return self.answer(values)


def mean_of(models: Sequence[RowModel], made_of: str) -> RowModel:
    """Return the model that averages the answers of several of one task; not calibrated yet."""
    members = tuple(part for model in models for part in model.parts)
    first = members[0].card
    facts: dict[str, Json] = {
        **first.training,
        "n_parameters": sum(cast(int, member.card.training.get("n_parameters", 0)) for member in members),
        "ensemble_of": made_of,
    }
    card = replace(first, members=[f"members/{k}" for k in range(len(members))], training=facts, probe={})
    return RowModel(card, None, None, members).calibrated({}, {})


def save_row_model(model: RowModel, folder: Path) -> RowModel:
    """Write arrays or members, and the card, to `folder`; return the model as saved, with the probe's logits."""
    from safetensors.numpy import save_file

    for name, member in zip(model.card.members, model.members, strict=True):
        save_row_model(member, folder / name)
    if model.answer is not None:
        model = replace(model, card=replace(model.card, probe=_probe(model)))
        arrays = model.answer.to_arrays() if model.answer else {}
        if model.features is not None:
            arrays = {**arrays, WORDS: model.features.words}
        with atomic(folder / WEIGHTS) as temporary:
            save_file(arrays, temporary)
    write_card(model.card, folder / CARD)
    return model


def load_row_model(folder: Path, make_answer: MakeAnswer = estimators_from) -> RowModel:
    """Return the model in `folder`, once it has given the probe's logits.

    Raises
    ------
    MissingFileError
        If a file of the model is missing.
    ModelError
        If the model is newer than this program, its arrays are damaged, or it does not answer as it was saved.
    """
    card = read_card(folder / CARD)
    if card.members:
        return RowModel(card, None, None, tuple(_load_member(folder, name, make_answer) for name in card.members))
    arrays = _read_arrays(folder / WEIGHTS)
    try:
        answer = make_answer(card.task, card.architecture, arrays)
    except ModelError as error:
        raise ModelError(f"{folder / CARD}: {error}") from None
    features = None
    if measured := card.architecture.get("features"):
        features = PictureFeatures(tuple(map(str, cast(list[Json], measured))), arrays.get(WORDS, np.empty((0, 128))))
    model = RowModel(card, answer, features)
    _check_probe(model, folder)
    return model


def _load_member(folder: Path, name: str, make_answer: MakeAnswer) -> RowModel:
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / CARD}: the member {name!r} lies outside of the model's folder.")
    member = load_row_model(place, make_answer)
    if member.members:
        raise ModelError(f"{place}: has members of its own; a member is a single model.")
    return member


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise MissingFileError(f"{path}: the model's weights are missing. Copy the whole model folder.")
    try:
        arrays: dict[str, np.ndarray] = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path}: is damaged ({error}). Copy the model folder again.") from None
    return arrays


def _probe(model: RowModel, seed: int = 0) -> dict[str, Json]:
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    n_inputs = cast(int, model.card.architecture["n_inputs"])
    rows = np.random.RandomState(seed).standard_normal((PROBE_ROWS, n_inputs)).astype(np.float32)
    return {"seed": seed, "logits": [float(value) for value in model._answered(np.abs(rows)).ravel()]}


def _check_probe(model: RowModel, folder: Path) -> None:
    expected = np.array(model.card.probe.get("logits"), dtype=np.float64)
    try:
        found = np.array(_probe(model, cast(int, model.card.probe.get("seed")))["logits"], dtype=np.float64)
    except (ValueError, IndexError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder}: arrays and card do not belong together ({error}).") from None
    off = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not off <= PROBE_TOLERANCE * (1 + float(np.abs(expected).max())):
        raise ModelError(
            f"{folder}: the model does not answer as it was saved (off by {off:.2g}); arrays and card belong to "
            "different models. Copy the whole model folder again."
        )
