"""Audit, split and prepare: all that comes before a training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from focusmap.classical.names import parse_model
from focusmap.cohort.cohort import Cohort, write_cohort
from focusmap.cohort.roster import Roster, roster_of
from focusmap.cohort.split import Split, SplitOptions, make_split, write_split
from focusmap.errors import RefusedError
from focusmap.pipeline.models import check_model, model_name
from focusmap.pipeline.options import RunOptions
from focusmap.pipeline.runs import Run, start_run
from focusmap.values.recipe import Loss, Monitor, Pooling, Recipe
from focusmap.values.study import write_study

if TYPE_CHECKING:
    from focusmap.auditing import Audit
    from focusmap.imaging.store import Store

SMALL = 64
LARGEST_BY_DEFAULT = 224
# Of the table net.
TABLE_RATE = 1e-3
# Nets that are always trained from scratch take larger steps.
FROM_SCRATCH = ("small-residual", "plain-cnn", "residual-cnn")


@dataclass(frozen=True)
class Prepared:
    """A cohort that may be trained on: audited, split, its pictures prepared."""

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
    """
    from focusmap.auditing import AuditOptions, audit_against, audit_cohort
    from focusmap.pipeline.audit_pages import write_audit

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
        accepts = " ".join(f"--accept {name}" for name in dict.fromkeys(finding.name for finding in blocking))
        raise RefusedError(
            "\n  ".join(["refused.", *lines, f"Details: {where / 'audit.json'}. To go on all the same: {accepts}"])
        )


def split(cohort: Cohort, options: RunOptions = RunOptions()) -> Split:
    """Return the split of a cohort by patient: the declared one, folds, or train, tune and test."""
    return make_split(cohort, SplitOptions(folds=options.folds, seed=options.recipe.seed))


def prepare_run(cohort: Cohort, folder: Path, options: RunOptions) -> Prepared:
    """Audit, split and prepare a cohort in a new run folder."""
    return prepare(cohort, start_run(folder, force=options.force), options)


def prepare(cohort: Cohort, run: Run, options: RunOptions) -> Prepared:
    """Audit, split and prepare a cohort, and write all of it to the run.

    Raises
    ------
    RefusedError
        If a blocking finding stands.
    UnreadableImageError
        If pictures cannot be read; all are named.
    """
    check_model(cohort, options.recipe)
    write_study(cohort.study, run.study)
    divided = split(cohort, options)
    judged = audit(cohort, run.folder, options, split=divided)
    refuse_blocking(judged, options, run.folder)
    recipe = resolved(cohort, options.recipe, lambda: _shapes_and_colour(judged))
    store = store_for(cohort, recipe, run, options)
    if store is not None and store.failures:
        cohort = cohort.of(store.image_ids)
        # What was audited is kept, less the pictures that are gone; a new split would be one that nobody has judged.
        kept = divided.table[divided.table["image_id"].isin(store.image_ids)].reset_index(drop=True)
        divided = replace(divided, table=kept)
    write_cohort(cohort, run.cohort)
    write_split(divided, run.split)
    recipe.to_yaml(run.recipe)
    return Prepared(cohort, divided, store, recipe)


def store_for(cohort: Cohort, recipe: Recipe, run: Run, options: RunOptions) -> "Store | None":
    """Return the store of a cohort's pictures, prepared as a resolved recipe asks for; None for a table model."""
    from focusmap.imaging.preparation import Preparation
    from focusmap.imaging.store import StoreOptions, prepare_store

    if parse_model(recipe.model).shown == "table":
        return None
    preparation = Preparation(size=recipe.size, channels=3 if recipe.channels == 3 else 1, crop=recipe.crop)
    settings = StoreOptions(options.workers, options.skip_unreadable, options.progress)
    return prepare_store(cohort.files, cohort.image_ids, preparation, options.store or run.store, settings)


def resolved(cohort: Cohort, recipe: Recipe, look: Callable[[], tuple[list[tuple[int, int]], bool]]) -> Recipe:
    """Return the recipe with nothing left open: by its pictures, of which `look` gives shapes and colour, or the table.

    Raises
    ------
    InputError
        If there is no model for it.
    """
    name = model_name(cohort, recipe)
    if name.shown == "table":
        return replace(recipe, model=name.name, learning_rate=recipe.learning_rate or TABLE_RATE)
    chosen = resolve_recipe(recipe, *look())
    check_model(cohort, chosen)
    return chosen


def _shapes_and_colour(judged: "Audit") -> tuple[list[tuple[int, int]], bool]:
    """Return the shape of every picture, and whether any has colour, as the audit saw them."""
    images = cast(Mapping[str, Mapping[str, int]], judged.overview["images"])
    shapes: list[tuple[int, int]] = []
    for size, count in images["sizes"].items():
        rows, columns = (int(side) for side in size.split("x")[-2:])
        shapes += [(rows, columns)] * count
    return shapes, any(mode.endswith("3 channels") for mode in images["modes"])


def resolve_recipe(recipe: Recipe, shapes: Sequence[tuple[int, int]], has_colour: bool) -> Recipe:
    """Return the recipe with model, size and channels chosen where it leaves them open.

    The size is the pictures' own up to 64 pixels and at most 224 else; three channels if any picture has colour. A
    focus-map net pools by log-sum-exp, one with attention along the axes by the average. An autoencoder is judged by
    its loss, the mean of its errors.

    >>> chosen = resolve_recipe(Recipe(), [(28, 28)], False)
    >>> chosen.model, chosen.size, chosen.channels, chosen.pooling
    ('small-residual', 28, 1, 'average')
    """
    from focusmap.nets.decoders import AUTOENCODER, attends_along_axes, has_focus, split_model

    longest = sorted(max(shape) for shape in shapes)
    typical = longest[len(longest) // 2] if longest else LARGEST_BY_DEFAULT
    size = recipe.size or min(max(typical, 16), LARGEST_BY_DEFAULT)
    usual = "small-residual" if size <= SMALL else "resnet18"
    channels = recipe.channels or (3 if has_colour else 1)
    if parse_model(recipe.model).engine == "estimator":
        return replace(recipe, size=size, channels=channels)
    model = {"auto": usual, AUTOENCODER: f"{usual}-{AUTOENCODER}"}.get(recipe.model, recipe.model)
    base, decoder = split_model(model)
    rate = recipe.learning_rate or (3e-3 if base in FROM_SCRATCH else 5e-4)
    pools: Pooling = "lse" if has_focus(model) and not attends_along_axes(decoder) else "average"
    pooling = recipe.pooling if recipe.pooling != "auto" else pools
    loss: Loss = recipe.loss if recipe.learns_labels else "absolute"
    chosen = replace(recipe, size=size, model=model, channels=channels, learning_rate=rate)
    monitor: Monitor = recipe.monitor if recipe.learns_labels else "loss"
    return replace(chosen, pooling=pooling, loss=loss, monitor=monitor)
