"""From a recipe with open settings to a resolved one: they are chosen by a summary of the cohort's images."""

from dataclasses import dataclass, replace
from functools import cache
from typing import cast

import numpy as np

from focusmap import nets, training
from focusmap.audit import ImageSummary
from focusmap.basics import InputError
from focusmap.fitting.suitability import cases_of, check_model, model_name
from focusmap.study import LADDER, WITH_TABLE, Cohort, Loss, Monitor, Pooling, Recipe, RunOptions, parse_model

SMALL = 64


@dataclass(frozen=True)
class LadderSettings:
    """What a ladder starts from, and how far it goes.

    Parameters
    ----------
    backbone
        A net whose pretrained weights a package holds.
    sizes
        Sides that its probe may be shown, the largest first, whose halves must fill places evenly, too.
    fine_tuned_sizes
        Sides that it may be fine-tuned at, the largest first: the first for which the time suffices.
    most_epochs
        Of its fine-tuning.
    """

    backbone: str
    sizes: tuple[int, ...]
    fine_tuned_sizes: tuple[int, ...]
    most_epochs: int


SMALLEST_NET = "tf_efficientnet_lite0"
ON_PROCESSOR = LadderSettings(SMALLEST_NET, (320, 256, 192, 128), (160, 128), 12)
ON_ACCELERATOR = (
    LadderSettings("tf_efficientnet_lite2", (448,), (320, 224), 30),
    LadderSettings(SMALLEST_NET, (384,), (256, 160), 30),
)
"""The same budget buys larger nets and images: the first whose weights are at hand."""
# Of the budget, for the features of all images; and what one costs at 320 pixels at most, by the million pixels.
FEATURES_SHARE, SECONDS_PER_MEGAPIXEL = 0.2, 1.0
LARGEST_BY_DEFAULT = 224
LARGEST_VOLUME = 96
# Of the table net.
TABLE_RATE = 1e-3
# Nets that are always trained from scratch take larger steps.
SMALL_RATE, LARGE_RATE = 3e-3, 5e-4
SMALL_NETS = ("small-residual", "plain-cnn", "residual-cnn", "small-residual-3d")


def resolved(
    cohort: Cohort, recipe: Recipe, image_summary: ImageSummary | None, options: RunOptions = RunOptions()
) -> Recipe:
    """Return the recipe with nothing left open: by what was seen of its images, or for the table.

    Raises
    ------
    InputError
        If there is no model for it.
    """
    name = model_name(cohort, recipe)
    recipe = replace(recipe, cases=cases_of(cohort, recipe))
    if name.shown == "table":
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, mirror=bool(recipe.augmentation.mirror)))
        return replace(recipe, model=name.name, learning_rate=recipe.learning_rate or TABLE_RATE)
    assert image_summary is not None, "check_model refuses a model of images for a study without any"
    # Rungs are nets of images alone.
    size = _ladder_size(len(cohort), options) if recipe.model == "auto" and not recipe.size else 0
    if recipe.model == "auto" and recipe.learns_labels and recipe.weights == "auto":
        _say_without_weights(options)
    chosen = resolve_recipe(
        replace(recipe, model=name.net), image_summary, climbs=not name.with_table, ladder_size=size
    )
    if chosen.model != LADDER:
        chosen = replace(chosen, augmentation=replace(chosen.augmentation, mirror=bool(chosen.augmentation.mirror)))
    if name.with_table:
        chosen = replace(chosen, model=f"{chosen.model}{WITH_TABLE}")
    check_model(cohort, chosen)
    return chosen


def resolve_recipe(recipe: Recipe, image_summary: ImageSummary, *, climbs: bool = True, ladder_size: int = 0) -> Recipe:
    """Return the recipe with model, size or shape, and channels chosen where it leaves them open.

    The size is the images' own up to 64 pixels and at most 224 else; three channels if any image has colour. The
    shape of volumes is their own up to 96 voxels a side. A focus-map net pools by log-sum-exp, one with attention along
    the axes by the average. An autoencoder is judged by its loss, the mean of its errors. Where it `climbs`, an open
    model of images is the ladder if pretrained weights for it are at hand.

    Raises
    ------
    InputError
        If the model is one for images and the study has volumes, or the other way round.

    >>> chosen = resolve_recipe(Recipe(), ImageSummary([(28, 28)], 1), climbs=False)
    >>> chosen.model, chosen.size, chosen.channels, chosen.pooling
    ('small-residual', 28, 1, 'average')
    >>> chosen = resolve_recipe(Recipe(), ImageSummary([(256, 256, 24)], 2), climbs=False)
    >>> chosen.model, chosen.shape, chosen.channels
    ('resnet18-3d', (96, 96, 24), 2)
    """
    _refuse_other_dimensions(recipe, image_summary)
    sized = _for_volumes(recipe, image_summary) if image_summary.dimensions == 3 else _for_images(recipe, image_summary)
    if parse_model(recipe.model).engine == "estimator":
        return sized
    if climbs and recipe.model == "auto" and _can_climb(recipe):
        size = 0 if sized.shape else recipe.size or ladder_size or ON_PROCESSOR.sizes[0]
        return replace(sized, model=LADDER, size=size, scaling="range", pooling="average")
    usual = usual_net(sized)
    model = {"auto": usual, nets.AUTOENCODER: f"{usual}-{nets.AUTOENCODER}"}.get(recipe.model, recipe.model)
    base, decoder = nets.split_model(model)
    rate = recipe.learning_rate or usual_rate(base)
    pools: Pooling = "lse" if nets.has_focus(model) and not nets.attends_along_axes(decoder) else "average"
    pooling = recipe.pooling if recipe.pooling != "auto" else pools
    loss: Loss = recipe.loss if recipe.learns_labels else "absolute"
    monitor: Monitor = recipe.monitor if recipe.learns_labels else "loss"
    usual_scaling = "image" if recipe.weights == "none" else nets.trained_scaling(base)
    return replace(
        sized, model=model, learning_rate=rate, pooling=pooling, loss=loss, monitor=monitor,
        scaling=usual_scaling if recipe.scaling == "auto" else recipe.scaling,
    )  # fmt: skip


def usual_net(sized: Recipe) -> str:
    """Return the net that is trained from random weights for images, or volumes, of a size."""
    usual = "small-residual" if max(sized.shape or (sized.size,)) <= SMALL else "resnet18"
    return f"{usual}-3d" if sized.shape else usual


def usual_rate(backbone: str) -> float:
    """Return the learning rate of a backbone, where a recipe names none."""
    return SMALL_RATE if backbone in SMALL_NETS else LARGE_RATE


def ladder_settings(devices: str) -> LadderSettings:
    """Return the ladder for the devices that `devices` names."""
    if training.choose_devices(devices).accelerator == "cpu":
        return ON_PROCESSOR
    return next((one for one in ON_ACCELERATOR if nets.has_local_weights(one.backbone)), ON_PROCESSOR)


def _say_without_weights(options: RunOptions) -> None:
    """Say that there is no ladder where its pretrained weights are missing, and why they are."""
    if why := nets.why_no_local_weights(ON_PROCESSOR.backbone):
        options.say(f"one model instead of a ladder: {why}")


def _can_climb(recipe: Recipe) -> bool:
    """Return whether pretrained weights for the ladder are to be had without asking a network."""
    return recipe.learns_labels and recipe.weights == "auto" and nets.has_local_weights(ON_PROCESSOR.backbone)


def _ladder_size(n_images: int, options: RunOptions) -> int:
    """Return the largest side at which the features of all images take no more than their share of the budget.

    What an image costs is measured only where it could be too much.
    """
    ladder, allowed = ladder_settings(options.devices), FEATURES_SHARE * 60 * options.minutes
    for size in ladder.sizes[:-1]:
        if n_images * SECONDS_PER_MEGAPIXEL * size**2 / 1e6 <= allowed:
            return size
        if n_images * _seconds_per_image(ladder.backbone, size, options.devices) <= allowed:
            return size
    return ladder.sizes[-1]


@cache
def _seconds_per_image(backbone: str, size: int, devices: str) -> float:
    """Return what the features of an image of `size` pixels a side cost here, by the fastest of three small batches."""
    import time

    import torch

    device = training.choose_devices(devices).accelerator
    net = cast("nets.LevelsNet", nets.build_net(nets.Architecture(f"{backbone}-probe", 3, 1)).eval().to(device))
    x = torch.zeros((nets.images_at_once((3, size, size)), 3, size, size), device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(3):
            started = time.perf_counter()
            net.measure(x).cpu()
            seconds.append((time.perf_counter() - started) / len(x))
    return min(seconds)


def _refuse_other_dimensions(recipe: Recipe, image_summary: ImageSummary) -> None:
    if recipe.model in ("auto", nets.AUTOENCODER):
        wanted = image_summary.dimensions
    else:
        is_net = parse_model(recipe.model).engine == "net"
        wanted = nets.dimensions_of_model(recipe.model) if is_net else 2
    if wanted != image_summary.dimensions:
        takes, are = ("images", "volumes") if image_summary.dimensions == 3 else ("volumes", "images")
        other = "small-residual-3d or resnet18-3d" if image_summary.dimensions == 3 else "resnet18"
        raise InputError(f"model {recipe.model!r} takes {takes}, and those of this study are {are}. Try {other}.")
    is_fast = recipe.baseline not in ("auto", "none")
    if image_summary.dimensions == 3 and is_fast and parse_model(recipe.baseline).shown == "images":
        raise InputError(f"baseline {recipe.baseline!r} takes images, and those of this study are volumes. Say none.")
    if image_summary.dimensions == 2 and (recipe.shape or recipe.spacing):
        raise InputError("shape and spacing are for volumes, and those of this study are images. Say --size.")


def _for_images(recipe: Recipe, image_summary: ImageSummary) -> Recipe:
    longest = sorted(max(shape) for shape in image_summary.shapes)
    typical = longest[len(longest) // 2] if longest else LARGEST_BY_DEFAULT
    size = recipe.size or min(max(typical, 16), LARGEST_BY_DEFAULT)
    return replace(recipe, size=size, channels=recipe.channels or (3 if image_summary.n_channels == 3 else 1))


def _for_volumes(recipe: Recipe, image_summary: ImageSummary) -> Recipe:
    if recipe.spacing and not (recipe.shape or recipe.size):
        raise InputError("spacing needs a shape, which says how much of each volume is kept, such as [96, 96, 24].")
    typical = np.median([shape for shape in image_summary.shapes if len(shape) == 3], axis=0)
    cube = (recipe.size,) * 3 if recipe.size else tuple(int(side) for side in np.clip(typical, 16, LARGEST_VOLUME))
    return replace(recipe, size=0, shape=recipe.shape or cube, channels=recipe.channels or image_summary.n_channels)
