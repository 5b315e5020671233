"""Tables that are not the run's own: who stands in them, and their rows read as the run's study declares them.

A roster has patients and images, whatever else the table holds; it may have no labels and no images.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import InputError, RefusedError, listed
from focusmap.images import refuse_links_out
from focusmap.study import cases, ids, recipe_parts
from focusmap.study.cohort import Cohort, load_cohort, read_cohort, read_columns
from focusmap.study.declaration import column_of
from focusmap.study.options import Declaration, RunOptions
from focusmap.study.paths import refuse_missing, relative_path
from focusmap.study.recipe import read_recipe
from focusmap.study.roles import NO_PATH, find_roles, require_column
from focusmap.study.run import Run
from focusmap.study.study import Study, read_study
from focusmap.study.task import Task


@dataclass(frozen=True)
class Roster:
    """The rows of a table, to be compared with those of another.

    Parameters
    ----------
    file
        The table.
    image_ids
        One per row.
    patients, files
        Patient and image of each row; None where the table does not say.
    """

    file: Path
    image_ids: tuple[str, ...]
    patients: tuple[str, ...] | None
    files: tuple[Path, ...] | None


def roster_of(cohort: Cohort) -> Roster:
    """Return the roster of a cohort; its patients only where they are declared."""
    patients = tuple(map(str, cohort.patient_ids)) if cohort.study.patients == "column" else None
    files = tuple(cohort.files) if cohort.has_images else None
    return Roster(cohort.study.label_file, tuple(cohort.image_ids), patients, files)


def read_roster(file: Path, own: Study, images: Path | None = None) -> Roster:
    """Return the roster of a table whose columns have the roles that `find_roles` gives them beside a study.

    Parameters
    ----------
    file
        The table, with a header.
    own
        The study that the table is held against.
    images
        Folder to which its paths are relative; by default its own.

    Raises
    ------
    MissingFileError, InputError
        If the table or an image is missing, a path is not relative, or a patient is empty.
    """
    cells = read_columns(file).apply(lambda column: column.str.strip())
    roles, folder = find_roles(cells, Declaration(), own), images or file.parent
    rows = pd.Series(np.arange(2, len(cells) + 2))
    paths, patients = None, None
    try:
        if roles.path is not None:
            paths = [relative_path(cell, row) for cell, row in zip(cells[roles.path], rows, strict=True)]
        if roles.patient is not None:
            ids.refuse_nobody(cells[roles.patient], roles.patient)
            patients = tuple(map(ids.normal_id if own.same_patient else str, cells[roles.patient]))
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    if paths is not None:
        refuse_missing(file, folder, pd.DataFrame({"row": rows, "path": paths}), "path")
        refuse_links_out(folder, paths, follow=own.follow_links)
    named = cells[roles.image_id] if roles.image_id else paths or [f"row{row}" for row in rows]
    files = None if paths is None else tuple(folder / name for name in paths)
    return Roster(file, tuple(map(str, named)), patients, files)


LEAK = "patient-across-splits"


def read_other(run: Run, label_file: Path, declaration: Declaration) -> Cohort:
    """Return the cohort of a label file that the run has not seen, read as the run's own study declares it.

    Raises
    ------
    InputError
        If the run's patient column is not there and no other one is named, a column that is named is not there, or a
        target is not the run's;
        otherwise as `read_cohort`.
    """
    table, own = read_columns(label_file), read_study(run.study)
    check_targets(own.task, declaration)
    try:
        study = _read_as(own, declaration, table, label_file)
    except InputError as error:
        raise InputError(f"{label_file} {error}") from None
    return read_cohort(label_file, study=study)


def _read_as(own: Study, declaration: Declaration, table: pd.DataFrame, label_file: Path) -> Study:
    """Return the run's study of another table: what is named, the run's own, and less what this table lacks."""
    for named in (*declaration.covariates, *declaration.groups):
        require_column(table, named)
    roles = find_roles(table, declaration, own)
    if own.path_column is not None and roles.path is None:
        raise InputError(NO_PATH)
    if own.patients == "column" and declaration.patient != "none" and roles.patient is None:
        raise InputError(f"has no column {own.patient_column!r}, which says who the patients are. Name it: --patient.")
    names = list(map(str, table))
    return replace(
        own,
        label_file=label_file.resolve(),
        images=(declaration.images or label_file.parent).resolve(),
        path_column=roles.path,
        id_column=roles.image_id,
        patient_column=roles.patient,
        same_patient=own.same_patient or declaration.same_patient,
        follow_links=own.follow_links or declaration.follow_links,
        patients="none" if declaration.patient == "none" else "column" if roles.patient else own.patients,
        case_column=roles.case,
        view_column=roles.view,
        mask_column=roles.mask,
        covariates=declaration.covariates or tuple(name for name in own.covariates if name in table),
        groups=declaration.groups or tuple(name for name in own.groups if name in table),
        before={target: column for target, column in own.before.items() if column in table},
        missing=tuple(text for text in (*own.missing, *declaration.missing) if column_of(text, names)),
        means=tuple(text for text in (*own.means, *declaration.means) if column_of(text, names)),
        boxes_file=declaration.boxes,
        split_column=None,
        block_column=None,
    )


def rows_like(run: Run, cohort: Cohort) -> Cohort:
    """Return a cohort of images as the rows that a run's model answers: the same, or the cases that they make.

    Raises
    ------
    InputError
        If the model is one of cases and the label file does not say which images are a case, or which view each is.
    """
    own = load_cohort(run.folder)
    if own.images is None:
        return cohort
    recipe = read_recipe(run.recipe)
    grouped, has_views = recipe.cases != "pictures", own.study.view_column is not None
    if grouped and "case_id" not in cohort.table:
        raise InputError(
            f"{cohort.study.label_file}: does not say which images are a case. Name the column with --case."
        )
    if (
        grouped
        and has_views
        and "view" not in cohort.table
        and recipe_parts.parse_model(recipe.model).shown == "images"
    ):
        raise InputError(f"{cohort.study.label_file}: does not say which view each image is. Name it with --view.")
    return cases.by_case(cohort, grouped=grouped)


def check_targets(task: Task, declaration: Declaration) -> None:
    """Raise `InputError` if the user names a target that the run does not have; it answers all of its own."""
    for written in declaration.targets:
        task.index(written.partition(":")[0])


def refuse_known_patients(run: Run, other: Cohort, options: RunOptions) -> None:
    """Raise `RefusedError` where another label file has patients of the run's own study, unless that is accepted.

    So it does where an id is one of the run's in another spelling, or another's of the label file itself.
    """
    own = load_cohort(run.folder)
    if {own.study.patients, other.study.patients} != {"column"}:
        return
    known, theirs = set(own.patient_ids), set(other.patient_ids)
    if other.study.same_patient:
        known = set(map(ids.normal_id, known))
    facts: dict[str, tuple[str, list[str]]] = {
        LEAK: (f"patients of {other.study.label_file} were in the run's own study", sorted(known & theirs)),
        ids.SPELLINGS: (
            f"patients of {other.study.label_file} are written in two ways, there or in the run's own study",
            ids.spelled_apart(known - theirs, theirs),
        ),
    }
    for name, (fact, patients) in facts.items():
        if patients and name not in options.accept:
            settled = " If they are one: --same-patient; if not, rename them." if name == ids.SPELLINGS else ""
            raise RefusedError(
                f"{name}: {len(patients)} {fact} ({listed(patients, 5, ', ')}).{settled} To go on all the same: "
                f"--accept {name}"
            )
