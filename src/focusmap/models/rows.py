"""A model of rows of numbers: the covariates of a table, or features measured of images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, cast

import numpy as np

from focusmap.basics import Json, ModelError
from focusmap.images import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard
from focusmap.models.features import ImageFeatures
from focusmap.models.predictor import EncodedImages, Predictor
from focusmap.models.target_model import TargetModel, target_model_from
from focusmap.study import TABLE_NET, Batch, Cohort, Flags, Task
from focusmap.study.covariates import Covariates

WORDS = "features.words"
N_ROWS_ASKED = 4
# Images of a store that are measured together; of files each by itself.
OF_STORE = 256


class FittedRows(Protocol):
    """What is fitted: from rows of numbers to logits, and back from its arrays."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` of rows ``(N, K)``; a continuous target's value in its own unit."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything that was fitted."""

    def describe(self) -> dict[str, Json]:
        """Return what the arrays are, for the card's architecture."""


@dataclass(frozen=True)
class Estimators:
    """One fitted estimator per target."""

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


def estimators_from(task: Task, architecture: Mapping[str, Json], arrays: Mapping[str, np.ndarray]) -> FittedRows:
    """Read what `Estimators` wrote; `ModelError` if something is missing."""
    forms = architecture.get("forms")
    if not isinstance(forms, list) or len(forms) != len(task.targets):
        raise ModelError(f"the architecture names no form for each of {len(task.targets)} targets.")
    return Estimators(task, tuple(target_model_from(f"{i}", str(form), arrays) for i, form in enumerate(forms)))


@dataclass(frozen=True)
class RowModel:
    """A fitted model with the card that says what it predicts, from what rows, and how its output is read.

    Parameters
    ----------
    card
        What `model.json` holds.
    fitted
        From rows of numbers to logits.
    features
        Of images; None for a table's covariates, which the card holds.
    """

    card: ModelCard
    fitted: FittedRows
    features: ImageFeatures | None = None

    @property
    def members(self) -> tuple[Predictor, ...]:
        """None: it is a single model."""
        return ()

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @cached_property
    def covariates(self) -> Covariates:
        """How a table's cells become rows."""
        return Covariates.from_list(self.card.covariates)

    def explainable(self) -> None:
        """Return None: there is no net that could be asked where it looks."""
        return

    def with_card(self, card: ModelCard) -> "RowModel":
        """Return the same model with another card."""
        return replace(self, card=card)

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """How images are prepared; empty of a table's model."""
        return (preparation_from(self.card.preparation),) if self.card.preparation else ()

    @property
    def views(self) -> tuple[str, ...]:
        """None: rows are single images, or have none."""
        return ()

    def batch_size(self, *, stored: bool) -> int:
        """Return how many images are measured at once."""
        return OF_STORE if stored else 1

    def check(self, rows: Cohort) -> None:
        """Raise `InputError` where a table lacks a covariate."""
        if self.card.covariates:
            self.covariates.encode(rows)

    def to(self, device: str) -> "RowModel":  # noqa: ARG002
        """Return the model as it is: it always computes on the processor."""
        return self

    def encode(self, batch: Batch) -> EncodedImages:
        """Return the logits of the images of a batch; nothing of a table."""
        if self.features is None:
            return EncodedImages(np.empty((len(batch), 0)))
        return EncodedImages(self.fitted(self.features(batch.images(*self.preparations).prepared)))

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:
        """Return the logits ``(N, L)``, and what of each row of a table is unlike train."""
        if self.features is not None:
            return encoded.features, None
        table = self.covariates.encode(rows)
        return self.fitted(table.values), table.flags

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that was fitted to train."""
        words = {} if self.features is None else {WORDS: self.features.words}
        return {**self.fitted.to_arrays(), **words}

    def known_answer(self, earlier: Mapping[str, Json]) -> dict[str, Json]:
        """Return the logits of four rows of noise."""
        # RandomState's stream is frozen for all time, unlike that of a Generator.
        seed, n_inputs = cast(int, earlier.get("seed", 0)), cast(int, self.card.architecture["n_inputs"])
        rows = np.random.RandomState(seed).standard_normal((N_ROWS_ASKED, n_inputs)).astype(np.float32)
        return {"seed": seed, "logits": [float(value) for value in self.fitted(np.abs(rows)).ravel()]}

    def folders(self) -> Mapping[str, Predictor]:
        """Return none: it is made of no other."""
        return {}


def rows_from(card: ModelCard, arrays: Mapping[str, np.ndarray], members: Mapping[str, Predictor]) -> RowModel:  # noqa: ARG001
    """Return the model that a folder holds.

    Raises
    ------
    ModelError
        If its arrays are not those that the card names.
    """
    fitted, features = _fitted_from(card, arrays), None
    if measured := card.architecture.get("features"):
        features = ImageFeatures(tuple(map(str, cast(list[Json], measured))), arrays.get(WORDS, np.empty((0, 128))))
    return RowModel(card, fitted, features)


def _fitted_from(card: ModelCard, arrays: Mapping[str, np.ndarray]) -> FittedRows:
    if card.architecture.get("model") != TABLE_NET:
        return estimators_from(card.task, card.architecture, arrays)
    from focusmap.nets import fitted_table_net_from

    return fitted_table_net_from(card.task, card.architecture, arrays)
