"""What a run would cost, told before it is begun: rough, from the size of the net and the speed of this machine."""

import os
import time
from dataclasses import dataclass

import numpy as np

from focusmap.classical.names import parse_model
from focusmap.cohort.cohort import Cohort
from focusmap.cohort.split import SplitOptions
from focusmap.errors import UnreadableImageError
from focusmap.pipeline.models import check_model
from focusmap.pipeline.options import RunOptions
from focusmap.pipeline.preparing import resolved
from focusmap.values.recipe import Recipe

# Multiply-adds of one forward pass at 224 x 224, in units of 1e9, as timm lists them; small-residual: at 28 x 28.
GMACS = {
    "densenet121": 2.9, "resnet18": 1.8, "resnet50": 4.1, "vgg16": 15.5, "efficientnet-b0": 0.4,
    "convnext-tiny": 4.5, "small-residual": 0.25, "plain-cnn": 0.017, "residual-cnn": 0.017,
}  # fmt: skip
GMACS_DEFAULT = 4.0
# A decoder's share on top of its backbone.
DECODER_COST = 1.3
FORWARD_AND_BACKWARD = 3
# Share of the speed of one large matrix product that a convolutional net reaches on a processor.
EFFICIENCY = 0.35
BYTES_PER_ACTIVATION_PIXEL = 900
BASE_MEMORY_MB = 900
SAMPLE = 8
# Of models of rows, measured: a feature of a picture, a row of a table net's epoch, a row and target of an estimator.
SECONDS_A_PICTURE, SECONDS_A_ROW, SECONDS_A_FIT = 0.01, 2e-4, 1e-3


@dataclass(frozen=True)
class Plan:
    """The recipe with nothing left open, and what it costs on this machine's processor."""

    recipe: Recipe
    seconds: float
    memory_mb: int
    disk_mb: int
    n_threads: int


def estimate(cohort: Cohort, options: RunOptions) -> Plan:
    """Return the plan of a run; times are right within a factor of two or so."""
    from focusmap.nets.decoders import split_model

    check_model(cohort, options.recipe)
    SplitOptions(folds=options.folds)
    recipe = resolved(cohort, options.recipe, lambda: sample_pictures(cohort))
    name = parse_model(recipe.model)
    if name.engine == "estimator" or name.shown == "table":
        return _plan_of_rows(cohort, recipe, options)
    base, decoder = split_model(recipe.model)
    n_trainings = (options.folds or 1) * recipe.ensemble
    n_train = len(cohort) * (1 - 2 / options.folds if options.folds else 0.7)
    reference = 28 if base == "small-residual" else 224
    gmacs = GMACS.get(base, GMACS_DEFAULT) * (recipe.size / reference) ** 2 * (DECODER_COST if decoder else 1)
    work = 2e9 * gmacs * FORWARD_AND_BACKWARD * n_train * recipe.epochs * n_trainings
    pixels = recipe.size**2
    return Plan(
        recipe=recipe,
        seconds=work / (_flops_per_second() * EFFICIENCY) + 0.02 * len(cohort),
        memory_mb=BASE_MEMORY_MB + round(recipe.batch_size * pixels * BYTES_PER_ACTIVATION_PIXEL / 1e6),
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
    return Plan(recipe, measured + fitted + 2, BASE_MEMORY_MB, disk, os.cpu_count() or 1)


def sample_pictures(cohort: Cohort) -> tuple[list[tuple[int, int]], bool]:
    """Return the shapes of a few pictures, and whether any has colour; unreadable ones are left to the audit."""
    from focusmap.imaging.readers import read_image

    shapes, colour = [], False
    for position in np.linspace(0, len(cohort) - 1, min(SAMPLE, len(cohort))).astype(int):
        try:
            image = read_image(cohort.files[position])
        except UnreadableImageError:
            continue
        rows, columns = image.shape[-2:]
        shapes.append((rows, columns))
        colour = colour or image.n_channels == 3
    return shapes, colour


def _flops_per_second() -> float:
    """Return what one large matrix product reaches here."""
    a = np.ones((1024, 1024), dtype=np.float32)
    a @ a
    started = time.perf_counter()
    for _ in range(3):
        a @ a
    return float(3 * 2 * 1024**3 / (time.perf_counter() - started))
