"""Nets of pictures and models of rows behind one face: the one place where the verbs tell them apart."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from focusmap.classical.model import RowModel, estimators_from, load_row_model, mean_of, save_row_model
from focusmap.classical.names import TABLE_NET, ModelName, parse_model
from focusmap.cohort.cells import type_covariates
from focusmap.cohort.cohort import Cohort
from focusmap.cohort.declaration import PATH_COLUMNS
from focusmap.errors import InputError
from focusmap.values.files import read_json
from focusmap.values.recipe import Recipe
from focusmap.values.target_weights import parse_target_weights
from focusmap.values.task import UNLABELLED, Task

if TYPE_CHECKING:
    from focusmap.imaging.store import Store
    from focusmap.inference.model import Model
    from focusmap.nets.views import View

    AnyModel: TypeAlias = Model | RowModel

TABLE_DEFAULT = "gradient-boosting"
CHUNK = 256
# Fast, and neither of colour alone nor of edges alone.
PICTURE_BASELINE, TABLE_BASELINE = "histogram+lbp+pyramid+logistic", "logistic"


def model_name(cohort: Cohort, recipe: Recipe) -> ModelName:
    """Return the recipe's model; ``auto`` for a study without pictures is gradient boosting on its table."""
    is_table = recipe.model == "auto" and not cohort.has_images
    return parse_model(TABLE_DEFAULT if is_table else recipe.model)


def baseline_of(recipe: Recipe) -> str:
    """Return the name of the simple model that a resolved recipe sets beside its own, or ``none``."""
    if not recipe.learns_labels:
        return "none"
    if recipe.baseline != "auto":
        return recipe.baseline
    # The features that a fast model is made of are those of pictures.
    if recipe.shape:
        return "none"
    return TABLE_BASELINE if parse_model(recipe.model).shown == "table" else PICTURE_BASELINE


def check_labels(cohort: Cohort, recipe: Recipe) -> None:
    """Raise `InputError` where an autoencoder is given labels, or another model none."""
    if recipe.learns_labels == (cohort.task != UNLABELLED):
        return
    if recipe.learns_labels:
        raise InputError(f"{cohort.study.label_file}: the study has no labels. Train it with --model autoencoder.")
    raise InputError(
        f"model {recipe.model!r} learns without labels; the study has {', '.join(cohort.task.names)}. Read the label "
        "file with Declaration(unlabelled=True), and leave --study out."
    )


def check_model(cohort: Cohort, recipe: Recipe) -> ModelName:
    """Return the recipe's model; `InputError` if there is none for the recipe, or the study lacks what it is shown."""
    from focusmap.classical.estimators import check_kinds
    from focusmap.nets.build import check_recipe
    from focusmap.nets.heads import check_loss

    name = model_name(cohort, recipe)
    if name.shown == "table":
        type_covariates(cohort)
    elif not cohort.has_images:
        raise InputError(
            f"{cohort.study.label_file}: has no path column (one of {', '.join(PATH_COLUMNS)}), and {name.name} is "
            "shown pictures. Try --model gradient-boosting."
        )
    if name.engine == "estimator":
        check_kinds(name.estimator, [t.name for t in cohort.task.targets if t.kind == "continuous"])
    elif name.shown == "pictures":
        check_recipe(recipe)
    check_loss(cohort.task, recipe.loss)
    check_labels(cohort, recipe)
    parse_target_weights(recipe.target_weights, cohort.task)
    if recipe.baseline not in ("auto", "none") and recipe.baseline != recipe.model:
        check_model(cohort, replace(recipe, model=recipe.baseline, tta=False, screen_negatives=0.0))
    if recipe.screen_negatives and name.engine != "estimator":
        raise InputError(
            f"screen_negatives leaves rows out of the fit of an estimator; {name.name} is a net. Try sampling: under."
        )
    if recipe.tta and (name.engine, name.shown) != ("net", "pictures"):
        raise InputError(f"tta shows a net several views of a picture; {name.name} has none. Leave it out.")
    return name


def maps_of(folder: Path) -> bool:
    """Return whether the model in `folder` is a net of pictures, which can be asked where it looks."""
    name = parse_model(_name_in(folder))
    return name.engine == "net" and name.shown == "pictures"


def load_model(folder: Path, device: str = "cpu") -> "AnyModel":
    """Return the model in `folder`, whatever made it, ready to compute on `device`.

    Raises
    ------
    MissingFileError, ModelError
        If a file of it is missing, is damaged, or belongs to another model.
    """
    name = parse_model(_name_in(folder)) if (folder / "model.json").is_file() else parse_model("auto")
    if name.name == TABLE_NET:
        from focusmap.nets.table_net import net_answer_from

        return load_row_model(folder, net_answer_from)
    if name.engine == "estimator":
        return load_row_model(folder, estimators_from)
    from focusmap.inference.model import load_model as load_net

    model = load_net(folder)
    model.net.to(device)
    return model


def _name_in(folder: Path) -> str:
    architecture = read_json(folder / "model.json").get("architecture")
    return str(architecture.get("model")) if isinstance(architecture, dict) else ""


def save_model(model: "AnyModel", folder: Path) -> None:
    """Write a model."""
    if isinstance(model, RowModel):
        save_row_model(model, folder)
        return
    from focusmap.inference.model import save_model as save_net

    save_net(model, folder)


def combine_models(models: Sequence["AnyModel"], views: Sequence["View"], made_of: str) -> "AnyModel":
    """Return the mean of several models of one kind; not calibrated yet. Views are of pictures, for nets."""
    rows = [model for model in models if isinstance(model, RowModel)]
    if rows:
        return mean_of(rows, made_of)
    from focusmap.inference.ensemble import combine

    return combine(cast("Sequence[Model]", models), views, made_of)


def answers_for(model: "AnyModel", store: "Store | None", cohort: Cohort) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return logits ``(N, L)`` for a cohort, and of a table model what of each row is unlike train.

    Of a change target they are the earlier value and its change; NaN where the earlier value is not known.
    """
    if not len(cohort):
        return np.empty((0, model.task.n_logits)), None
    if isinstance(model, RowModel):
        if model.card.covariates:
            return model.of_table(cohort)
        assert store is not None
        measured = np.concatenate([model.of_pictures(part) for part in pictures_of(store, cohort)])
        return model.task.added(measured, cohort.earlier), None
    from focusmap.inference.predict import predict_store

    assert store is not None
    return model.task.added(predict_store(model, store, cohort.image_ids), cohort.earlier), None


def pictures_of(store: "Store", cohort: Cohort) -> Iterator[np.ndarray]:
    """Yield a cohort's prepared pictures ``(n, C, H, W) uint8``, some hundred at a time: a store may exceed memory."""
    rows = store.rows(cohort.image_ids)
    for start in range(0, len(rows), CHUNK):
        yield store.pixels[rows[start : start + CHUNK]]


def calibrated(model: "AnyModel", logits: np.ndarray, truth: np.ndarray) -> "AnyModel":
    """Return the model with temperatures, then thresholds, fitted to logits ``(N, L)`` and truth ``(N, T)``."""
    from focusmap.evaluation.calibration import apply, fit_temperatures
    from focusmap.evaluation.operating_points import choose_thresholds

    task: Task = model.task
    temperatures = fit_temperatures(task, logits, truth)
    probabilities = apply(task, logits, temperatures)
    return model.calibrated(temperatures, choose_thresholds(task, probabilities, truth, model.card.threshold_for))
