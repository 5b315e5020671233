"""From a table of images to one of cases: what images of one case must agree in, and which views they are."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from focusmap.basics import InputError, listed, suggest
from focusmap.study.cohort import Cohort

NO_VIEW = ""
IMAGE_COLUMNS = ("row", "image_id", "path", "case_id", "view")


def by_case(cohort: Cohort, *, grouped: bool = True) -> Cohort:
    """Return the cohort whose rows are the cases of a cohort of images; the images stand in its `images`.

    A case's `image_id` is its name, its `path` that of its first image. A target, covariate or baseline value is what
    any of its images says; images that say nothing are passed over.

    Parameters
    ----------
    cohort
        Of images.
    grouped
        By the study's case column and view column; otherwise each image is a case of its own, without a view.

    Raises
    ------
    InputError
        If a case or view has no name, or the images of a case differ in patient, part of the split, target or
        covariate.

    >>> from pathlib import Path
    >>> from focusmap.study.study import Study
    >>> from focusmap.study.task import Target, Task
    >>> table = pd.DataFrame({"row": [2, 3], "image_id": ["a", "b"], "path": ["a", "b"], "patient_id": ["p", "p"],
    ...                       "case_id": ["eye", "eye"], "sick": ["1", ""]})
    >>> study = Study(Path("l.csv"), Path(), Task((Target("sick"),)), case_column="eye_id")
    >>> cases = by_case(Cohort(study, table, table))
    >>> cases.table[["image_id", "sick"]].to_numpy().tolist(), len(cases.images)
    ([['eye', '1']], 2)
    """
    table = cohort.table
    if not grouped:
        images = table.reindex(columns=[*IMAGE_COLUMNS, *cohort.mask_columns])
        return replace(cohort, images=images.assign(case_id=images["image_id"], view=NO_VIEW))
    _refuse_unnamed(cohort)
    images = table.assign(view=table.get("view", NO_VIEW))
    groups = table.groupby("case_id", sort=False)
    first = np.sort([rows[0] for rows in groups.indices.values()])
    cases = table.iloc[first].reset_index(drop=True)
    agreed = {name: _agreed(cohort, name) for name in _shared_columns(cohort)}
    columns = {name: [by_name[case] for case in cases["case_id"]] for name, by_name in agreed.items()}
    cases = cases.drop(columns=["view"], errors="ignore").assign(image_id=cases["case_id"], **columns)
    raw = cohort.raw.iloc[first].reset_index(drop=True)
    kept = images.reindex(columns=[*IMAGE_COLUMNS, *cohort.mask_columns]).reset_index(drop=True)
    return replace(cohort, table=cases, raw=raw, images=kept)


def by_image(cohort: Cohort) -> Cohort:
    """Return the cohort whose rows are the images of a cohort of cases, with their own masks; else the cohort itself.

    All that is not an image's own, its patient, targets and covariates among it, is what its case says.
    """
    if cohort.images is None:
        return cohort
    images = images_of(cohort)
    cases = cohort.take(images["position"].to_numpy())
    of_case = cases.table.drop(columns=cases.mask_columns)
    own = {str(name): images[name] for name in images if name != "position"}
    return replace(cases, table=of_case.assign(**own), images=None)


def images_of(cohort: Cohort) -> pd.DataFrame:
    """Return the images of a cohort's cases, case by case in the order of the cohort, with the columns of `by_case`.

    ``position`` is added: of each image's case in the cohort.
    """
    assert cohort.images is not None, "a cohort of cases"
    images = cohort.images.assign(position=[cohort.positions.get(case, -1) for case in cohort.images["case_id"]])
    return images[images["position"] >= 0].sort_values("position", kind="stable").reset_index(drop=True)


def with_images(cohort: Cohort, image_ids: Iterable[str]) -> Cohort:
    """Return a cohort of cases with those of their images that are named, less the cases that have none of them."""
    assert cohort.images is not None, "a cohort of cases"
    kept = cohort.images[cohort.images["image_id"].isin(set(image_ids))].reset_index(drop=True)
    left = set(kept["case_id"])
    return replace(cohort.of([case for case in cohort.image_ids if case in left]), images=kept)


def views_of(cohort: Cohort) -> tuple[str, ...]:
    """Return the names of the views that the images of a cohort of cases have, in alphabetical order."""
    return tuple(sorted(set(images_of(cohort)["view"])))


def view_numbers(cohort: Cohort, views: Sequence[str]) -> np.ndarray:
    """Return the number among `views` of each image of `images_of`, ``(P,) int64``.

    Raises
    ------
    InputError
        If an image has another view.
    """
    images = images_of(cohort)
    if tuple(views) == (NO_VIEW,):
        return np.zeros(len(images), dtype=np.int64)
    unknown = ~images["view"].isin(views)
    if unknown.any():
        row, view = images.loc[unknown, ["row", "view"]].iloc[0]
        raise InputError(
            f"{cohort.study.label_file} row {row}: view {view!r} is not one of {', '.join(views)}, which train has."
            f"{suggest(view, views)} Leave the row out."
        )
    return np.array([views.index(view) for view in images["view"]], dtype=np.int64)


def _refuse_unnamed(cohort: Cohort) -> None:
    for role, column in (("case_id", cohort.study.case_column), ("view", cohort.study.view_column)):
        if role in cohort.table and (cohort.table[role] == "").any():
            row = cohort.table.loc[cohort.table[role] == "", "row"].iloc[0]
            raise InputError(f"{cohort.study.label_file} row {row}: {column} is empty. Name it.")


def _shared_columns(cohort: Cohort) -> list[str]:
    study = cohort.study
    baseline = [f"earlier_{name}" for name in study.task.names]
    wanted = ("patient_id", "split_declared", *study.task.names, *study.covariates, *study.before.values(), *baseline)
    return [name for name in dict.fromkeys(wanted) if name in cohort.table]


def _agreed(cohort: Cohort, name: str) -> dict[str, str]:
    """Return what the images of each case say in a column, by case; `InputError` where two say something else."""
    filled = cohort.table[cohort.table[name].astype(str).str.strip() != ""]
    distinct = filled.drop_duplicates(["case_id", name])
    doubled = distinct[distinct["case_id"].duplicated(keep=False)]
    if len(doubled):
        case = doubled["case_id"].iloc[0]
        own = doubled[doubled["case_id"] == case]
        rows = listed([str(row) for row in own["row"]], 5, " and ")
        raise InputError(
            f"{cohort.study.label_file} rows {rows}: the images of case {case!r} differ in {_what(cohort, name)} "
            f"({listed([str(cell) for cell in own[name]], 5, ' against ')}). A case has one of each."
        )
    return {**dict.fromkeys(cohort.table["case_id"], ""), **dict(zip(distinct["case_id"], distinct[name], strict=True))}


def _what(cohort: Cohort, name: str) -> str:
    study = cohort.study
    return {"patient_id": f"patient ({study.patient_column})", "split_declared": f"split ({study.split_column})"}.get(
        name, name
    )
