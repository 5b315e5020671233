"""What a model is asked about: image files, folders of them, or the rows of a table, as the samples that it answers."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from focusmap.basics import InputError, MissingFileError, is_table, refuse_undecodable
from focusmap.images import image_files, refuse_links_out
from focusmap.study import cases, cohort, external, ids, index, options, run, study
from focusmap.study.declaration import column_of
from focusmap.study.roles import NO_PATH, Roles, find_roles, first_filled
from focusmap.study.samples import Samples
from focusmap.study.task import UNLABELLED, Task


@dataclass(frozen=True)
class Needs:
    """What a model must know of the rows that it is asked about.

    Parameters
    ----------
    task
        Its targets; their baseline values, where changes are added to them.
    images
        Whether it is shown images.
    covariates
        Columns of the table that it hears of.
    views
        Names of the views of a case; empty where rows are no cases.
    grouped
        Whether several images make a case.
    """

    task: Task
    images: bool = True
    covariates: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    grouped: bool = False

    @property
    def kind(self) -> str:
        """What a model with these needs is, for an error."""
        return "a model of cases" if self.views else "a model of images and a table" if self.images else "a table model"


def read_inputs(folder: Path, needs: Needs, inputs: Sequence[Path], declaration: options.Declaration) -> Samples:
    """Return the samples that inputs name, to be shown to the model of a run, or of a model folder without its run.

    Raises
    ------
    MissingFileError, InputError
        If an input is not there, a folder holds no image, or a table lacks what the model must know.
    """
    if needs.images and not needs.views and not needs.covariates:
        return read_images(folder, needs.task, inputs, declaration)
    if len(inputs) != 1 or not is_table(inputs[0]):
        raise InputError(f"{folder}: is {needs.kind}; give one table (.csv or .csv.gz) with the columns that it takes.")
    rows = _read_rows(folder, needs, inputs[0], declaration)
    if needs.views:
        return Samples.from_files(cases.by_case(rows, grouped=needs.grouped))
    if (folder / "recipe.yaml").is_file() and "case_id" in rows.table:
        rows = external.rows_like(run.Run(folder), rows)
    return Samples.from_files(rows) if needs.images else Samples.from_table(rows)


def read_images(folder: Path, task: Task, inputs: Sequence[Path], declaration: options.Declaration) -> Samples:
    """Return the images that inputs name, each a row: files, folders, or tables as a run's own study reads them.

    Raises
    ------
    MissingFileError, InputError
        As `read_inputs`; of a model that tells changes, if there is not one table with the baseline values.
    """
    own = _own_study(folder)
    base = _base_of(inputs)
    inputs = inputs if base == Path() else [path.absolute() for path in inputs]
    images = [image for path in inputs for image in _images_of(path, base, declaration, own)]
    names, files = [name for name, _ in images], [file for _, file in images]
    refuse_undecodable(name for name, _, _ in names)
    table = pd.DataFrame(names, columns=["image_id", "path", "patient_id"]).assign(row=range(2, len(names) + 2))
    columns = ", ".join(target.baseline for target in task.targets if target.baseline)
    if columns:
        if len(inputs) != 1 or not is_table(inputs[0]):
            raise InputError(f"{folder}: the model tells changes; give one label file with the column(s) {columns}.")
        table = pd.concat(
            [table, cohort.read_baseline(inputs[0], _study_of(folder, task, inputs[0], declaration))], axis=1
        )
    return Samples.from_files(cohort.Cohort(study.Study(inputs[0], base, task, "path"), table, table), files)


def _base_of(inputs: Sequence[Path]) -> Path:
    """Return the folder that images are named from: what was typed is kept, but not where all of it stands."""
    if not any(path.is_absolute() for path in inputs):
        return Path()
    return Path(os.path.commonpath([path.absolute().parent for path in inputs]))


def _images_of(
    path: Path, base: Path, declaration: options.Declaration, own: study.Study | None
) -> Iterator[tuple[tuple[str, str, str], Path]]:
    """Yield ``(image_id, path, patient_id)`` and the file of each image that an input names; no masks of a folder."""
    if is_table(path):
        yield from _images_in(path, declaration, own)
    elif path.is_dir():
        files = image_files(path, follow_links=declaration.follow_links)
        masks = index.masks_among([file.as_posix() for file in files])
        inside = [file for file in files if file.as_posix() not in masks]
        if not inside:
            raise InputError(f"{path}: holds no image.")
        named = ((str(file.relative_to(base)), file) for file in inside)
        yield from (((name, name, ""), file) for name, file in named)
    elif path.is_file():
        yield (str(path.relative_to(base)), str(path.relative_to(base)), ""), path
    else:
        raise MissingFileError(f"{path}: no such file.")


def _images_in(
    file: Path, declaration: options.Declaration, own: study.Study | None
) -> Iterator[tuple[tuple[str, str, str], Path]]:
    table = cohort.read_columns(file)
    columns = _image_columns(file, table, declaration, own)
    for image_id, path, patient in columns.named(table).itertuples(index=False):
        yield (image_id, path, patient), columns.study.images / path


@dataclass(frozen=True)
class ImageColumns:
    """Which columns of a table say where images are, how they are called (`study`), and whose (`patient`, or None)."""

    study: study.Study
    patient: str | None

    def named(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return ``image_id, path, patient_id`` of the rows; `InputError` where a path leads out of the folder."""
        try:
            rows = ids.named_rows(replace(self.study, images=self.study.label_file.parent), table)
        except InputError as error:
            raise InputError(f"{self.study.label_file} {error}") from None
        refuse_links_out(self.study.images, rows["path"], follow=self.study.follow_links)
        patients = table[self.patient].str.strip() if self.patient else ""
        return rows[["image_id", "path"]].assign(patient_id=patients)

    def samples(self, table: pd.DataFrame, task: Task) -> Samples:
        """Return the images of some rows of the table, to be shown to a model with a task."""
        rows = self.named(table)
        rows = rows.assign(row=range(2, len(rows) + 2))
        return Samples.from_files(
            cohort.Cohort(study.Study(self.study.label_file, self.study.images, task, "path"), rows, rows)
        )


def image_columns(folder: Path, file: Path, some: pd.DataFrame, declaration: options.Declaration) -> ImageColumns:
    """Return which columns of a table are which for the model of a run, by some of the table's rows.

    Raises
    ------
    InputError
        If none of them says where images are.
    """
    return _image_columns(file, some, declaration, _own_study(folder))


def _image_columns(
    file: Path, table: pd.DataFrame, declaration: options.Declaration, own: study.Study | None
) -> ImageColumns:
    roles = _roles(file, table, declaration, own)
    if roles.path is None:
        raise InputError(f"{file} {NO_PATH}")
    images = declaration.images or file.parent
    follow = declaration.follow_links or bool(own and own.follow_links)
    table_study = study.Study(file, images, UNLABELLED, roles.path, roles.image_id, follow_links=follow)
    return ImageColumns(table_study, roles.patient)


def _read_rows(folder: Path, needs: Needs, file: Path, declaration: options.Declaration) -> cohort.Cohort:
    """Return the rows of a table by the columns of the run's study; targets are not looked at."""
    table, own = cohort.read_columns(file), _own_study(folder)
    roles = _roles(file, table, declaration, own)
    path = roles.path if needs.images else None
    table_study = replace(
        _study_of(folder, needs.task, file, declaration),
        label_file=file,
        images=declaration.images or file.parent,
        path_column=path,
        id_column=roles.image_id or (first_filled(table, (own.path_column,)) if own and path is None else None),
        covariates=needs.covariates,
        patient_column=roles.patient,
        case_column=roles.case,
        view_column=roles.view,
    )
    _refuse_lacking(file, table_study, needs)
    rows = cohort.read_unlabelled(file, table_study)
    if path is not None:
        refuse_links_out(
            table_study.images, rows.table["path"], follow=declaration.follow_links or table_study.follow_links
        )
    return rows


def _roles(file: Path, table: pd.DataFrame, declaration: options.Declaration, own: study.Study | None) -> Roles:
    try:
        return find_roles(table, declaration, own)
    except InputError as error:
        raise InputError(f"{file} {error}") from None


def _refuse_lacking(file: Path, table_study: study.Study, needs: Needs) -> None:
    """Raise `InputError` where a table does not say which images are a case, or which view each is."""
    if needs.images and table_study.path_column is None:
        raise InputError(f"{file}: {NO_PATH}")
    if needs.grouped and table_study.case_column is None:
        raise InputError(f"{file}: does not say which images are a case. Name the column with --case.")
    if needs.views not in ((), (cases.NO_VIEW,)) and table_study.view_column is None:
        raise InputError(f"{file}: does not say which view each image is. Name the column with --view.")


def _own_study(folder: Path) -> study.Study | None:
    """Return the study of a run; None for a model folder without its run."""
    file = run.Run(folder).study
    return study.read_study(file) if file.is_file() else None


def _study_of(folder: Path, task: Task, file: Path, declaration: options.Declaration) -> study.Study:
    """Return the run's study, or that of a model folder without its run, with what `file` calls not known."""
    own, names = _own_study(folder) or study.Study(file, file.parent, task), list(map(str, cohort.read_columns(file)))
    missing = tuple(text for text in (*own.missing, *declaration.missing) if column_of(text, names))
    means = tuple(text for text in (*own.means, *declaration.means) if column_of(text, names))
    return replace(own, missing=missing, means=means)
