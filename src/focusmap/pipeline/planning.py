"""What a run would cost, told before it is begun: rough, from the size of the net and the speed of this machine."""

import math
import os
import time
from dataclasses import dataclass

import numpy as np

from focusmap.classical.names import parse_model
from focusmap.cohort.cohort import Cohort
from focusmap.cohort.split import SplitOptions
from focusmap.pipeline.models import check_model, model_name, rows_for
from focusmap.pipeline.options import RunOptions
from focusmap.pipeline.preparing import resolved
from focusmap.pipeline.seen import Seen, look_at_sample
from focusmap.values.recipe import Recipe

# Multiply-adds of one forward pass at 224 x 224, in units of 1e9, as timm lists them; small-residual: at 28 x 28;
# nets for volumes, as counted: at 96 x 96 x 96.
GMACS = {
    "densenet121": 2.9, "resnet18": 1.8, "resnet50": 4.1, "vgg16": 15.5, "efficientnet-b0": 0.4,
    "convnext-tiny": 4.5, "small-residual": 0.25, "plain-cnn": 0.017, "residual-cnn": 0.017,
    "densenet121-3d": 18.1, "resnet10-3d": 7.5, "resnet18-3d": 13.2, "resnet50-3d": 17.1, "small-residual-3d": 16.4,
}  # fmt: skip
VOLUME = 96**3
GMACS_DEFAULT = 4.0
# A decoder's share on top of its backbone.
DECODER_COST = 1.3
FORWARD_AND_BACKWARD = 3
# Share of the speed of one large matrix product that a convolutional net reaches on a processor.
EFFICIENCY = 0.35
BYTES_PER_ACTIVATION_PIXEL = 900
# The one that keeps every voxel through its first stage.
BYTES_PER_FULL_VOXEL = 1500
BASE_MEMORY_MB = 900
# Of models of rows, measured: a feature of a picture, a row of a table net's epoch, a row and target of an estimator.
SECONDS_A_PICTURE, SECONDS_A_ROW, SECONDS_A_FIT = 0.01, 2e-4, 1e-3


@dataclass(frozen=True)
class Plan:
    """The recipe with nothing left open, what it was chosen from, and what it costs on this machine's processor."""

    recipe: Recipe
    seen: Seen | None
    seconds: float
    memory_mb: int
    disk_mb: int
    n_threads: int


def estimate(cohort: Cohort, options: RunOptions) -> Plan:
    """Return the plan of a run; times are right within a factor of two or so."""
    from focusmap.nets.decoders import split_model

    check_model(cohort, options.recipe)
    SplitOptions(folds=options.folds)
    name = model_name(cohort, options.recipe)
    seen = look_at_sample(cohort) if name.shown == "pictures" else None
    recipe = resolved(cohort, options.recipe, seen)
    name = parse_model(recipe.model)
    if seen is None or name.engine == "estimator":
        return _plan_of_rows(cohort, recipe, options)
    base, decoder = split_model(name.net)
    n_trainings = (options.folds or 1) * recipe.ensemble
    n_train = len(cohort) * (1 - 2 / options.folds if options.folds else 0.7)
    pixels = math.prod(recipe.shape) if recipe.shape else recipe.size**2
    reference = VOLUME if recipe.shape else 28**2 if base == "small-residual" else 224**2
    gmacs = GMACS.get(base, GMACS_DEFAULT) * pixels / reference * (DECODER_COST if decoder else 1)
    work = 2e9 * gmacs * FORWARD_AND_BACKWARD * n_train * recipe.epochs * n_trainings
    per_row = len(cohort) / len(rows_for(cohort, recipe))
    per_pixel = BYTES_PER_FULL_VOXEL if base == "small-residual-3d" else BYTES_PER_ACTIVATION_PIXEL
    return Plan(
        recipe=recipe,
        seen=seen,
        seconds=work / (_flops_per_second() * EFFICIENCY) + 0.02 * len(cohort),
        memory_mb=BASE_MEMORY_MB + round(recipe.batch_size * per_row * pixels * per_pixel / 1e6),
        disk_mb=max(1, round(len(cohort) * pixels * recipe.channels / 1e6)),
        n_threads=os.cpu_count() or 1,
    )


def _plan_of_rows(cohort: Cohort, recipe: Recipe, options: RunOptions) -> Plan:
    """Return the plan of a model of rows: measured features and fits of whole targets, or epochs over a table."""
    n_trainings = (options.folds or 1) * recipe.ensemble
    name, work = parse_model(recipe.model), len(cohort) * n_trainings
    measured = SECONDS_A_PICTURE * len(name.features) * len(cohort) * (1 + n_trainings)
    fitted = work * (SECONDS_A_ROW * recipe.epochs if name.engine == "net" else SECONDS_A_FIT * len(cohort.task.names))
    disk = 1 if name.shown == "table" else max(1, round(len(cohort) * recipe.size**2 * recipe.channels / 1e6))
    return Plan(recipe, None, measured + fitted + 2, BASE_MEMORY_MB, disk, os.cpu_count() or 1)


def _flops_per_second() -> float:
    """Return what one large matrix product reaches here."""
    a = np.ones((1024, 1024), dtype=np.float32)
    a @ a
    started = time.perf_counter()
    for _ in range(3):
        a @ a
    return float(3 * 2 * 1024**3 / (time.perf_counter() - started))
