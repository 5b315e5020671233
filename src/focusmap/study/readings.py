"""The table of several readers: who called which image what. One row per reading, or one row per image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import READ_AS, InputError, Reason, RefusedError, listed, suggest
from focusmap.study import cohort, options, targets, values
from focusmap.study.declaration import meant
from focusmap.study.ids import SPELLINGS, names_nobody, normal_id, refuse_nobody, spelled_twice
from focusmap.study.paths import relative_path
from focusmap.study.roles import PATH_COLUMNS, PATIENT_COLUMNS, SPLIT_COLUMNS, find_roles, first_filled
from focusmap.study.task import CellError, Target, Task

READER_COLUMNS = ("reader", "reader_id", "rater", "annotator", "observer", "radiologist")
NOT_READ = -1
DEFAULT_LABEL = "label"


@dataclass(frozen=True)
class Readings:
    """What R readers said of N images.

    Parameters
    ----------
    task
        The labels; each is binary, multiclass or ordinal.
    images
        N rows: the columns that say one thing of each image, as the table wrote them.
    names
        What each image is called: its path, its image_id, or its row.
    path_column, patient_column
        Columns of `images`; None where there is none.
    readers
        R names.
    votes
        By label ``(N, R) int``: the class that each reader gave, -1 where a reader has not read the image.
    definitive
        By label ``(N,) int``: the class that biopsy or follow-up showed, -1 where there was none. A label without a
        definitive column has no entry.
    notes
        What was inferred and what was left out, in words.
    """

    task: Task
    images: pd.DataFrame
    names: tuple[str, ...]
    path_column: str | None
    patient_column: str | None
    readers: tuple[str, ...]
    votes: Mapping[str, np.ndarray]
    definitive: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()

    @property
    def patients(self) -> list[str]:
        """Patient of each image; the image itself where no patients are known."""
        return list(self.names if self.patient_column is None else self.images[self.patient_column])


@dataclass(frozen=True)
class _Roles:
    """What columns are for: `key` names the image (None: each row is one), `definitive` what is known of it."""

    key: str | None
    patient: str | None
    definitive: tuple[str, ...]

    @property
    def columns(self) -> set[str]:
        """All of them."""
        return {name for name in (self.key, self.patient, *self.definitive) if name is not None}


@dataclass(frozen=True)
class _Answers:
    """M readings of N images.

    Parameters
    ----------
    cells
        M rows, one column per label; where a row of the file is a reading, its other columns too.
    rows, of_image, readers : (M,)
        Row of the file, position of the image, name of the reader.
    images
        N rows: columns that are known to describe the image.
    first_rows : (N,) int
        Row of the file in which each image stands first.
    targets
        Columns of `cells` that are labels if the user names none; empty: to be inferred.
    """

    cells: pd.DataFrame
    rows: np.ndarray
    of_image: np.ndarray
    readers: np.ndarray
    images: pd.DataFrame
    first_rows: np.ndarray
    targets: tuple[str, ...] = ()


def read_readings(file: Path, declaration: options.ReadingsDeclaration = options.ReadingsDeclaration()) -> Readings:
    """Return the readings in a CSV file, UTF-8, with a header.

    One row per reading: a column that names the reader (the first of ``reader, reader_id, rater, annotator, observer,
    radiologist``), a path or ``image_id`` column that names the image, and one column per label. One row per image:
    columns ``LABEL.READER``, or the readers' columns that the user names. An empty cell means "not read"; so does -1,
    a reader's "uncertain".

    Raises
    ------
    MissingFileError, InputError
        If the file is neither form, has one reader only, a reader gives an image two different answers, or a cell is
        not one of the classes; the message names file, row and remedy.
    RefusedError
        If ids of patients are one in their normal form only, and nobody has said what they are.
    """
    raw = cohort.read_columns(file)
    try:
        return _readings(raw, declaration)
    except RefusedError as error:
        raise RefusedError(f"{file}: {error}") from None
    except InputError as error:
        raise InputError(f"{file} {error}") from None


def _readings(raw: pd.DataFrame, declaration: options.ReadingsDeclaration) -> Readings:
    cells = raw.apply(lambda column: column.str.strip())
    roles = _roles(cells, declaration)
    cells = _with_plain_paths(cells, roles.key)
    if declaration.same_patient and roles.patient is not None:
        cells = cells.assign(**{roles.patient: cells[roles.patient].map(lambda cell: normal_id(cell) if cell else "")})
    answers = _answers(cells, roles, declaration)
    answers = replace(answers, cells=meant(answers.cells, (), declaration.means))
    _refuse_two_spellings(answers, roles)
    task, inferred = _task(answers, declaration, roles)
    images, left_out = _images(answers, task, roles)
    if roles.patient is not None:
        refuse_nobody(images[roles.patient], roles.patient, answers.first_rows)
        _refuse_one_patient_twice(images[roles.patient], declaration)
    readers = sorted(set(answers.readers)) if not answers.targets else list(dict.fromkeys(answers.readers))
    votes = {target.name: _votes(target, answers, readers) for target in task.targets}
    heard = _heard(readers, votes)
    return Readings(
        task=task,
        images=images.drop(columns=list(roles.definitive)),
        names=tuple(images[roles.key]) if roles.key else tuple(f"row{row}" for row in answers.first_rows),
        path_column=roles.key if roles.key in PATH_COLUMNS else None,
        patient_column=roles.patient,
        readers=tuple(readers[i] for i in heard),
        votes={name: column[:, heard] for name, column in votes.items()},
        definitive=_definitive(declaration.definitive, task, images, answers.first_rows),
        notes=(*filter(None, [raw.attrs.get(READ_AS)]), *inferred, *left_out),
    )


def _roles(cells: pd.DataFrame, declaration: options.ReadingsDeclaration) -> _Roles:
    definitive = tuple(text if text in cells else text.rpartition("=")[2] for text in declaration.definitive)
    patient = None if declaration.patient == "none" else declaration.patient
    for column in (*declaration.readers, *definitive, *([patient] if patient else [])):
        if column not in cells:
            known = [str(name) for name in cells]
            raise InputError(f"has no column {column!r}.{suggest(column, known)} Columns: {', '.join(known)}.")
    if declaration.patient is None:
        patient = find_roles(cells, options.Declaration()).patient
    key = first_filled(cells, (*PATH_COLUMNS, "image_id"))
    if key is not None and (cells[key] == "").any():
        row = int(np.flatnonzero(cells[key] == "")[0]) + 2
        raise InputError(f"row {row}: {key} is empty; it says which image was read.")
    return _Roles(key, patient, definitive)


def _with_plain_paths(cells: pd.DataFrame, key: str | None) -> pd.DataFrame:
    """Return the table with each path in one form, as label files have it."""
    if key not in PATH_COLUMNS:
        return cells
    return cells.assign(**{key: [relative_path(cell, row) for row, cell in enumerate(cells[key], start=2)]})


def _heard(readers: Sequence[str], votes: Mapping[str, np.ndarray]) -> list[int]:
    """Return the positions of the readers who have read anything; `InputError` if they are fewer than two."""
    heard = [i for i in range(len(readers)) if any((column[:, i] != NOT_READ).any() for column in votes.values())]
    if len(heard) < 2:
        named = readers[heard[0]] if heard else "nobody"
        raise InputError(
            f"holds the readings of one reader ({named}); a consensus needs two or more. One reader's table is a "
            "label file as it is."
        )
    return heard


def _answers(cells: pd.DataFrame, roles: _Roles, declaration: options.ReadingsDeclaration) -> _Answers:
    who = None if declaration.readers else first_filled(cells, READER_COLUMNS)
    if len(declaration.readers) == 1:
        who = declaration.readers[0]
    if who is not None:
        return _from_row_per_reading(cells, roles.key, who)
    if not declaration.readers:
        return _from_row_per_image(cells, roles.key, _dotted(cells))
    label = targets.parse_target(declaration.targets[0], []).name if declaration.targets else DEFAULT_LABEL
    return _from_row_per_image(cells, roles.key, {label: {name: name for name in declaration.readers}})


def _dotted(cells: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return label -> reader -> column of the columns called ``LABEL.READER``, where a label has two or more."""
    columns_of: dict[str, dict[str, str]] = {}
    for column in cells:
        label, dot, reader = str(column).partition(".")
        if dot and label and reader:
            columns_of.setdefault(label, {})[reader] = str(column)
    columns_of = {label: columns for label, columns in columns_of.items() if len(columns) > 1}
    if not columns_of:
        raise InputError(
            f"has no column that names the reader ({', '.join(READER_COLUMNS)}) and no columns LABEL.READER. Name "
            f"the reader's column, or each reader's own, with --reader. Columns: {', '.join(map(str, cells))}."
        )
    return columns_of


def _from_row_per_reading(cells: pd.DataFrame, key: str | None, who: str) -> _Answers:
    if key is None:
        raise InputError(f"has neither a path column ({', '.join(PATH_COLUMNS)}) nor image_id: which image was read?")
    nobody = np.flatnonzero(cells[who].map({text: names_nobody(str(text)) for text in cells[who].unique()}))
    if len(nobody):
        cell = cells[who].iloc[nobody[0]]
        raise InputError(
            f"row {nobody[0] + 2}: {who} {f'{cell!r} names nobody' if cell else 'is empty'}; it says who read."
        )
    of_image, names = pd.factorize(cells[key])
    rows = np.arange(2, len(cells) + 2)
    _, first = np.unique(of_image, return_index=True)
    images = pd.DataFrame({key: names})
    return _Answers(cells.drop(columns=[key, who]), rows, of_image, cells[who].to_numpy(), images, rows[first])


def _from_row_per_image(cells: pd.DataFrame, key: str | None, columns: Mapping[str, Mapping[str, str]]) -> _Answers:
    n, rows = len(cells), np.arange(2, len(cells) + 2)
    if key is not None:
        _refuse_repeated_image(cells[key], rows)
    taken = {column for of_label in columns.values() for column in of_label.values()}
    images = cells[[name for name in cells if name not in taken]]
    _refuse_overwritten(images, columns)
    readers = list(dict.fromkeys(reader for of_label in columns.values() for reader in of_label))
    unread = pd.Series([""] * n)
    parts = [
        pd.DataFrame({label: cells.get(of_label.get(reader, ""), unread) for label, of_label in columns.items()})
        for reader in readers
    ]
    return _Answers(
        cells=pd.concat(parts, ignore_index=True),
        rows=np.tile(rows, len(readers)),
        of_image=np.tile(np.arange(n), len(readers)),
        readers=np.repeat(np.array(readers, dtype=object), n),
        images=images,
        first_rows=rows,
        targets=tuple(columns),
    )


def _refuse_repeated_image(names: "pd.Series[str]", rows: np.ndarray) -> None:
    if names.duplicated().any():
        repeated = names[names.duplicated()].iloc[0]
        both = " and ".join(map(str, rows[names == repeated][:2]))
        raise InputError(f"rows {both}: {names.name} {repeated!r} stands twice. Keep one row per image.")


def _refuse_overwritten(images: pd.DataFrame, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Raise `InputError` where a column of the images is called as a label whose consensus is to be written."""
    for label, of_label in columns.items():
        if label in images:
            first = next(iter(of_label.values()))
            raise InputError(f"has a column {label!r} beside {first!r}; the consensus would overwrite it. Rename it.")


def _task(answers: _Answers, declaration: options.ReadingsDeclaration, roles: _Roles) -> tuple[Task, tuple[str, ...]]:
    reserved = [*PATH_COLUMNS, "image_id", *PATIENT_COLUMNS, *SPLIT_COLUMNS, *roles.columns]
    specs = [
        targets.parse_target(text, [str(name) for name in answers.cells])
        for text in declaration.targets or answers.targets
    ]
    try:
        inferred = targets.infer_task(answers.cells, specs, reserved)
    except CellError as error:
        raise InputError(f"row {answers.rows[error.position]}: {error}") from None
    if inferred.list_column is not None:
        raise InputError(f"column {inferred.list_column!r} holds lists; readings need one column of 0 and 1 a label.")
    for target in inferred.task.targets:
        if target.is_number:
            raise InputError(f"{target.name} is continuous; readers can agree on classes only.")
    return inferred.task, inferred.notes


def _images(answers: _Answers, task: Task, roles: _Roles) -> tuple[pd.DataFrame, list[Reason]]:
    """Return the columns that say one thing of each image, and in words which do not."""
    images, notes = answers.images.copy(), []
    for name in [] if answers.targets else [name for name in answers.cells if name not in task.names]:
        cells = answers.cells[name]
        filled = cells[cells != ""]
        grouped = filled.groupby(answers.of_image[filled.index])
        differ = grouped.nunique() > 1
        if not differ.any():
            images[name] = grouped.first().reindex(range(len(images)), fill_value="")
        elif name in roles.columns:
            of_one = filled[answers.of_image[filled.index] == differ.index[differ][0]].drop_duplicates()
            rows = " and ".join(str(row) for row in answers.rows[of_one.index[:2]])
            raise InputError(f"rows {rows}: {name} of one image is {' and '.join(of_one[:2])}. Correct one of them.")
        else:
            notes.append(Reason("differs", name=str(name)))
    return images, notes


def _refuse_two_spellings(answers: _Answers, roles: _Roles) -> None:
    """Raise `InputError` where one reader, or one image_id, is written in two ways and would be counted as two."""
    names = answers.images[roles.key] if roles.key and roles.key in answers.images else ()
    for what, texts in (("reader", answers.readers), (roles.key, names)):
        is_path = what in PATH_COLUMNS
        twice = _in_two_cases(map(str, texts)) if is_path else spelled_twice(map(str, texts))
        if twice:
            ways = listed([" and ".join(map(repr, spellings)) for spellings in twice.values()], 3)
            raise InputError(f"{what} {ways} differ only in how they are written. Write each in one way.")


def _in_two_cases(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the paths that differ in capitals only, by what they are in small letters."""
    spellings: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths):
        spellings.setdefault(path.casefold(), []).append(path)
    return {small: tuple(both) for small, both in spellings.items() if len(both) > 1}


def _refuse_one_patient_twice(patients: "pd.Series[str]", declaration: options.ReadingsDeclaration) -> None:
    twice = spelled_twice(patients.unique())
    if twice and SPELLINGS not in declaration.accept:
        ways = listed([" = ".join(spellings) for spellings in twice.values()], 5)
        raise RefusedError(
            f"{SPELLINGS}: {len(twice)} patients are written in two ways ({ways}). If they are one: --same-patient; "
            f"if not, rename them. To go on all the same: --accept {SPELLINGS}"
        )


def _votes(target: Target, answers: _Answers, readers: Sequence[str]) -> np.ndarray:
    """Return ``(N, R) int``; `InputError` where a reader gives one image two answers."""
    codes = _codes(target, target.name, list(answers.cells[target.name]), answers.rows)
    read = np.flatnonzero(codes != NOT_READ)
    position = {reader: i for i, reader in enumerate(readers)}
    columns = np.array([position[reader] for reader in answers.readers])
    places = answers.of_image[read], columns[read]
    votes = np.full((len(answers.images), len(readers)), NOT_READ)
    votes[places] = codes[read]
    contradicted = read[votes[places] != codes[read]]
    if len(contradicted):
        _refuse_two_answers(target, answers, int(contradicted[0]), codes)
    return votes


def _refuse_two_answers(target: Target, answers: _Answers, reading: int, codes: np.ndarray) -> None:
    same = (answers.of_image == answers.of_image[reading]) & (answers.readers == answers.readers[reading])
    other = np.flatnonzero(same & (codes != NOT_READ) & (codes != codes[reading]))[0]
    a, b = sorted((reading, int(other)))
    raise InputError(
        f"rows {answers.rows[a]} and {answers.rows[b]}: reader {answers.readers[a]} calls {target.name} of one image "
        f"{target.classes[codes[a]]} and {target.classes[codes[b]]}. Keep one reading."
    )


def _codes(target: Target, column: str, cells: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """Return the class of each cell ``(n,) int``, -1 where it is empty or says "uncertain"."""
    classes = {name: code for code, name in enumerate(target.classes)}
    texts = list(dict.fromkeys(map(str, cells)))
    near, words = values.alike(target.classes), values.yes_and_no(texts) if target.classes == ("0", "1") else {}
    known = {text: NOT_READ for text in texts if values.plain(text) == "-1"}
    known |= {text: NOT_READ if np.isnan(value) else int(value) for text, value in words.items()}
    known |= {text: NOT_READ for text in texts if values.means_empty(text)}
    known |= {text: classes[near[values.plain(text)]] for text in texts if values.plain(text) in near} | classes
    for cell, row in zip(cells, rows, strict=True):
        if cell not in known:
            named = ", ".join(target.classes)
            raise InputError(
                f"row {row}: {column} {cell!r} is not one of {named}, or empty.{suggest(cell, target.classes)}"
            )
    return np.array([known[cell] for cell in cells])


def _definitive(written: Sequence[str], task: Task, images: pd.DataFrame, rows: np.ndarray) -> dict[str, np.ndarray]:
    codes: dict[str, np.ndarray] = {}
    for text in written:
        label, _, column = ("", "", text) if text in images else text.rpartition("=")
        if not label and len(task.names) > 1:
            raise InputError(f"--definitive {column}: of which label? Write LABEL={column} ({', '.join(task.names)}).")
        target = task.target(label or task.names[0])
        if target.name in codes:
            raise InputError(f"--definitive {text}: {target.name} has a definitive column already.")
        codes[target.name] = _codes(target, column, list(images[column]), rows)
    return codes
