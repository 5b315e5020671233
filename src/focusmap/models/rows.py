"""A model of rows of numbers, the covariates of a table or features measured of images; and how it is fitted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, cast

import numpy as np

from focusmap.basics import Json, ModelError
from focusmap.images import AnyPreparation, preparation_from
from focusmap.models.card import ModelCard
from focusmap.models.features import ImageFeatures, fit_features
from focusmap.models.manifest import library_versions
from focusmap.models.predictor import EncodedImages, Predictor
from focusmap.models.target_model import Rows, TargetModel, fit_target, screened, target_model_from
from focusmap.models.training import Training
from focusmap.study import TABLE_NET, Batch, Cohort, Flags, RunOptions, Samples, Task, check_learnable
from focusmap.study.covariates import Covariates, fit_covariates

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


N_FOR_WORDS = 500


def fit_estimators(training: Training, options: RunOptions) -> RowModel:
    """Return one fitted estimator per target, each on the training rows whose truth it knows.

    Raises
    ------
    InputError
        If no target has two different values on train, or a covariate cannot be used.
    """
    train = training.rows("train")
    check_learnable(train.task, train.learnt)
    covariates, features = None, None
    if training.model.shown == "table":
        covariates = fit_covariates(training.cohort, train.image_ids)
        values = covariates.encode(train).values
    else:
        assert training.store is not None
        features = fit_features(training.model.features, _sample(training), training.recipe.seed)
        batches = Samples.from_store(train, training.store).batches([training.store.preparation], OF_STORE)
        values = np.concatenate([features(batch.images(training.store.preparation).prepared) for batch in batches])
    fitted = _fit_targets(training, values, options)
    return row_model(fitted, training, covariates=covariates, features=features, n_inputs=values.shape[1])


def _sample(training: Training) -> np.ndarray:
    """Return at most some hundred training images, of which visual words are made."""
    assert training.store is not None
    train = training.rows("train")
    chosen = np.random.default_rng(training.recipe.seed).permutation(len(train))[:N_FOR_WORDS]
    return training.store.pixels[training.store.rows(train.take(np.sort(chosen)).image_ids)]


def _fit_targets(training: Training, values: np.ndarray, options: RunOptions) -> Estimators:
    train, recipe = training.rows("train"), training.recipe
    fitted = []
    for position, target in enumerate(train.task.targets):
        truth = train.learnt[:, position]
        known = ~np.isnan(truth)
        rows = Rows(values[known], truth[known], train.patient_ids[known].astype(str))
        if recipe.screen_negatives and target.kind == "binary":
            rows = screened(rows, training.model.estimator, recipe.screen_negatives, recipe.seed)
        fitted.append(fit_target(target, training.model.estimator, rows, recipe.sampling, recipe.seed))
        options.progress(f"fitting {recipe.model} ({training.run.folder.name})", position + 1, len(train.task.targets))
    return Estimators(train.task, tuple(fitted))


def row_model(
    fitted: FittedRows,
    training: Training,
    *,
    n_inputs: int,
    covariates: Covariates | None = None,
    features: ImageFeatures | None = None,
) -> RowModel:
    """Return what was fitted with its card; thresholds and temperatures are still to be fitted."""
    recipe = training.recipe
    architecture: dict[str, Json] = {"model": recipe.model, "n_inputs": n_inputs, **fitted.describe()}
    if features is not None:
        architecture["features"] = list(features.names)
    card = ModelCard(
        task=training.cohort.task,
        architecture=architecture,
        preparation={} if training.store is None or covariates else training.store.preparation.to_dict(),
        thresholds={},
        threshold_for=recipe.threshold_for,
        temperatures={},
        scales={},
        known_answer={},
        versions=library_versions(),
        training={
            "n_parameters": sum(int(array.size) for array in fitted.to_arrays().values()),
            "n_train": len(training.split.ids("train")),
            "seed": recipe.seed,
        },
        covariates=covariates.to_list() if covariates else [],
    )
    return RowModel(card, fitted, features)
