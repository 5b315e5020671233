"""The label file as a checked table: who, which images, which labels."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import READ_AS, InputError, MissingFileError, read_table, suggest, without_units, write_table
from focusmap.images import refuse_links_out
from focusmap.study import ids, options, paths
from focusmap.study.declaration import column_of, declare_study, meant
from focusmap.study.study import Study, read_study
from focusmap.study.target_cells import uncertain_as
from focusmap.study.task import ANOMALY, UNLABELLED, CellError, Task
from focusmap.study.values import alike, means_empty, plain, split_list

INVISIBLE = r"[\u200b-\u200f\u2060\ufeff\u00ad]"
FOLD = re.compile(r"(?:(?:folds?|f|k|cv|split|part|折|第)[\s_:#-]*)?(\d+)(?:\.0+|e\+?0+)?(?: ?(?:of|/) ?\d+)?\s*折?")
COUNTED = "rows are counted"
SET = re.compile(r"(?:(?<=\w) ?(?:set|data|dataset|split|cohort|组))+$")
COHORT_FILE, IMAGES_FILE = "cohort.csv", "pictures.csv"
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "tune", "val": "tune", "valid": "tune", "dev": "tune", "tune": "tune",
    "test": "test", "testing": "test", "": "",
    "训练": "train", "训练集": "train", "验证": "tune", "验证集": "tune", "测试": "test", "测试集": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """A study's checked table.

    Parameters
    ----------
    study
        What the columns mean.
    table
        One row per image: ``row`` (line in the label file; the header is line 1), ``image_id``, ``path``,
        ``patient_id`` (the image_id where no patients are declared), where declared ``split_declared``,
        ``case_id``, ``view``, ``block`` and mask columns, covariates, groups, for each target whose change is learnt
        ``earlier_TARGET``, and the targets.
    raw
        The label file's own cells, the same rows; the table itself where a run's cohort was loaded.
    images
        Where rows are cases (see `focusmap.study.cases`): one row per image, ``row, image_id, path, case_id, view``;
        perhaps with those of other cases. None where each row is an image.
    """

    study: Study
    table: pd.DataFrame
    raw: pd.DataFrame
    images: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def task(self) -> Task:
        """The study's targets."""
        return self.study.task

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images, in table order."""
        return list(self.table["image_id"])

    @property
    def patient_ids(self) -> np.ndarray:
        """``(N,)`` patient of each image."""
        return self.table["patient_id"].to_numpy(dtype=object)

    @cached_property
    def patient_codes(self) -> np.ndarray:
        """``(N,) int``: the number of each image's patient, from 0, in the order of their ids."""
        codes, _ = pd.factorize(self.table["patient_id"].astype(str), sort=True)
        return np.asarray(codes)

    @property
    def has_images(self) -> bool:
        """False for a table-only study."""
        return self.study.path_column is not None

    @property
    def unit(self) -> str:
        """What a row is called: ``image``, or ``case`` in a table-only study."""
        return "image" if self.has_images else "case"

    @cached_property
    def truth(self) -> np.ndarray:
        """``(N, T) float64``: binary 0 to 1, class index, or value; NaN unknown."""
        return self.task.encode(self.table)

    @cached_property
    def baseline(self) -> np.ndarray:
        """``(N, T) float64``: what a predicted change is added to, NaN unknown; 0 where the value itself is learnt."""
        return self.task.encode_baseline(self.table)

    @property
    def learnt(self) -> np.ndarray:
        """``(N, T) float64``: the truth that a model is trained towards; of a change target the change."""
        return np.asarray(self.truth - self.baseline)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Row position of each image_id."""
        return {image_id: i for i, image_id in enumerate(self.table["image_id"])}

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The label file's cells as the study says that they are meant."""
        named = list(map(str, self.raw))
        return meant(
            self.raw, *([t for t in of if column_of(t, named)] for of in (self.study.missing, self.study.means))
        )

    @property
    def files(self) -> list[Path]:
        """The image files, in table order."""
        return [self.study.images / path for path in self.table["path"]]

    def file(self, image_id: str) -> Path:
        """Return the image file of an image."""
        return self.study.images / str(self.table["path"].iloc[self.positions[image_id]])

    def mask_file(self, image_id: str, target: str | None = None) -> Path | None:
        """Return the mask of an image, for one target where there is a column ``mask_TARGET``; None if none."""
        row = self.table.iloc[self.positions[image_id]]
        for column in (f"mask_{target}", "mask"):
            if column in self.table.columns:
                return self.study.images / row[column] if row[column] else None
        return None

    @property
    def has_masks(self) -> bool:
        """True if any image has a mask."""
        return any((self.table[name] != "").any() for name in self.mask_columns)

    @property
    def mask_columns(self) -> list[str]:
        """The columns of `table` that name masks: ``mask``, and ``mask_TARGET`` of its targets."""
        names = ("mask", *(f"mask_{target}" for target in self.task.names))
        return [name for name in names if name in self.table and name not in self.task.names]

    def take(self, positions: Sequence[int] | np.ndarray) -> "Cohort":
        """Return the cohort of the rows at `positions`."""
        index = np.asarray(positions, dtype=int)
        table, raw = (frame.iloc[index].reset_index(drop=True) for frame in (self.table, self.raw))
        return replace(self, table=table, raw=raw)

    def of(self, image_ids: Sequence[str]) -> "Cohort":
        """Return the cohort of the images named, in that order."""
        return self.take([self.positions[image_id] for image_id in image_ids])


def read_cohort(
    label_file: Path, declaration: options.Declaration | None = None, *, study: Study | None = None
) -> Cohort:
    """Return the checked cohort of a label file.

    Parameters
    ----------
    label_file
        CSV, UTF-8, with a header; one row per image.
    declaration
        What the user declares about its columns; the rest is inferred.
    study
        A study made earlier; its columns and targets are used, and nothing is inferred.

    Raises
    ------
    MissingFileError, InputError
        If the file, a column or an image is missing, a path is absolute or leaves its folder, an image stands
        twice, or a cell cannot be read; the message names file, row and remedy.
    """
    label_file = Path(label_file)
    raw = read_columns(label_file)
    with _named(label_file, raw):
        study = study or declare_study(label_file, raw, declaration or options.Declaration())
        return build_cohort(*ids.with_header_patients(study, raw))


def constant_targets(cohort: Cohort) -> dict[str, str]:
    """Return the targets that have one known value throughout, and which it is."""
    known = [np.unique(column[~np.isnan(column)]) for column in cohort.truth.T]
    targets = zip(cohort.task.targets, known, strict=True)
    return {target.name: target.in_words(values[0]) for target, values in targets if len(values) == 1}


def refuse_constant(cohort: Cohort) -> None:
    """Raise `InputError` where every target has one known value only."""
    constant = constant_targets(cohort)
    if len(constant) == len(cohort.task.names):
        says = "; ".join(f"target {name!r}: every labelled row says {value!r}" for name, value in constant.items())
        raise InputError(f"{cohort.study.label_file}: {says}; there is nothing to tell apart.")


@contextmanager
def _named(file: Path, raw: pd.DataFrame) -> Iterator[None]:
    """Add the file, the row of a wrong cell, and how rows are counted, to errors."""
    counted = f" ({raw.attrs[READ_AS]}.)" if COUNTED in raw.attrs.get(READ_AS, "") else ""
    try:
        yield
    except MissingFileError:
        raise
    except CellError as error:
        raise InputError(f"{file} row {error.position + 2}: {error}{counted}") from None
    except InputError as error:
        raise InputError(f"{file} {error}{counted}") from None


def read_columns(path: Path) -> pd.DataFrame:
    """Return a table as `read_table` does, its columns' names without blanks around them and invisible signs.

    Raises
    ------
    MissingFileError, InputError
        As `read_table`; if two columns then have one name.
    """
    raw = without_units(read_table(path))
    raw.columns = raw.columns.str.replace(INVISIBLE, "", regex=True).str.strip()
    if raw.columns.has_duplicates:
        raise InputError(f"{path}: two columns are called {raw.columns[raw.columns.duplicated()][0]!r}.")
    return raw


def build_cohort(study: Study, raw: pd.DataFrame) -> Cohort:
    """Return the cohort of a table whose columns mean what `study` says; errors as for `read_cohort`."""
    if study.task == UNLABELLED:
        raw = raw.assign(**{ANOMALY.name: ""})
    _require_columns(study, raw)
    as_written, raw = raw, meant(raw, study.missing, study.means)
    table = ids.named_rows(study, raw)
    if study.block_column is not None:
        table["block"] = raw[study.block_column].str.strip()
    if study.split_column is not None:
        table["split_declared"] = _splits(raw[study.split_column], study.split_column)
    table = pd.concat([table, _masks(study, raw)], axis=1)
    columns = dict.fromkeys((*study.covariates, *study.groups, *study.before.values()))
    kept = [name for name in columns if name not in (*table, *study.task.names)]
    table = pd.concat([table, raw[kept], _baseline_cells(study.task, raw), _targets(study, raw)], axis=1)
    for name, column in study.before.items():
        replace(study.task.target(name), name=column).encode(list(raw[column]))
    ids.refuse_repeats(table, study.task.names)
    if study.path_column is not None:
        paths.refuse_missing(study.label_file, study.images, table, "path")
        refuse_links_out(study.images, table["path"], follow=study.follow_links)
    return Cohort(study, table, as_written)


def read_unlabelled(file: Path, study: Study) -> Cohort:
    """Return the rows of a table as `study` names them, with the covariates that it has; it may have no labels.

    Images, where the study has a path column, are not looked for.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, a name of a row is empty or stands twice, or a baseline value that a change is
        added to is not there or is no number.
    """
    raw = read_columns(file)
    with _named(file, raw):
        cells = meant(raw, study.missing, study.means)
        table = ids.named_rows(study, cells)
        ids.refuse_repeats(table, ())
        baseline = _baseline_cells(study.task, cells)
    kept = [name for name in study.covariates if name in cells and name not in table]
    return Cohort(study, pd.concat([table, cells[kept], baseline], axis=1), raw)


def read_baseline(file: Path, study: Study) -> pd.DataFrame:
    """Return the columns ``earlier_TARGET`` of a table; `InputError` if one is not there or a cell is no number."""
    raw = read_columns(file)
    with _named(file, raw):
        return _baseline_cells(study.task, meant(raw, study.missing, study.means))


def write_cohort(cohort: Cohort, path: Path) -> None:
    """Write the checked table, and beside it the images of its cases where it has some."""
    write_table(path, cohort.table, sealed=True)
    if cohort.images is not None:
        write_table(path.with_name(IMAGES_FILE), cohort.images, sealed=True)


def load_cohort(run: Path) -> Cohort:
    """Return the cohort of a run folder as `write_cohort` wrote it, whatever became of the label file since.

    Raises
    ------
    MissingFileError, InputError
        If the run was never prepared, or a column of the table is gone.
    """
    study = read_study(run / "study.yaml")
    table = read_table(run / COHORT_FILE)
    lacking = [name for name in ("row", "image_id", "patient_id", *study.task.names) if name not in table]
    if lacking:
        raise InputError(f"{run / COHORT_FILE}: lacks the column(s) {', '.join(lacking)}.")
    images = read_table(run / IMAGES_FILE) if (run / IMAGES_FILE).is_file() else None
    return Cohort(study, table.assign(row=table["row"].astype(int)), table, images)


def _require_columns(study: Study, raw: pd.DataFrame) -> None:
    targets = (study.list_column,) if study.list_column else study.task.names
    roles = (study.path_column, study.patient_column, study.case_column, study.view_column, study.split_column)
    inputs = (*study.covariates, *study.groups, *study.before.values(), *_baseline_columns(study.task))
    wanted = (*roles, study.block_column, study.mask_column, *inputs, *targets)
    missing = [name for name in wanted if name is not None and name not in raw]
    if missing:
        raise InputError(
            f"lacks the column(s) {', '.join(missing)} that the study names.{_columns_there(missing, raw)}"
        )


def _columns_there(lacking: Sequence[str], raw: pd.DataFrame) -> str:
    known = [str(name) for name in raw]
    return f"{suggest(lacking[0], known)} Columns: {', '.join(known)}."


def _splits(column: pd.Series, name: str) -> list[str]:
    cells = column.str.strip()
    # A column with a gap makes 0.0 of fold 0; people write "fold 0" and "Train ".
    words = {str(text): "" if means_empty(text) else SET.sub("", plain(text)) for text in cells.unique()}
    folds = {text: match[1] if (match := FOLD.fullmatch(word)) else word for text, word in words.items()}
    if all(fold == "" or fold.isdecimal() for fold in folds.values()) and any(folds.values()):
        return [folds[text] for text in cells]
    parts = cells.map({text: SPLIT_NAMES.get(word) for text, word in words.items()})
    unknown = np.flatnonzero(parts.isna())
    texts = np.flatnonzero(parts.isna() & ~cells.map({text: fold.isdecimal() for text, fold in folds.items()}))
    if len(unknown):
        # Among numbers of folds it is the other cell that is wrong.
        unknown = texts if len(texts) else unknown
        cell = cells.iloc[unknown[0]]
        known = "train, tune (validation, val, valid, dev), test, empty, or fold numbers"
        raise InputError(f"row {unknown[0] + 2}: {name} {cell!r} is not one of {known}.")
    return list(parts)


def _masks(study: Study, raw: pd.DataFrame) -> pd.DataFrame:
    columns = {f"mask_{label}": f"mask_{label}" for label in study.task.names if f"mask_{label}" in raw}
    if study.mask_column is not None and study.mask_column in raw:
        columns["mask"] = study.mask_column
    masks = pd.DataFrame({role: raw[column].str.strip() for role, column in columns.items()}, index=raw.index)
    for role in masks:
        for i in np.flatnonzero(masks[role] != ""):
            masks.loc[i, role] = paths.relative_path(str(masks[role].iloc[i]), int(i) + 2)
        placed = masks.assign(row=np.arange(2, len(raw) + 2))
        paths.refuse_missing(study.label_file, study.images, placed, str(role))
        refuse_links_out(study.images, masks[role][masks[role] != ""], follow=study.follow_links)
    return masks


def _baseline_cells(task: Task, raw: pd.DataFrame) -> pd.DataFrame:
    """Return the column ``earlier_TARGET`` of each target whose change is learnt; "" where it is unknown."""
    lacking = [column for column in _baseline_columns(task) if column not in raw]
    if lacking:
        there = _columns_there(lacking, raw)
        raise InputError(f"lacks the column(s) {', '.join(lacking)} that predicted changes are added to.{there}")
    changing = [target for target in task.targets if target.baseline]
    baselines = {
        f"earlier_{t.name}": t.decode(replace(t, name=t.baseline).encode(list(raw[t.baseline]))) for t in changing
    }
    return pd.DataFrame(baselines, index=raw.index)


def _baseline_columns(task: Task) -> tuple[str, ...]:
    return tuple(target.baseline for target in task.targets if target.baseline)


def _listed(cells: pd.Series, study: Study) -> list[set[str] | None]:
    """Return the findings that each cell lists, as the targets are spelt where they are any of them; None: unknown."""
    near = alike(study.task.names)
    parts = [None if means_empty(cell) else split_list(cell, study.list_sign) for cell in cells]
    return [None if names is None else {near.get(plain(part), part) for part in names} for names in parts]


def _targets(study: Study, raw: pd.DataFrame) -> pd.DataFrame:
    if study.list_column is not None:
        findings = _listed(raw[study.list_column], study)
        made = {
            name: ["" if names is None else str(int(name in names)) for names in findings] for name in study.task.names
        }
        return pd.DataFrame(made, index=raw.index)
    columns = {}
    for target in study.task.targets:
        cells = raw[target.name].str.strip()
        if target.kind == "binary" and "-1" not in target.classes:
            meaning = {"unknown": "", "negative": target.classes[0], "positive": target.classes[1]}[study.uncertain]
            cells = uncertain_as(cells, meaning)
        if target.baseline:
            # What it has changed since is not known.
            cells = cells.mask(raw[target.baseline].str.strip() == "", "")
        columns[target.name] = target.decode(target.encode(list(cells)))
    return pd.DataFrame(columns, index=raw.index)
