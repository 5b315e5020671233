"""Split and prepare: what lies between a checked cohort and its first training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from focusmap.audit.image_summary import seen_by
from focusmap.models.checks import check_model, rows_for
from focusmap.models.configure import preparation_for, resolved
from focusmap.study.cases import with_images
from focusmap.study.cohort import Cohort, write_cohort
from focusmap.study.model_names import parse_model
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Recipe
from focusmap.study.run import Run
from focusmap.study.split import Split, SplitOptions, make_split, write_split
from focusmap.study.study import write_study

if TYPE_CHECKING:
    from focusmap.audit import Audit
    from focusmap.images.store import Store


@dataclass(frozen=True)
class Prepared:
    """A cohort that may be trained on, of images or of cases: audited, split, its images prepared."""

    cohort: Cohort
    split: Split
    store: "Store | None"
    recipe: Recipe


def split(cohort: Cohort, options: RunOptions = RunOptions()) -> Split:
    """Return the split of a cohort by patient: the declared one, folds, or train, tune and test."""
    return make_split(cohort, SplitOptions(folds=options.folds, seed=options.recipe.seed))


def prepare(cohort: Cohort, run: Run, options: RunOptions, judged: "Callable[[Split], Audit]") -> Prepared:
    """Audit, split and prepare a cohort, and write all of it to the run.

    Parameters
    ----------
    judged
        Returns, and writes, the audit of the cohort with a split of its images; raises where that must not be trained
        on. Pages are made elsewhere.

    Raises
    ------
    UnreadableImageError
        If images cannot be read; all are named.
    """
    check_model(cohort, options.recipe)
    rows = rows_for(cohort, options.recipe)
    write_study(cohort.study, run.study)
    divided = split(rows, options)
    audit = judged(split_of_images(divided, rows))
    recipe = resolved(cohort, options.recipe, seen_by(audit, cohort))
    store = store_for(rows, recipe, run, options)
    if store is not None and store.failures:
        rows = rows.of(store.image_ids) if rows.images is None else with_images(rows, store.image_ids)
        # What was audited is kept, less the images that are gone; a new split would be one that nobody has judged.
        kept = divided.table[divided.table["image_id"].isin(rows.image_ids)].reset_index(drop=True)
        divided = replace(divided, table=kept)
    write_cohort(rows, run.cohort)
    write_split(divided, run.split)
    recipe.to_yaml(run.recipe)
    return Prepared(rows, divided, store, recipe)


def split_of_images(divided: Split, rows: Cohort) -> Split:
    """Return the split of a cohort of cases as one of their images, which is what an audit looks at."""
    if rows.images is None:
        return divided
    parts = divided.table.set_index("image_id").loc[rows.images["case_id"]].reset_index(drop=True)
    parts.insert(0, "image_id", rows.images["image_id"].to_numpy())
    return replace(divided, table=parts)


def store_for(cohort: Cohort, recipe: Recipe, run: Run, options: RunOptions) -> "Store | None":
    """Return the store of a cohort's images, or its cases', as a resolved recipe says; None for a table model."""
    from focusmap.images.store import StoreOptions, prepare_store

    if parse_model(recipe.model).shown == "table":
        return None
    if options.store is not None:
        run.share_store(options.store)
    settings = StoreOptions(options.workers, options.skip_unreadable, options.progress)
    table = cohort.table if cohort.images is None else cohort.images
    files = [cohort.study.images / path for path in table["path"]]
    return prepare_store(files, list(table["image_id"]), preparation_for(recipe), run.store, settings)
