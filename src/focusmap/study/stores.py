"""The store of a study's images, as a recipe has them prepared."""

from typing import Literal

from focusmap.images import AnyPreparation, Preparation, Store, StoreOptions, VolumePreparation, prepare_store
from focusmap.study.cohort import Cohort
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Recipe
from focusmap.study.recipe_parts import parse_model
from focusmap.study.run import Run


def preparation_for(recipe: Recipe) -> AnyPreparation:
    """Return what is done to each image or volume, as a resolved recipe says."""
    scaling: Literal["image", "range"] = "range" if recipe.scaling == "range" else "image"
    if not recipe.shape:
        channels: Literal[1, 3] = 3 if recipe.channels == 3 else 1
        return Preparation(recipe.size, channels, crop=recipe.crop, scaling=scaling)
    right, front, top = recipe.shape
    spacing = (recipe.spacing[0], recipe.spacing[1], recipe.spacing[2]) if recipe.spacing else None
    return VolumePreparation((right, front, top), recipe.channels, spacing, crop=recipe.crop, scaling=scaling)


def store_for(cohort: Cohort, recipe: Recipe, run: Run, options: RunOptions) -> Store | None:
    """Return the store of a cohort's images, or its cases', as a resolved recipe says; None for a table model."""
    if parse_model(recipe.model).shown == "table":
        return None
    if options.store is not None:
        run.share_store(options.store)
    settings = StoreOptions(options.workers, options.skip_unreadable, options.progress, options.cluster)
    table = cohort.table if cohort.images is None else cohort.images
    files = [cohort.study.images / path for path in table["path"]]
    return prepare_store(files, list(table["image_id"]), preparation_for(recipe), run.store, settings)
