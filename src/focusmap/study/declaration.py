"""From a label file and what the user said of it to a `Study`: every column's role, decided once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from focusmap.basics import READ_AS, InputError, MissingFileError, Reason, suggest
from focusmap.study import options, study, target_cells, targets
from focusmap.study.measurements import censored
from focusmap.study.roles import (
    PATH_COLUMNS,
    Roles,
    call_it_path,
    columns_of_images,
    find_roles,
    patient_columns,
    require_column,
)  # fmt: skip
from focusmap.study.task import ANOMALY, UNLABELLED, Task
from focusmap.study.values import TICKS, plain, says

COVARIATE_KINDS = ("numeric", "category", "date", "codes")
EXAMPLES = {"before": "VA=preVA", "missing": "grade=9", "means": "effusion:blank=no"}
BLANK, NOT_KNOWN = "blank", "NA"
WITHOUT_LABELS = targets.Inference(UNLABELLED, None, (Reason("no-labels"),))
NO_IMAGES = f"there is no path column (one of {', '.join(PATH_COLUMNS)}): no image is looked at"


def declare_study(label_file: Path, table: pd.DataFrame, declaration: options.Declaration) -> study.Study:
    """Return the study: what the user said, and the rest inferred where it is unambiguous.

    Parameters
    ----------
    label_file
        Where `table` was read from.
    table
        The label file, every cell as text.
    declaration
        The user's declaration.

    Raises
    ------
    InputError
        If a named column is missing or the targets are ambiguous; the message names the candidates.
    """
    kinds = dict(parse_covariate(text, list(table.columns)) for text in declaration.covariates)
    specs = [targets.parse_target(text, list(table.columns)) for text in declaration.targets]
    baseline = {spec.name: spec.baseline for spec in specs if spec.baseline}
    before = baseline | dict(_pair("before", text) for text in declaration.before)
    inputs = (*kinds, *declaration.groups, *before.values(), *baseline.values())
    for column in (declaration.block, *inputs):
        require_column(table, column)
    table = meant(table, declaration.missing, declaration.means)
    roles = find_roles(table, declaration)
    columns = _Columns(roles, (declaration.block, *inputs))
    inferred = _infer(table, specs, declaration, columns)
    for name in before:
        inferred.task.index(name)
    return study.Study(
        label_file=label_file.resolve(),
        images=_images_folder(label_file, declaration),
        task=inferred.task,
        path_column=roles.path,
        id_column=roles.image_id,
        patient_column=roles.patient,
        patients="none" if declaration.patient == "none" else "column" if roles.patient else "undeclared",
        same_patient=declaration.same_patient,
        follow_links=declaration.follow_links,
        split_column=roles.split,
        case_column=roles.case,
        view_column=roles.view,
        mask_column=roles.mask,
        block_column=declaration.block,
        boxes_file=declaration.boxes.resolve() if declaration.boxes else None,
        covariates=tuple(kinds),
        groups=declaration.groups,
        covariate_kinds={name: kind for name, kind in kinds.items() if kind},
        before=before,
        missing=declaration.missing,
        means=declaration.means,
        list_column=inferred.list_column,
        list_sign=inferred.list_sign,
        uncertain=declaration.uncertain,
        notes=tuple(_notes(table, inferred, columns)),
    )


def _notes(table: pd.DataFrame, inferred: targets.Inference, columns: "_Columns") -> Iterator[str]:
    """Yield what was inferred, in words: of the file, the targets, the images, the masks."""
    if READ_AS in table.attrs:
        yield str(table.attrs[READ_AS])
    yield from map(str, inferred.notes)
    yield from _no_images(table, columns)
    yield from _idle_masks(table, inferred.task, columns)


def _no_images(table: pd.DataFrame, columns: "_Columns") -> list[str]:
    if columns.roles.path is not None:
        return []
    without_role = [name for name in table if name not in columns.named]
    remedy = call_it_path(columns_of_images(table[without_role]))
    return [f"{NO_IMAGES}.{remedy}" if remedy else NO_IMAGES]


def _idle_masks(table: pd.DataFrame, task: Task, columns: "_Columns") -> list[str]:
    """Return a sentence for each ``mask_NAME`` of files whose name no column bears: a slip of the pen, most likely."""
    without_role = [name for name in table if name not in columns.named]
    taken = {f"mask_{name}" for name in (*task.names, *without_role)} | set(columns.named)
    idle = [name for name in map(str, table) if name.startswith("mask_") and name not in taken]
    files = [name for name in idle if table[name].str.contains(r"\.[A-Za-z]\w*$").any()]
    known = ["mask", *(f"mask_{name}" for name in task.names)]
    return [f"{name} is the mask of no target, and is not looked at.{suggest(name, known)}" for name in files]


@dataclass(frozen=True)
class _Columns:
    """The columns that are no target: those with a role, and the `inputs` that the user named."""

    roles: Roles
    inputs: tuple[str | None, ...]

    @property
    def named(self) -> tuple[str, ...]:
        roles = self.roles
        own = (roles.path, roles.patient, roles.split, roles.mask, roles.case, roles.view)
        return tuple(filter(None, (*own, *self.inputs)))


def _infer(
    table: pd.DataFrame, specs: Sequence[target_cells.TargetSpec], declaration: options.Declaration, columns: _Columns
) -> targets.Inference:
    """Return the task; `InputError` if a target has another role, or the declaration and the labels do not go."""
    for spec in specs:
        if spec.name in columns.named:
            raise InputError(f"column {spec.name!r} has another role and cannot be a target as well.")
    reserved = [*columns.named, "image_id", *patient_columns(table)]
    uncertain = {"unknown": "-1", "negative": "0", "positive": "1"}[declaration.uncertain]
    table = table if uncertain == "-1" else table.apply(target_cells.uncertain_as, meaning=uncertain)
    inferred = WITHOUT_LABELS if declaration.unlabelled else targets.infer_task(table, specs, reserved)
    _check_labels(inferred.task, declaration)
    return inferred


def _images_folder(label_file: Path, declaration: options.Declaration) -> Path:
    images = (declaration.images or label_file.parent).resolve()
    if not images.is_dir():
        raise MissingFileError(f"--images {images}: no such folder.")
    return images


def parse_covariate(text: str, columns: Sequence[str]) -> tuple[str, str]:
    """Return column and kind of a ``--covariate`` argument; the kind is empty where none is said.

    >>> parse_covariate("grade:numeric", ["grade"]), parse_covariate("age", ["age"])
    (('grade', 'numeric'), ('age', ''))
    """
    name, _, kind = text.rpartition(":")
    if text in columns or name not in columns:
        return text, ""
    if kind not in COVARIATE_KINDS:
        raise InputError(f"--covariate {text}: {kind!r} is not one of {', '.join(COVARIATE_KINDS)}.")
    return name, kind


def meant(table: pd.DataFrame, missing: Sequence[str], means: Sequence[str] = ()) -> pd.DataFrame:
    """Return the table with the cells as the user says that they are meant; numbers are compared as numbers.

    Parameters
    ----------
    table
        Every cell as text.
    missing
        ``COLUMN=VALUE``: a cell that is to be read as empty.
    means
        ``COLUMN:CELL=VALUE``: what a cell is to be read as. CELL ``blank`` is an empty cell, ``<N`` and ``>N`` any
        number that is only known to lie below or above one; then N in VALUE is that number.

    >>> table = pd.DataFrame({"a": ["1", "9.0"], "b": ["x", ""], "c": ["<5", "7"]})
    >>> meant(table, ["a=9"], ["b:blank=no", "c:<N=N"]).values.tolist()
    [['1', '1', '5'], ['', '0', '7']]
    """
    columns: dict[str, list[str]] = {}
    for text in means:
        column, cell, value = _meaning(text, list(table.columns))
        columns[column] = _read_as(columns.get(column, list(table[column])), cell, value)
    for text in missing:
        column, value = _pair("missing", text)
        require_column(table, column)
        columns[column] = [
            "" if _same(cell.strip(), value) else cell for cell in columns.get(column, list(table[column]))
        ]
    return table.assign(**columns)


def column_of(text: str, columns: Sequence[str]) -> str | None:
    """Return which of the columns a ``--missing`` or ``--means`` argument is about; None where it is none of them."""
    own = [name for name in columns if text.startswith((f"{name}=", f"{name}:"))]
    return max(own, key=len, default=None)


def _meaning(text: str, columns: Sequence[str]) -> tuple[str, str, str]:
    """Return column, cell and value of a ``--means`` argument."""
    column, (rest, separator, value) = column_of(text, columns), text.rpartition("=")
    cell = rest.removeprefix(f"{column}:").strip()
    if column is None and ":" in rest:
        require_column(pd.DataFrame({name: [] for name in columns}), rest.partition(":")[0])
    if column is None or not separator or not cell or not value or cell == rest:
        raise InputError(f"--means {text}: COLUMN:CELL=VALUE was expected, such as {EXAMPLES['means']}.")
    return column, cell, value.strip()


def _read_as(cells: Sequence[str], cell: str, value: str) -> list[str]:
    """Return the cells of a column with `cell` read as `value`; beside blanks that mean no, a tick means yes."""
    value = {"unknown": NOT_KNOWN}.get(value, value)
    if cell in ("<N", ">N"):
        limits = {text: censored(text) for text in set(cells)}
        known = {text: limit for text, limit in limits.items() if limit and limit[0] == cell[0]}
        return [re.sub(r"\bN\b", known[text][1], value) if text in known else text for text in cells]
    if cell != BLANK:
        return [value if _same(text.strip(), cell) else text for text in cells]
    is_no = says(value) == 0
    ticks = {text: "1" for text in set(cells) if is_no and plain(text) in TICKS}
    return [ticks.get(text, text) if text.strip() else "0" if is_no else value for text in cells]


def _same(cell: str, value: str) -> bool:
    try:
        return cell == value or float(cell) == float(value)
    except ValueError:
        return False


def _pair(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.rpartition("=")
    if not separator or not name or not value:
        raise InputError(f"--{option} {text}: two parts joined by '=' were expected, such as {EXAMPLES[option]}.")
    return name.strip(), value.strip()


def _check_labels(task: Task, declaration: options.Declaration) -> None:
    if declaration.unlabelled and declaration.targets:
        raise InputError(
            "an autoencoder learns without labels: leave --target out. Afterwards its anomaly score can be compared "
            f"with a label: focusmap evaluate RUN --target {declaration.targets[0]}"
        )
    if not declaration.unlabelled and task == UNLABELLED:
        raise InputError(f"target {ANOMALY.name!r}: this name is an autoencoder's score. Rename the column.")
