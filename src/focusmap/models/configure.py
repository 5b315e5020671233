"""From a recipe that leaves things open to one with nothing left to choose, by what was seen of a cohort's images."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from focusmap.audit.image_summary import Seen
from focusmap.errors import InputError
from focusmap.models.checks import cases_of, check_model, model_name
from focusmap.study.cohort import Cohort
from focusmap.study.model_names import LADDER, WITH_TABLE, parse_model
from focusmap.study.recipe import Loss, Monitor, Pooling, Recipe

if TYPE_CHECKING:
    from focusmap.images.prepare import AnyPreparation

SMALL = 64
# Of the ladder: what it starts from, and the side that its probe is shown, whose half must fill places evenly, too.
BACKBONE, LADDER_SIZE = "tf_efficientnet_lite0", 320
LARGEST_BY_DEFAULT = 224
LARGEST_VOLUME = 96
# Of the table net.
TABLE_RATE = 1e-3
# Nets that are always trained from scratch take larger steps.
FROM_SCRATCH = ("small-residual", "plain-cnn", "residual-cnn", "small-residual-3d")


def preparation_for(recipe: Recipe) -> "AnyPreparation":
    """Return what is done to each image or volume, as a resolved recipe says."""
    from focusmap.images.prepare import Preparation
    from focusmap.images.volumes import VolumePreparation

    if not recipe.shape:
        scaling: Literal["image", "range"] = "range" if recipe.scaling == "range" else "image"
        channels: Literal[1, 3] = 3 if recipe.channels == 3 else 1
        return Preparation(recipe.size, channels, crop=recipe.crop, scaling=scaling)
    right, front, top = recipe.shape
    spacing = (recipe.spacing[0], recipe.spacing[1], recipe.spacing[2]) if recipe.spacing else None
    return VolumePreparation((right, front, top), recipe.channels, spacing, crop=recipe.crop)


def resolved(cohort: Cohort, recipe: Recipe, seen: Seen | None) -> Recipe:
    """Return the recipe with nothing left open: by what was seen of its images, or for the table.

    Raises
    ------
    InputError
        If there is no model for it.
    """
    name = model_name(cohort, recipe)
    recipe = replace(recipe, cases=cases_of(cohort, recipe))
    if name.shown == "table":
        return replace(recipe, model=name.name, learning_rate=recipe.learning_rate or TABLE_RATE)
    assert seen is not None, "check_model refuses a model of images for a study without any"
    chosen = resolve_recipe(replace(recipe, model=name.net), seen)
    if name.with_table:
        chosen = replace(chosen, model=f"{chosen.model}{WITH_TABLE}")
    check_model(cohort, chosen)
    return chosen


def resolve_recipe(recipe: Recipe, seen: Seen) -> Recipe:
    """Return the recipe with model, size or shape, and channels chosen where it leaves them open.

    The size is the images' own up to 64 pixels and at most 224 else; three channels if any image has colour. The
    shape of volumes is their own up to 96 voxels a side. A focus-map net pools by log-sum-exp, one with attention along
    the axes by the average. An autoencoder is judged by its loss, the mean of its errors.

    Raises
    ------
    InputError
        If the model is one for images and the study has volumes, or the other way round.

    >>> chosen = resolve_recipe(Recipe(), Seen([(28, 28)], 1))
    >>> chosen.model, chosen.size, chosen.channels, chosen.pooling
    ('small-residual', 28, 1, 'average')
    >>> chosen = resolve_recipe(Recipe(), Seen([(256, 256, 24)], 2))
    >>> chosen.model, chosen.shape, chosen.channels
    ('resnet18-3d', (96, 96, 24), 2)
    """
    from focusmap.nets.decoders import AUTOENCODER, attends_along_axes, has_focus, split_model
    from focusmap.nets.weights import PACKAGES

    _refuse_other_dimensions(recipe, seen)
    sized = _for_volumes(recipe, seen) if seen.dimensions == 3 else _for_images(recipe, seen)
    if parse_model(recipe.model).engine == "estimator":
        return sized
    if recipe.model == "auto" and seen.dimensions == 2 and _can_climb(recipe):
        return replace(sized, model=LADDER, size=recipe.size or LADDER_SIZE, scaling="range", pooling="average")
    usual = "small-residual" if max(sized.shape or (sized.size,)) <= SMALL else "resnet18"
    usual = f"{usual}-3d" if sized.shape else usual
    model = {"auto": usual, AUTOENCODER: f"{usual}-{AUTOENCODER}"}.get(recipe.model, recipe.model)
    base, decoder = split_model(model)
    rate = recipe.learning_rate or (3e-3 if base in FROM_SCRATCH else 5e-4)
    pools: Pooling = "lse" if has_focus(model) and not attends_along_axes(decoder) else "average"
    pooling = recipe.pooling if recipe.pooling != "auto" else pools
    loss: Loss = recipe.loss if recipe.learns_labels else "absolute"
    monitor: Monitor = recipe.monitor if recipe.learns_labels else "loss"
    is_range = recipe.scaling == "range" or (recipe.scaling == "auto" and recipe.weights != "none" and base in PACKAGES)
    return replace(
        sized, model=model, learning_rate=rate, pooling=pooling, loss=loss, monitor=monitor,
        scaling="range" if is_range else "image",
    )  # fmt: skip


def _can_climb(recipe: Recipe) -> bool:
    """Return whether pretrained weights for the ladder are to be had without asking a network."""
    from focusmap.nets.weights import at_hand

    return recipe.learns_labels and recipe.weights == "auto" and recipe.cases == "pictures" and at_hand(BACKBONE)


def _refuse_other_dimensions(recipe: Recipe, seen: Seen) -> None:
    from focusmap.nets.backbones import dimensions_of
    from focusmap.nets.decoders import AUTOENCODER, split_model

    if recipe.model in ("auto", AUTOENCODER):
        wanted = seen.dimensions
    else:
        is_net = parse_model(recipe.model).engine == "net"
        wanted = dimensions_of(split_model(recipe.model)[0]) if is_net else 2
    if wanted != seen.dimensions:
        taken, found = ("images", "volumes") if seen.dimensions == 3 else ("volumes", "images")
        other = "small-residual-3d or resnet18-3d" if seen.dimensions == 3 else "resnet18"
        raise InputError(f"model {recipe.model!r} takes {taken}, and those of this study are {found}. Try {other}.")
    is_fast = recipe.baseline not in ("auto", "none")
    if seen.dimensions == 3 and is_fast and parse_model(recipe.baseline).shown == "images":
        raise InputError(f"baseline {recipe.baseline!r} takes images, and those of this study are volumes. Say none.")
    if seen.dimensions == 2 and (recipe.shape or recipe.spacing):
        raise InputError("shape and spacing are for volumes, and those of this study are images. Say --size.")


def _for_images(recipe: Recipe, seen: Seen) -> Recipe:
    longest = sorted(max(shape) for shape in seen.shapes)
    typical = longest[len(longest) // 2] if longest else LARGEST_BY_DEFAULT
    size = recipe.size or min(max(typical, 16), LARGEST_BY_DEFAULT)
    return replace(recipe, size=size, channels=recipe.channels or (3 if seen.n_channels == 3 else 1))


def _for_volumes(recipe: Recipe, seen: Seen) -> Recipe:
    if recipe.spacing and not (recipe.shape or recipe.size):
        raise InputError("spacing needs a shape, which says how much of each volume is kept, such as [96, 96, 24].")
    typical = np.median([shape for shape in seen.shapes if len(shape) == 3], axis=0)
    cube = (recipe.size,) * 3 if recipe.size else tuple(int(side) for side in np.clip(typical, 16, LARGEST_VOLUME))
    return replace(recipe, size=0, shape=recipe.shape or cube, channels=recipe.channels or seen.n_channels)
