"""What lies between a checked cohort and its first training: audit, split, prepared images."""

from dataclasses import dataclass, replace
from typing import Protocol

from focusmap import images
from focusmap.audit import Audit, image_summary_of
from focusmap.fitting.configure import resolved
from focusmap.fitting.suitability import check_model, rows_for
from focusmap.study import Cohort, Recipe, Run, RunOptions, store_for, with_images, write_cohort, write_study
from focusmap.study.split import Split, SplitOptions, make_split, write_split


@dataclass(frozen=True)
class Prepared:
    """A cohort that may be trained on, of images or of cases: audited, split, its images prepared."""

    cohort: Cohort
    split: Split
    store: "images.Store | None"
    recipe: Recipe


def split(cohort: Cohort, options: RunOptions = RunOptions(), together: tuple[tuple[str, ...], ...] = ()) -> Split:
    """Return the split of a cohort by patient: the declared one, folds, or train, tune and test.

    Rows of each group in `together` stand in one part.
    """
    return make_split(cohort, SplitOptions(folds=options.folds, seed=options.recipe.seed, together=together))


class Auditing(Protocol):
    """What audits a cohort before its training; pages are made elsewhere."""

    def near_groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the ids of images that are to stand in one part, group by group."""
        ...

    def judged(self, split: Split) -> Audit:
        """Return, and write, the audit with a split of the images; it raises where that must not be trained on."""
        ...


def prepare(cohort: Cohort, run: Run, options: RunOptions, auditing: Auditing) -> Prepared:
    """Audit, split and prepare a cohort, and write all of it to the run.

    Parameters
    ----------
    auditing
        The audit of the cohort, which says too what must not be parted.

    Raises
    ------
    UnreadableImageError
        If images cannot be read; all are named.
    """
    check_model(cohort, options.recipe)
    rows = rows_for(cohort, options.recipe)
    write_study(cohort.study, run.study)
    divided = split(rows, options, groups_of_rows(auditing.near_groups(), rows))
    audit = auditing.judged(split_of_images(divided, rows))
    recipe = resolved(cohort, options.recipe, image_summary_of(audit, cohort), options)
    store = store_for(rows, recipe, run, options)
    if store is not None and store.failures:
        rows = rows.of(store.image_ids) if rows.images is None else with_images(rows, store.image_ids)
        # What was audited is kept, less the images that are gone; a new split would be one that nobody has judged.
        readable = divided.table[divided.table["image_id"].isin(rows.image_ids)].reset_index(drop=True)
        divided = replace(divided, table=readable)
    write_cohort(rows, run.cohort)
    write_split(divided, run.split)
    recipe.to_yaml(run.recipe)
    return Prepared(rows, divided, store, recipe)


def groups_of_rows(groups: tuple[tuple[str, ...], ...], rows: Cohort) -> tuple[tuple[str, ...], ...]:
    """Return groups of images as groups of rows, which may be cases; those of one row are none."""
    if rows.images is None:
        return groups
    case_of = dict(zip(rows.images["image_id"], rows.images["case_id"], strict=True))
    of_cases = [tuple(dict.fromkeys(case_of[name] for name in group if name in case_of)) for group in groups]
    return tuple(group for group in of_cases if len(group) > 1)


def split_of_images(divided: Split, rows: Cohort) -> Split:
    """Return the split of a cohort of cases as one of their images, which is what an audit looks at."""
    if rows.images is None:
        return divided
    parts = divided.table.set_index("image_id").loc[rows.images["case_id"]].reset_index(drop=True)
    parts.insert(0, "image_id", rows.images["image_id"].to_numpy())
    return replace(divided, table=parts)
