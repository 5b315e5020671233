"""Rows that a model is asked about, of a table or of cases, and what it says of them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.errors import InputError
from focusmap.evaluation.calibration import apply
from focusmap.evaluation.predictions import ID_COLUMNS, Predictions
from focusmap.models.any import Answers, attention_of
from focusmap.models.rows import RowModel
from focusmap.study.cases import NO_VIEW, pictures_of, with_pictures
from focusmap.study.cohort import Cohort, read_columns, read_unlabelled
from focusmap.study.covariates import Covariates
from focusmap.study.declaration import Declaration
from focusmap.study.flags import Flag, Flags, side_by_side
from focusmap.study.options import RunOptions
from focusmap.study.roles import NO_PATH, find_roles, first_filled
from focusmap.study.run import Run
from focusmap.study.study import Study, read_study
from focusmap.study.task import Task

if TYPE_CHECKING:
    from focusmap.models.any import AnyModel
    from focusmap.models.cases import CaseModel


def unlabelled_rows(folder: Path, model: "RowModel | CaseModel", file: Path, said: Declaration) -> Cohort:
    """Return the rows of a table that is asked about, by the columns of the run's study; targets are not looked at.

    A model folder without its run knows the covariates, and finds patients under the usual names.

    Raises
    ------
    InputError
        If the table lacks what says which pictures are a case, or which view each is.
    """
    table, own = read_columns(file), own_study(folder)
    try:
        roles = find_roles(table, said, own)
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    path = None if isinstance(model, RowModel) else roles.path
    names = first_filled(table, (own.path_column if own else None,)) if path is None else None
    asked = replace(
        study_of(folder, model.task, file, said),
        label_file=file,
        images=said.images or file.parent,
        path_column=path,
        id_column=roles.image_id or names,
        covariates=tuple(column.name for column in Covariates.from_list(model.card.covariates).columns),
        patient_column=roles.patient,
        case_column=roles.case,
        view_column=roles.view,
    )
    if not isinstance(model, RowModel):
        _refuse_lacking(file, asked, model)
    return read_unlabelled(file, asked)


def own_study(folder: Path) -> Study | None:
    """Return the study of a run; None for a model folder without its run."""
    file = Run(folder).study
    return read_study(file) if file.is_file() else None


def study_of(folder: Path, task: Task, file: Path, said: Declaration) -> Study:
    """Return the run's study, or that of a model folder without its run, with what `file` calls not known."""
    own, columns = own_study(folder) or Study(file, file.parent, task), read_columns(file)
    return replace(
        own, missing=tuple(text for text in (*own.missing, *said.missing) if text.rpartition("=")[0] in columns)
    )


def _refuse_lacking(file: Path, asked: Study, model: "CaseModel") -> None:
    """Raise `InputError` where a table does not say which pictures are a case, or which view each is."""
    grouped = model.card.architecture.get("cases") != "pictures"
    if asked.path_column is None:
        raise InputError(f"{file}: {NO_PATH}")
    if grouped and asked.case_column is None:
        raise InputError(f"{file}: does not say which pictures are a case. Name the column with --case.")
    if asked.view_column is None and model.views != (NO_VIEW,):
        raise InputError(f"{file}: does not say which view each picture is. Name the column with --view.")


def predictions_of(model: "AnyModel", cohort: Cohort, answers: Answers) -> Predictions:
    """Return a model's answers for a cohort as its predictions, calibrated."""
    probabilities = apply(model.task, answers.logits, model.card.temperatures)
    return Predictions(model.task, ids_of(cohort), answers.logits, probabilities, answers.flags)


def predict_rows(model: RowModel, cohort: Cohort) -> Predictions:
    """Return a table model's predictions for a cohort, with what of each row is unlike train as its flags."""
    return predictions_of(model, cohort, Answers(*model.of_table(cohort)))


def predict_cases(
    model: "CaseModel", cohort: Cohort, failures: list[tuple[Path, str]], options: RunOptions
) -> tuple[Predictions, Cohort, pd.DataFrame]:
    """Return predictions for a cohort's cases, the cohort of those that could be seen, and what each picture weighs.

    What failed is noted in `failures`: each picture that cannot be read, and each case that has no other.
    """
    from focusmap.models.cases import joined
    from focusmap.models.predict import look_at_files

    looked, kept = [], []
    seen: list[str] = []
    lacking: list[Flags] = []
    for position, found in enumerate(look_at_files(model, cohort)):
        options.progress("predicting", position + 1, len(cohort))
        failures += found.failures
        if found.looked is None:
            failures.append((Path(cohort.image_ids[position]), "no picture of this case can be read"))
            continue
        looked.append(found.looked)
        kept.append(position)
        seen += found.image_ids
        lacking.append(_unreadable(len(found.failures)))
    cohort = cohort.take(kept)
    if not kept:
        return predictions_of(model, cohort, Answers(np.empty((0, model.task.n_logits)))), cohort, pd.DataFrame()
    together, shown = joined(looked), with_pictures(cohort, seen)
    logits, flags = model.answer(together, shown)
    if any(lacking):
        flags = side_by_side(flags or [()] * len(lacking), lacking)
    answers = Answers(logits, flags)
    return predictions_of(model, shown, answers), shown, attention_of(pictures_of(shown), together.attention)


def _unreadable(n_pictures: int) -> Flags:
    return (Flag("unreadable", f"{n_pictures} of its pictures cannot be read"),) if n_pictures else ()


def ids_of(cohort: Cohort) -> pd.DataFrame:
    """Return the columns that name the rows of a predictions file."""
    return cohort.table[[name for name in ID_COLUMNS if name in cohort.table]].reset_index(drop=True)
