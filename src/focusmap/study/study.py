"""The declaration of a study: which file, which columns, which targets. Made once, saved, never guessed twice."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, cast

from focusmap.basics import InputError, Json, read_yaml, suggest, write_text
from focusmap.study.options import Uncertain
from focusmap.study.task import Task


@dataclass(frozen=True)
class Study:
    """What the columns of a label file mean.

    Parameters
    ----------
    label_file
        The table, one row per image (or, where `path_column` is None, one row per case).
    images
        Folder to which the paths in the table are relative.
    task
        The targets.
    path_column, id_column, patient_column, split_column, case_column, view_column, mask_column, block_column
        Names of columns; None where there is none.
    patients
        ``column``: `patient_column` says who; ``none``: the user states that every image is its own patient;
        ``undeclared``: nobody has said.
    same_patient
        Patients whose ids are one in their normal form (see `focusmap.study.ids`) are one; that form is their id.
    boxes_file
        CSV of lesion boxes, or None.
    covariates, groups
        Columns kept for tables and subgroups.
    covariate_kinds
        What the user said of a covariate: ``numeric``, ``category``, ``date`` or ``codes``; the others are typed by
        their cells.
    before
        By target, the column of its value at an earlier visit.
    missing
        ``COLUMN=VALUE``: a cell that is to be read as empty.
    means
        ``COLUMN:CELL=VALUE``: a cell that is to be read as another; an empty one is called ``blank``.
    list_column
        The column of lists that the binary targets were made from, or None.
    list_sign
        What stands between the names in its cells; ``[]`` for lists written out as ``['A', 'B']``.
    follow_links
        Symbolic links out of `images` are read, too.
    uncertain
        What -1 means in a binary column.
    notes
        What was inferred, in words; printed.
    """

    label_file: Path
    images: Path
    task: Task
    path_column: str | None = None
    id_column: str | None = None
    patient_column: str | None = None
    patients: Literal["column", "none", "undeclared"] = "undeclared"
    split_column: str | None = None
    case_column: str | None = None
    view_column: str | None = None
    mask_column: str | None = None
    block_column: str | None = None
    boxes_file: Path | None = None
    covariates: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    covariate_kinds: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    list_column: str | None = None
    uncertain: Uncertain = "unknown"
    notes: tuple[str, ...] = ()
    same_patient: bool = False
    follow_links: bool = False
    list_sign: str = "|"
    means: tuple[str, ...] = ()

    @property
    def role_columns(self) -> frozenset[str]:
        """The columns that say something of a row other than what it is predicted from."""
        named = (
            self.path_column, self.id_column, self.patient_column, self.split_column, self.case_column,
            self.view_column, self.mask_column, self.block_column, self.list_column,
        )  # fmt: skip
        masks = [f"mask_{name}" for name in self.task.names]
        return frozenset([*filter(None, named), *self.task.names, *masks])

    def describe(self) -> str:
        """Return the study as a few lines for a reader."""
        lines = [f"label file  {self.label_file}", f"images      {self.images}"]
        lines += [f"target      {_describe_target(self.task, name)}" for name in self.task.names]
        row = "image" if self.path_column and not self.case_column else "case"
        patient = {"column": self.patient_column, "none": f"none (every {row} its own)", "undeclared": "not declared"}
        joined = ", by the normal form of its ids" if self.same_patient else ""
        lines.append(f"patient     {patient[self.patients]}{joined}")
        for role in ("path", "split", "case", "view", "mask", "block"):
            column = getattr(self, f"{role}_column")
            if column is not None:
                lines.append(f"{role:<11} column {column}")
        if self.boxes_file is not None:
            lines.append(f"boxes       {self.boxes_file}")
        covariates = [
            f"{name} ({self.covariate_kinds[name]})" if name in self.covariate_kinds else name
            for name in self.covariates
        ]
        before = [f"{target} by {column}" for target, column in self.before.items()]
        lists = {"covariates": covariates, "before": before, "missing": self.missing, "means": self.means}
        lists["groups"] = self.groups
        for role, columns in lists.items():
            if columns:
                lines.append(f"{role:<11} {', '.join(columns)}")
        return "\n".join(lines + [f"note        {note}" for note in self.notes])


def _describe_target(task: Task, name: str) -> str:
    target = task.target(name)
    detail = {
        "binary": f"positive is {target.classes[-1]!r}" if target.classes else "",
        "continuous": f"learnt as its change since {target.baseline}" if target.baseline else "",
    }
    return f"{name} ({target.kind}; {detail.get(target.kind, ', '.join(target.classes))})".replace("; )", ")")


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return what paths are called without where they stand: as given, or of absolute ones the parts that differ.

    >>> short_names([Path("/home/anna/a.png"), Path("films/b.png")])
    ['a.png', 'films/b.png']
    >>> short_names([Path("/home/one/run"), Path("/home/two/run")])
    ['one/run', 'two/run']
    """
    names = [str(path) for path in paths]
    for n in range(max((len(path.parts) for path in paths), default=0), 0, -1):
        shorter = [Path(*path.parts[1:][-n:]).as_posix() if path.is_absolute() else str(path) for path in paths]
        if len(set(shorter)) < len(set(paths)):
            break
        names = shorter
    return names


def portable(place: Path, home: Path) -> str:
    """Return a place as a folder that may be handed on says it: as the way there, without where it stands itself.

    >>> portable(Path("/a/data/images"), Path("/a/runs/one"))
    '../../data/images'
    """
    try:
        return Path(os.path.relpath(place.absolute(), home.resolve())).as_posix()
    except ValueError:  # another drive
        return str(place)


def located(text: str, home: Path) -> Path:
    """Return the place that `portable` said; where `home` was moved, also what lies above it in the same way."""
    home = home.resolve()
    place = Path(os.path.normpath(home / text))
    tail = Path(*(part for part in Path(text).parts if part != ".."))
    moved = (above / tail for above in home.parents)
    return place if place.exists() else next((other for other in moved if other.exists()), place)


def write_study(study: Study, path: Path) -> None:
    """Write the study as YAML; files and folders as the way to them from the file's own folder."""
    import yaml

    values: dict[str, Json] = {
        key: portable(value, path.parent) if isinstance(value, Path) else _plain(value)
        for key, value in asdict(study).items()
    }
    values["task"] = study.task.to_dict()
    for key, usual in {"same_patient": False, "follow_links": False, "list_sign": "|", "means": []}.items():
        if values[key] == usual:
            del values[key]
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True), sealed=True)


def read_study(path: Path) -> Study:
    """Return the study of a YAML file.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is not YAML, or has a key that a study does not have.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: is not a study; 'label_file: ...' and 'task: ...' were expected.")
    known = [item.name for item in fields(Study)]
    for key in values:
        if key not in known:
            raise InputError(f"{path}: {key!r} is not a key of a study.{suggest(str(key), known)}")
    for key in ("label_file", "images", "task"):
        if not values.get(key):
            raise InputError(f"{path}: lacks {key!r}.")
    return _from_plain(dict(values), path.parent)


def _from_plain(values: dict[str, Json], home: Path) -> Study:
    for key in ("label_file", "images", "boxes_file"):
        if values.get(key) is not None:
            values[key] = cast(Json, located(str(values[key]), home))
    for key in ("covariates", "groups", "missing", "means", "notes"):
        values[key] = cast(Json, tuple(cast(list[str], values.get(key) or [])))
    for key in ("covariate_kinds", "before"):
        values[key] = dict(cast(Mapping[str, Json], values.get(key) or {}))
    values["task"] = cast(Json, Task.from_dict(cast(list[Json], values["task"])))
    return Study(**values)  # type: ignore[arg-type]


def _plain(value: object) -> Json:
    if isinstance(value, tuple):
        return list(value)
    return cast(Json, value)
