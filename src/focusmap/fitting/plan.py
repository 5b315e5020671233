"""The cost of a run, estimated before it starts: time from a few training steps, memory and disk roughly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from focusmap.audit import Finding, ImageSummary, audit_table, look_at_sample
from focusmap.fitting import configure, fit_nets, preparing, suitability
from focusmap.fitting.training import Training
from focusmap.images import Store
from focusmap.study import Recipe, Run, RunOptions, Split, check_learnable, fit_covariates, fold_split, preparation_for
from focusmap.study.cohort import Cohort, refuse_constant
from focusmap.study.recipe_parts import LADDER, parse_model

BYTES_PER_ACTIVATION_PIXEL = 900
# The one that keeps every voxel through its first stage.
BYTES_PER_FULL_VOXEL = 1500
BASE_MEMORY_MB = 900
# The nets of two rungs and of the model that is kept, measured once.
MB_OF_A_LADDER = 40
# Of models of rows, measured once: a feature of an image, a row and target of an estimator.
SECONDS_PER_FEATURE, SECONDS_PER_FIT = 0.01, 1e-3


@dataclass(frozen=True)
class Plan:
    """The recipe with nothing left open, what it was chosen from, and what it costs on this machine.

    Parameters
    ----------
    recipe, image_summary
        As resolved, and by what; the latter is None for a model of rows.
    seconds
        Of the training alone; None where a batch does not fit into the device's memory.
    device
        On which the training was timed, in words; empty where the time is a rough guess.
    memory_mb, disk_mb, weights_mb
        Rough; the disk's of prepared images alone, without weights and maps.
    n_maps
        Maps with their overlays: one per label of each image that is tested.
    blocking
        Findings of the table for which the run will be refused; those of images are not known yet.
    """

    recipe: Recipe
    image_summary: ImageSummary | None
    seconds: float | None
    device: str
    memory_mb: int
    disk_mb: int
    weights_mb: int = 1
    n_maps: int = 0
    blocking: Sequence[Finding] = ()


def estimate(cohort: Cohort, options: RunOptions) -> Plan:
    """Return the plan of a run; a few steps of its training are taken on images of noise.

    Raises
    ------
    InputError
        If there is no model for the study, it cannot be split, or there is nothing to learn from.
    """
    refuse_constant(cohort)
    suitability.check_model(cohort, options.recipe)
    is_shown_images = suitability.model_name(cohort, options.recipe).shown == "images"
    image_summary = look_at_sample(cohort) if is_shown_images else None
    recipe = configure.resolved(cohort, options.recipe, image_summary, options)
    rows = suitability.rows_for(cohort, recipe)
    divided = preparing.split(rows, options)
    parts = [fold_split(divided, k) for k in range(divided.n_folds)] or [divided]
    _check_train(rows, recipe, parts)
    is_net = parse_model(recipe.model).engine == "net"
    seconds, device, weights_mb = _costs(rows, recipe, parts, options)
    return Plan(
        recipe=recipe,
        image_summary=image_summary if is_net else None,
        seconds=seconds,
        device=device,
        memory_mb=_memory_mb(recipe, len(cohort) / len(rows)),
        disk_mb=_disk_mb(recipe, len(cohort)),
        weights_mb=max(1, round(weights_mb)),
        n_maps=_n_maps(rows, divided) if is_net and is_shown_images else 0,
        blocking=audit_table(cohort, preparing.split_of_images(divided, rows)).blocking(options.accept),
    )


def _costs(
    rows: Cohort, recipe: Recipe, parts: Sequence[Split], options: RunOptions
) -> tuple[float | None, str, float]:
    """Return how long all trainings take (of a ladder its budget), on what that was measured, and the MB of weights."""
    if recipe.model == LADDER:
        return 60 * options.minutes, "", MB_OF_A_LADDER * len(parts)
    n_trainings = len(parts) * recipe.ensemble
    if parse_model(recipe.model).engine == "estimator":
        return n_trainings * _seconds_of_fits(rows, recipe), "", 0.0
    store = _noise(rows, recipe) if parse_model(recipe.model).shown == "images" else None
    # Nothing is written, and the speed does not depend on the weights that the net starts from.
    training = Training(Run(Path()), rows, parts[0], store, replace(recipe, weights="none"))
    seconds, device, weights_mb = _measured(training, options)
    return None if seconds is None else n_trainings * seconds, device, n_trainings * weights_mb


def _check_train(rows: Cohort, recipe: Recipe, parts: Sequence[Split]) -> None:
    """Raise `InputError` where the train part of the split, or of a fold, has nothing to learn from."""
    name = parse_model(recipe.model)
    for part in parts:
        check_learnable(rows.task, rows.of(part.ids("train")).learnt)
        if name.shown == "table" or name.with_table:
            fit_covariates(rows, part.ids("train"))


def _measured(training: Training, options: RunOptions) -> tuple[float | None, str, float]:
    """Return how long a training would take, on what that was measured, and the MB of its weights."""
    import torch

    from focusmap.training import choose_devices, training_seconds

    device = choose_devices(options.devices).accelerator
    untrained = fit_nets.untrained_net(training)
    seconds = training_seconds(untrained.net, fit_nets.training_data(untrained, training), training.recipe, device)
    n_threads = torch.get_num_threads()
    where = f"cpu ({n_threads} thread{'s' * (n_threads > 1)})" if device == "cpu" else device
    return seconds, where, sum(values.nbytes for values in untrained.net.state_dict().values()) / 1e6


def _noise(rows: Cohort, recipe: Recipe) -> Store:
    """Return prepared images of the right shape, one in memory for all."""
    preparation = preparation_for(recipe)
    image_ids = rows.image_ids if rows.images is None else list(rows.images["image_id"])
    n, shape = len(image_ids), preparation.input_shape
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Store(
        folder=Path(),
        preparation=preparation,
        pixels=np.broadcast_to(noise, (n, *shape)),
        image_ids=image_ids,
        hashes=[""] * n,
        mean=np.full(n, noise.mean(), np.float32),
        std=np.full(n, noise.std(), np.float32),
        source_shapes=np.full((n, len(shape) - 1), shape[1:]),
    )


def _seconds_of_fits(cohort: Cohort, recipe: Recipe) -> float:
    """Return about how long features and the fits of all targets take."""
    n_features = len(parse_model(recipe.model).features)
    return len(cohort) * (SECONDS_PER_FEATURE * n_features + SECONDS_PER_FIT * len(cohort.task.names)) + 2


def _memory_mb(recipe: Recipe, images_per_row: float) -> int:
    if parse_model(recipe.model).shown == "table" or parse_model(recipe.model).engine == "estimator":
        return BASE_MEMORY_MB
    per_pixel = BYTES_PER_FULL_VOXEL if recipe.model.startswith("small-residual-3d") else BYTES_PER_ACTIVATION_PIXEL
    return BASE_MEMORY_MB + round(recipe.batch_size * images_per_row * _pixels(recipe) * per_pixel / 1e6)


def _disk_mb(recipe: Recipe, n_images: int) -> int:
    n = 0 if parse_model(recipe.model).shown == "table" else n_images
    return max(1, round(n * _pixels(recipe) * recipe.channels / 1e6))


def _n_maps(rows: Cohort, divided: Split) -> int:
    """Return how many maps the tested images have; of cases, each image has its own."""
    n_tested = int((divided.table["split"] != "").sum()) if divided.n_folds else len(divided.ids("test"))
    images_per_row = 1 if rows.images is None else len(rows.images) / max(len(rows), 1)
    return round(n_tested * images_per_row) * rows.task.n_logits


def _pixels(recipe: Recipe) -> int:
    return math.prod(recipe.shape) if recipe.shape else recipe.size**2
