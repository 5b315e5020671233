"""Pictures that a model is asked about: files, folders of them, or the rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from focusmap.errors import InputError, MissingFileError
from focusmap.files import is_table
from focusmap.images.read import picture_files
from focusmap.models.asked_rows import study_of
from focusmap.study.cohort import read_columns, read_earlier
from focusmap.study.declaration import Declaration
from focusmap.study.roles import NO_PATH, find_roles
from focusmap.study.rows import named_rows
from focusmap.study.study import Study
from focusmap.study.task import UNLABELLED, Task


@dataclass(frozen=True)
class Asked:
    """A picture that is asked about: the file, how its row is called, and ``(T,)`` what changes are added to."""

    file: Path
    image_id: str
    path: str
    patient_id: str = ""
    earlier: tuple[float, ...] = ()


def find_pictures(inputs: Sequence[Path], said: Declaration, own: Study | None = None) -> list[Asked]:
    """Return the pictures that `inputs` name: files, folders, or the rows of a table as a run's own study reads it.

    Raises
    ------
    MissingFileError, InputError
        If an input is not there, a folder holds no picture, or a table has no path column.
    """
    found: list[Asked] = []
    for given in inputs:
        if is_table(given):
            found += _rows_of(given, said, own)
        elif given.is_dir():
            inside = picture_files(given)
            if not inside:
                raise InputError(f"{given}: holds no picture.")
            found += [Asked(path, str(path), str(path)) for path in inside]
        elif given.is_file():
            found.append(Asked(given, str(given), str(given)))
        else:
            raise MissingFileError(f"{given}: no such file.")
    return found


def with_earlier(
    asked: Sequence[Asked], folder: Path, task: Task, inputs: Sequence[Path], said: Declaration
) -> list[Asked]:
    """Return the pictures with the earlier values that a model of changes adds to its answers.

    Raises
    ------
    InputError
        If there is no label file that has them, or one of them is no number.
    """
    columns = ", ".join(target.earlier for target in task.targets if target.earlier)
    if len(inputs) != 1 or not is_table(inputs[0]):
        raise InputError(f"{folder}: the model tells changes; give one label file with the column(s) {columns}.")
    known = read_earlier(inputs[0], study_of(folder, task, inputs[0], said))
    return [replace(one, earlier=tuple(row)) for one, row in zip(asked, known, strict=True)]


def _rows_of(file: Path, said: Declaration, own: Study | None) -> list[Asked]:
    table = read_columns(file)
    try:
        roles = find_roles(table, said, own)
        if roles.path is None:
            raise InputError(NO_PATH)
        study = Study(file, file.parent, UNLABELLED, roles.path, roles.image_id)
        rows = named_rows(study, table)
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    images = said.images or file.parent
    patients = table[roles.patient].str.strip() if roles.patient else [""] * len(table)
    cells = zip(rows["path"], rows["image_id"], patients, strict=True)
    return [Asked(images / path, image_id, path, patient) for path, image_id, patient in cells]
