"""From the columns of a label file to targets: the ones that were named, or the ones that are unambiguous."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from focusmap.errors import InputError, suggest
from focusmap.reasons import Reason
from focusmap.study.task import TARGET_KINDS, CellError, Target, TargetKind, Task, means_nothing_found, plain_name

LABEL_COLUMNS = ("label", "labels", "class", "target", "diagnosis", "finding")
NO_FINDING = ("no finding", "no_finding", "normal", "none")
MANY_CLASSES = 50


@dataclass(frozen=True)
class TargetSpec:
    """What the user wrote behind ``--target``: ``NAME[:KIND][:positive=CLASS][:classes=A,B,C][:delta=COLUMN]``."""

    name: str
    kind: TargetKind | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    earlier: str = ""


@dataclass(frozen=True)
class Inference:
    """The task, the list column it was made from (or None) and what was inferred, in words."""

    task: Task
    list_column: str | None = None
    notes: tuple[Reason, ...] = ()


def parse_target(text: str, columns: Sequence[str]) -> TargetSpec:
    """Return the parts of a ``--target`` argument; a column name may itself hold colons.

    >>> parse_target("label:positive=malignant", ["label"])
    TargetSpec(name='label', kind=None, positive='malignant', classes=(), earlier='')
    """
    name, positive, earlier = text, None, ""
    kind: TargetKind | None = None
    classes: tuple[str, ...] = ()
    while name not in columns and ":" in name:
        name, _, option = name.rpartition(":")
        if option.startswith("positive="):
            positive = option.removeprefix("positive=")
        elif option.startswith("classes="):
            classes = tuple(part.strip() for part in option.removeprefix("classes=").split(","))
        elif option.startswith("delta="):
            earlier = option.removeprefix("delta=")
            kind = kind or "continuous"
        elif option in TARGET_KINDS:
            kind = option
        else:
            known = f"{', '.join(TARGET_KINDS)}, positive=CLASS, classes=A,B,C or delta=COLUMN"
            raise InputError(f"--target {text}: {option!r} is not one of {known}.")
    return TargetSpec(name, kind, positive, classes, earlier)


def infer_task(table: pd.DataFrame, specs: Sequence[TargetSpec], reserved: Sequence[str]) -> Inference:
    """Return the task that the columns of `table` define.

    Parameters
    ----------
    table
        Every cell as text.
    specs
        The targets that were named; empty means: infer.
    reserved
        Columns that have another role and are never inferred as targets.

    Raises
    ------
    InputError
        If a named column is missing, a kind is ambiguous, or nothing looks like a target.
    """
    columns = [name for name in table.columns if name not in reserved]
    if not specs:
        specs = _guess(table, columns)
    for spec in specs:
        if spec.name not in table:
            known = ", ".join(columns)
            raise InputError(
                f"has no column {spec.name!r} to use as a target.{suggest(spec.name, columns)} Columns: {known}."
            )
    if len(specs) == 1 and table[specs[0].name].str.contains("|", regex=False).any() and specs[0].kind is None:
        return _from_lists(table[specs[0].name], specs[0].name)
    made = [_make_target(table[spec.name], spec) for spec in specs]
    targets = [target for target, _ in made]
    notes = [note for _, note in made if note]
    kept, restating = _without_restating(table, targets)
    notes += [Reason("restates-others", name=name) for name in restating]
    notes += [Reason("restates", name=name, of=of) for name, of in _shadows(table, columns, kept)]
    return Inference(Task(tuple(kept)), None, tuple(notes))


def split_list(cell: str) -> list[str]:
    """Return the names in an ``A|B|C`` cell.

    >>> split_list("Effusion | Edema")
    ['Effusion', 'Edema']
    """
    return [part.strip() for part in cell.split("|") if part.strip()]


def _guess(table: pd.DataFrame, columns: Sequence[str]) -> list[TargetSpec]:
    named = [name for name in columns if name in LABEL_COLUMNS and (table[name] != "").any()]
    if named:
        return [TargetSpec(min(named, key=LABEL_COLUMNS.index))]
    flags = [name for name in columns if _is_flag(table[name])]
    if flags:
        return [TargetSpec(name) for name in flags]
    raise InputError(
        f"has no column called {', '.join(LABEL_COLUMNS)} and none that holds only 0, 1, -1 and empty cells. "
        f"Name the target with --target. Candidates: {', '.join(columns) or 'none'}."
    )


def _is_flag(column: pd.Series) -> bool:
    values = set(column.str.strip().unique())
    return values <= {"0", "1", "-1", "", "0.0", "1.0", "-1.0"} and bool(values & {"0", "1", "0.0", "1.0"})


def _make_target(column: pd.Series, spec: TargetSpec) -> tuple[Target, Reason | None]:
    cells = column.str.strip()
    values = sorted(set(cells) - {""}, key=_natural)
    if not values:
        raise InputError(f"target {spec.name!r}: every cell is empty.")
    if spec.earlier and (spec.classes or spec.positive or spec.kind != "continuous"):
        raise InputError(f"target {spec.name!r}: delta= is the change of a number, which has no classes.")
    if spec.classes:
        return _declared_classes(cells, spec), None
    if spec.kind == "continuous":
        return Target(spec.name, "continuous", earlier=spec.earlier), None
    if spec.kind in ("multiclass", "ordinal"):
        return Target(spec.name, spec.kind, tuple(values)), None
    if _is_flag(cells) and spec.positive in (None, "1"):
        return Target(spec.name), None
    numbers = [value for value in values if _is_number(value)]
    if len(values) == 2 and (len(numbers) < 2 or all(float(value).is_integer() for value in values)):
        return _two_classes(cells, values, spec)
    if spec.kind == "binary" and {"0", "1"} <= set(values):
        return Target(spec.name), None
    is_soft = len(numbers) == len(values) and all(0 <= float(value) <= 1 for value in values)
    is_soft = is_soft and spec.positive in (None, "1")
    if not is_soft and (spec.kind == "binary" or spec.positive is not None):
        raise InputError(
            f"target {spec.name!r}: {len(values)} values ({_few(values)}) are not two classes.{_rarest(cells, values)}"
        )
    if not numbers:
        return _many_classes(values, spec), None
    if len(numbers) < len(values):
        texts = [value for value in values if value not in numbers]
        raise InputError(
            f"target {spec.name!r} holds numbers ({_few(numbers)}) and texts ({_few(texts)}). Correct the cells, "
            f"or say --target {spec.name}:multiclass."
        )
    if is_soft:
        return Target(spec.name), Reason("fractions", name=spec.name)
    raise InputError(
        f"target {spec.name!r} holds numbers ({_few(values)}): say what they mean with "
        f"--target {spec.name}:multiclass, {spec.name}:ordinal or {spec.name}:continuous."
        f"{_rarest(cells, values) if {'0', '1'} <= set(values) or {'0.0', '1.0'} <= set(values) else ''}"
    )


def _rarest(cells: pd.Series, values: Sequence[str]) -> str:
    """Return where the rarest value stands, and what can be done about it."""
    rare = min(values, key=lambda value: (cells == value).sum())
    row = int((cells == rare).to_numpy().argmax()) + 2
    return f" Row {row} has {rare!r}: correct it or, where it means 'not known', say --missing {cells.name}={rare}."


def _declared_classes(cells: pd.Series, spec: TargetSpec) -> Target:
    for position, cell in enumerate(cells):
        if cell and cell not in spec.classes:
            known = ", ".join(spec.classes)
            raise CellError(position, f"{spec.name} {cell!r} is not one of {known}.{suggest(cell, spec.classes)}")
    kind = spec.kind or ("binary" if len(spec.classes) == 2 else "multiclass")
    n = len(set(spec.classes))
    if kind == "continuous" or n < max(len(spec.classes), 2) or not all(spec.classes) or (kind == "binary" and n > 2):
        raise InputError(f"target {spec.name!r}: classes= takes the names of two classes or more (binary: of two).")
    if kind != "binary":
        return Target(spec.name, kind, spec.classes)
    return _two_classes(cells, list(spec.classes), replace(spec, positive=spec.positive or spec.classes[1]))[0]


def _two_classes(cells: pd.Series, values: list[str], spec: TargetSpec) -> tuple[Target, Reason | None]:
    if spec.positive is not None and spec.positive not in values:
        raise InputError(
            f"target {spec.name!r}: positive={spec.positive} is not one of {', '.join(values)}."
            f"{suggest(spec.positive, values)}"
        )
    negative = [value for value in values if means_nothing_found(value) or plain_name(value) == "benign"]
    rarer = min(values, key=lambda value: ((cells == value).sum(), [-ord(c) for c in value]))
    if spec.positive is not None:
        positive, code = spec.positive, ""
    elif len(negative) == 1:
        positive = values[1 - values.index(negative[0])]
        code = "taken-positive"
    else:
        positive = rarer
        code = "rarer-positive"
    other = values[1 - values.index(positive)]
    option = f"--target {spec.name}:positive={other}"
    note = Reason(code, value=positive, name=spec.name, option=option) if code else None
    return Target(spec.name, "binary", (other, positive)), note


def _many_classes(values: list[str], spec: TargetSpec) -> Target:
    if len(values) > MANY_CLASSES:
        raise InputError(
            f"target {spec.name!r} holds {len(values)} different texts ({_few(values)}); that is not a list of "
            f"classes. If it is, say --target {spec.name}:multiclass."
        )
    if len(values) == 1:
        raise InputError(
            f"target {spec.name!r}: every labelled row says {values[0]!r}; there is nothing to tell apart."
        )
    return Target(spec.name, "multiclass", tuple(values))


def _from_lists(column: pd.Series, name: str) -> Inference:
    names = sorted({part for cell in column for part in split_list(cell)})
    dropped = [part for part in names if part.lower() in NO_FINDING]
    targets = tuple(Target(part) for part in names if part not in dropped)
    notes = [Reason("lists", name=name, n=len(targets))]
    notes += [Reason("means-none", value=part) for part in dropped]
    return Inference(Task(targets), name, tuple(notes))


def _without_restating(table: pd.DataFrame, targets: list[Target]) -> tuple[list[Target], list[str]]:
    """Leave out a flag that is 1 exactly where all other flags are 0, such as no_finding."""
    flags = [target for target in targets if target.kind == "binary" and target.classes == ("0", "1")]
    restating = []
    for flag in flags if len(flags) > 2 else []:
        others = [table[other.name].str.strip().isin(["1", "1.0"]) for other in flags if other != flag]
        nothing = ~pd.concat(others, axis=1).any(axis=1)
        if flag.name.lower() in NO_FINDING and (nothing == table[flag.name].str.strip().isin(["1", "1.0"])).all():
            restating.append(flag.name)
    return [target for target in targets if target.name not in restating], restating


def _shadows(table: pd.DataFrame, columns: Sequence[str], targets: list[Target]) -> list[tuple[str, str]]:
    """Return (column, target) where a 0/1 column is decided by a class of a text target."""
    found = []
    for target in targets:
        if target.kind == "continuous" or set(target.classes) == {"0", "1"}:
            continue
        for name in columns:
            if name in {other.name for other in targets} or not _is_flag(table[name]):
                continue
            per_class = table.groupby(table[target.name].str.strip())[name].nunique()
            if (per_class == 1).all() and table[name].nunique() > 1:
                found.append((name, target.name))
    return found


def _natural(value: str) -> tuple[int, float, str]:
    return (0, float(value), value) if _is_number(value) else (1, 0.0, value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _few(values: Sequence[str]) -> str:
    return ", ".join(values[:4]) + (", ..." if len(values) > 4 else "")
