"""Audit, split and prepare: all that comes before a training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focusmap.audit.image_summary import Seen, seen_by
from focusmap.errors import InputError, RefusedError
from focusmap.files import refuse_existing
from focusmap.models.any import cases_of, check_model, model_name, rows_for
from focusmap.models.names import WITH_TABLE, parse_model
from focusmap.study.cases import with_pictures
from focusmap.study.cohort import Cohort, write_cohort
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Loss, Monitor, Pooling, Recipe
from focusmap.study.roster import Roster, roster_of
from focusmap.study.run import Run, start_run, writing
from focusmap.study.split import Split, SplitOptions, make_split, write_split
from focusmap.study.study import write_study

if TYPE_CHECKING:
    from focusmap.audit import Audit, Finding
    from focusmap.images.prepare import AnyPreparation
    from focusmap.images.store import Store

SMALL = 64
LARGEST_BY_DEFAULT = 224
LARGEST_VOLUME = 96
# Of the table net.
TABLE_RATE = 1e-3
# Nets that are always trained from scratch take larger steps.
FROM_SCRATCH = ("small-residual", "plain-cnn", "residual-cnn", "small-residual-3d")


@dataclass(frozen=True)
class Prepared:
    """A cohort that may be trained on, of pictures or of cases: audited, split, its pictures prepared."""

    cohort: Cohort
    split: Split
    store: "Store | None"
    recipe: Recipe


def audit(
    cohort: Cohort,
    out: Path,
    options: RunOptions = RunOptions(),
    *,
    split: Split | None = None,
    against: Roster | None = None,
) -> "Audit":
    """Audit a cohort, write ``audit.json`` and ``audit.html`` to `out`, and return the audit.

    Parameters
    ----------
    cohort
        What is audited.
    out
        Folder.
    options
        What is accepted; processes, progress, language of the page.
    split
        The split to be judged; without one, the declared split is.
    against
        Another table, whose patients and pictures must not stand in this one.

    Raises
    ------
    InputError
        If `out` holds an audit already and `options.force` is not given.
    """
    refuse_existing(out / "audit.json", force=options.force)
    return _audited(cohort, out, options, split=split, against=against)


def _audited(
    cohort: Cohort, out: Path, options: RunOptions, *, split: Split | None = None, against: Roster | None = None
) -> "Audit":
    from focusmap.audit import AuditOptions, audit_against, audit_cohort
    from focusmap.report.audit_files import write_audit

    settings = AuditOptions(options.accept, options.workers, options.recipe.seed, options.progress)
    shared = audit_against(roster_of(cohort), against, settings) if against is not None else []
    result = audit_cohort(cohort, split, settings).extended(shared, options.accept)
    write_audit(result, cohort, out, options.language)
    return result


def refuse_blocking(result: "Audit", options: RunOptions, where: Path) -> None:
    """Raise `RefusedError` if a blocking finding stands that nobody has accepted."""
    blocking = result.blocking(options.accept)
    if blocking:
        lines = [f"{finding.name}: {finding.message}" for finding in blocking]
        overridden = f"To go on all the same: {accepting(blocking)}"
        raise RefusedError("\n  ".join(["refused.", *lines, f"Details: {where / 'audit.json'}. {overridden}"]))


def refuse_masks(result: "Audit") -> None:
    """Raise `InputError` if a mask does not fit its picture: heat maps could not be scored by it after training."""
    from focusmap.audit import MASK_SHAPE

    for finding in result.findings:
        if finding.name == MASK_SHAPE:
            raise InputError("\n  ".join([finding.message, *finding.examples[1:]]))


def accepting(blocking: "Sequence[Finding]") -> str:
    """Return the options that override blocking findings."""
    return " ".join(f"--accept {name}" for name in dict.fromkeys(finding.name for finding in blocking))


def split(cohort: Cohort, options: RunOptions = RunOptions()) -> Split:
    """Return the split of a cohort by patient: the declared one, folds, or train, tune and test."""
    return make_split(cohort, SplitOptions(folds=options.folds, seed=options.recipe.seed))


def prepare_run(cohort: Cohort, folder: Path, options: RunOptions) -> Prepared:
    """Audit, split and prepare a cohort in a new run folder."""
    with writing(folder):
        return prepare(cohort, start_run(folder, force=options.force), options)


def prepare(cohort: Cohort, run: Run, options: RunOptions) -> Prepared:
    """Audit, split and prepare a cohort, and write all of it to the run.

    Raises
    ------
    RefusedError
        If a blocking finding stands.
    InputError
        If a mask does not have the shape of its picture.
    UnreadableImageError
        If pictures cannot be read; all are named.
    """
    check_model(cohort, options.recipe)
    rows = rows_for(cohort, options.recipe)
    write_study(cohort.study, run.study)
    divided = split(rows, options)
    judged = _audited(cohort, run.folder, options, split=split_of_pictures(divided, rows))
    refuse_blocking(judged, options, run.folder)
    refuse_masks(judged)
    recipe = resolved(cohort, options.recipe, seen_by(judged, cohort))
    store = store_for(rows, recipe, run, options)
    if store is not None and store.failures:
        rows = rows.of(store.image_ids) if rows.pictures is None else with_pictures(rows, store.image_ids)
        # What was audited is kept, less the pictures that are gone; a new split would be one that nobody has judged.
        kept = divided.table[divided.table["image_id"].isin(rows.image_ids)].reset_index(drop=True)
        divided = replace(divided, table=kept)
    write_cohort(rows, run.cohort)
    write_split(divided, run.split)
    recipe.to_yaml(run.recipe)
    return Prepared(rows, divided, store, recipe)


def split_of_pictures(divided: Split, rows: Cohort) -> Split:
    """Return the split of a cohort of cases as one of their pictures, which is what an audit looks at."""
    if rows.pictures is None:
        return divided
    parts = divided.table.set_index("image_id").loc[rows.pictures["case_id"]].reset_index(drop=True)
    parts.insert(0, "image_id", rows.pictures["image_id"].to_numpy())
    return replace(divided, table=parts)


def store_for(cohort: Cohort, recipe: Recipe, run: Run, options: RunOptions) -> "Store | None":
    """Return the store of a cohort's pictures, or its cases', as a resolved recipe says; None for a table model."""
    from focusmap.images.store import StoreOptions, prepare_store

    if parse_model(recipe.model).shown == "table":
        return None
    if options.store is not None:
        run.share_store(options.store)
    settings = StoreOptions(options.workers, options.skip_unreadable, options.progress)
    table = cohort.table if cohort.pictures is None else cohort.pictures
    files = [cohort.study.images / path for path in table["path"]]
    return prepare_store(files, list(table["image_id"]), preparation_for(recipe), run.store, settings)


def preparation_for(recipe: Recipe) -> "AnyPreparation":
    """Return what is done to each picture or volume, as a resolved recipe says."""
    from focusmap.images.prepare import Preparation
    from focusmap.images.volumes import VolumePreparation

    if not recipe.shape:
        return Preparation(size=recipe.size, channels=3 if recipe.channels == 3 else 1, crop=recipe.crop)
    right, front, top = recipe.shape
    spacing = (recipe.spacing[0], recipe.spacing[1], recipe.spacing[2]) if recipe.spacing else None
    return VolumePreparation((right, front, top), recipe.channels, spacing, crop=recipe.crop)


def resolved(cohort: Cohort, recipe: Recipe, seen: Seen | None) -> Recipe:
    """Return the recipe with nothing left open: by what was seen of its pictures, or for the table.

    Raises
    ------
    InputError
        If there is no model for it.
    """
    name = model_name(cohort, recipe)
    recipe = replace(recipe, cases=cases_of(cohort, recipe))
    if name.shown == "table":
        return replace(recipe, model=name.name, learning_rate=recipe.learning_rate or TABLE_RATE)
    assert seen is not None, "check_model refuses a model of pictures for a study without any"
    chosen = resolve_recipe(replace(recipe, model=name.net), seen)
    if name.with_table:
        chosen = replace(chosen, model=f"{chosen.model}{WITH_TABLE}")
    check_model(cohort, chosen)
    return chosen


def resolve_recipe(recipe: Recipe, seen: Seen) -> Recipe:
    """Return the recipe with model, size or shape, and channels chosen where it leaves them open.

    The size is the pictures' own up to 64 pixels and at most 224 else; three channels if any picture has colour. The
    shape of volumes is their own up to 96 voxels a side. A focus-map net pools by log-sum-exp, one with attention along
    the axes by the average. An autoencoder is judged by its loss, the mean of its errors.

    Raises
    ------
    InputError
        If the model is one for pictures and the study has volumes, or the other way round.

    >>> chosen = resolve_recipe(Recipe(), Seen([(28, 28)], 1))
    >>> chosen.model, chosen.size, chosen.channels, chosen.pooling
    ('small-residual', 28, 1, 'average')
    >>> chosen = resolve_recipe(Recipe(), Seen([(256, 256, 24)], 2))
    >>> chosen.model, chosen.shape, chosen.channels
    ('resnet18-3d', (96, 96, 24), 2)
    """
    from focusmap.nets.decoders import AUTOENCODER, attends_along_axes, has_focus, split_model

    _refuse_other_dimensions(recipe, seen)
    sized = _for_volumes(recipe, seen) if seen.dimensions == 3 else _for_pictures(recipe, seen)
    if parse_model(recipe.model).engine == "estimator":
        return sized
    usual = "small-residual" if max(sized.shape or (sized.size,)) <= SMALL else "resnet18"
    usual = f"{usual}-3d" if sized.shape else usual
    model = {"auto": usual, AUTOENCODER: f"{usual}-{AUTOENCODER}"}.get(recipe.model, recipe.model)
    base, decoder = split_model(model)
    rate = recipe.learning_rate or (3e-3 if base in FROM_SCRATCH else 5e-4)
    pools: Pooling = "lse" if has_focus(model) and not attends_along_axes(decoder) else "average"
    pooling = recipe.pooling if recipe.pooling != "auto" else pools
    loss: Loss = recipe.loss if recipe.learns_labels else "absolute"
    monitor: Monitor = recipe.monitor if recipe.learns_labels else "loss"
    return replace(sized, model=model, learning_rate=rate, pooling=pooling, loss=loss, monitor=monitor)


def _refuse_other_dimensions(recipe: Recipe, seen: Seen) -> None:
    from focusmap.nets.backbones import dimensions_of
    from focusmap.nets.decoders import AUTOENCODER, split_model

    if recipe.model in ("auto", AUTOENCODER):
        wanted = seen.dimensions
    else:
        is_net = parse_model(recipe.model).engine == "net"
        wanted = dimensions_of(split_model(recipe.model)[0]) if is_net else 2
    if wanted != seen.dimensions:
        taken, found = ("pictures", "volumes") if seen.dimensions == 3 else ("volumes", "pictures")
        other = "small-residual-3d or resnet18-3d" if seen.dimensions == 3 else "resnet18"
        raise InputError(f"model {recipe.model!r} takes {taken}, and those of this study are {found}. Try {other}.")
    is_fast = recipe.baseline not in ("auto", "none")
    if seen.dimensions == 3 and is_fast and parse_model(recipe.baseline).shown == "pictures":
        raise InputError(f"baseline {recipe.baseline!r} takes pictures, and those of this study are volumes. Say none.")
    if seen.dimensions == 2 and (recipe.shape or recipe.spacing):
        raise InputError("shape and spacing are for volumes, and those of this study are pictures. Say --size.")


def _for_pictures(recipe: Recipe, seen: Seen) -> Recipe:
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
