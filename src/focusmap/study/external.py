"""Pictures that are not the run's own: a label file read as the run's study declares it."""

from dataclasses import replace
from pathlib import Path

from focusmap.errors import InputError, RefusedError, listed, suggest
from focusmap.files import read_table
from focusmap.models.names import parse_model
from focusmap.study.cases import by_case
from focusmap.study.cohort import Cohort, load_cohort, read_cohort
from focusmap.study.declaration import Declaration
from focusmap.study.options import RunOptions
from focusmap.study.recipe import read_recipe
from focusmap.study.run import Run
from focusmap.study.study import Study, read_study
from focusmap.study.task import Task

LEAK = "patient-across-splits"


def read_other(run: Run, label_file: Path, said: Declaration) -> Cohort:
    """Return the cohort of a label file that the run has not seen, read as the run's own study declares it.

    Raises
    ------
    InputError
        If the run's patient column is not there and no other one is named, a column that is named is not there, or a
        target is not the run's;
        otherwise as `read_cohort`.
    """
    columns = set(read_table(label_file).columns)
    own = read_study(run.study)
    check_targets(own.task, said)
    for named in filter(None, (said.case, said.view, said.mask, *said.covariates, *said.groups)):
        if named not in columns:
            raise InputError(f"{label_file} has no column {named!r}.{suggest(named, columns)}")
    patient = said.patient or own.patient_column
    if own.patients == "column" and patient != "none" and patient not in columns:
        raise InputError(
            f"{label_file} has no column {patient!r}, which says who the patients are. Name it: --patient."
        )
    study = replace(
        own,
        label_file=label_file.resolve(),
        images=(said.images or label_file.parent).resolve(),
        patient_column=None if patient == "none" else patient,
        patients="none" if patient == "none" else "column" if patient else own.patients,
        case_column=said.case or own.case_column,
        view_column=said.view or own.view_column,
        mask_column=said.mask or own.mask_column,
        covariates=said.covariates or own.covariates,
        groups=said.groups or own.groups,
        missing=(*own.missing, *said.missing),
        boxes_file=said.boxes,
        split_column=None,
        block_column=None,
    )
    return read_cohort(label_file, study=_present(study, columns))


def rows_like(run: Run, cohort: Cohort) -> Cohort:
    """Return a cohort of pictures as the rows that a run's model answers: the same, or the cases that they make.

    Raises
    ------
    InputError
        If the model is one of cases and the label file does not say which pictures are a case, or which view each is.
    """
    own = load_cohort(run.folder)
    if own.pictures is None:
        return cohort
    recipe = read_recipe(run.recipe)
    grouped, has_views = recipe.cases != "pictures", own.study.view_column is not None
    if grouped and "case_id" not in cohort.table:
        raise InputError(
            f"{cohort.study.label_file}: does not say which pictures are a case. Name the column with --case."
        )
    if grouped and has_views and "view" not in cohort.table and parse_model(recipe.model).shown == "pictures":
        raise InputError(f"{cohort.study.label_file}: does not say which view each picture is. Name it with --view.")
    return by_case(cohort, grouped=grouped)


def check_targets(task: Task, said: Declaration) -> None:
    """Raise `InputError` if the user names a target that the run does not have; it answers all of its own."""
    for written in said.targets:
        task.index(written.partition(":")[0])


def _present(study: Study, columns: set[str]) -> Study:
    """Return the study without the columns that this table can do without and lacks."""

    def kept(column: str | None) -> str | None:
        return column if column in columns else None

    return replace(
        study,
        id_column=kept(study.id_column),
        case_column=kept(study.case_column),
        view_column=kept(study.view_column),
        mask_column=kept(study.mask_column),
        covariates=tuple(name for name in study.covariates if name in columns),
        before={target: column for target, column in study.before.items() if column in columns},
        missing=tuple(text for text in study.missing if text.rpartition("=")[0] in columns),
        groups=tuple(name for name in study.groups if name in columns),
    )


def refuse_known_patients(run: Run, other: Cohort, options: RunOptions) -> None:
    """Raise `RefusedError` where another label file has patients of the run's own study, unless that is accepted."""
    own = load_cohort(run.folder)
    if LEAK in options.accept or {own.study.patients, other.study.patients} != {"column"}:
        return
    shared = sorted(set(own.patient_ids) & set(other.patient_ids))
    if shared:
        named = listed(shared, 5, ", ")
        raise RefusedError(
            f"{LEAK}: {len(shared)} patients of {other.study.label_file} were in the run's own study ({named}). "
            f"To go on all the same: --accept {LEAK}"
        )
