"""From the columns of a label file to targets: the ones that were named, or the ones that are unambiguous."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from focusmap.errors import InputError, suggest
from focusmap.reasons import Reason
from focusmap.study.task import TARGET_KINDS, CellError, Target, TargetKind, Task, means_nothing_found, plain_name
from focusmap.study.values import (
    LIST_SIGNS,
    NO,
    WRITTEN_OUT,
    YES,
    alike,
    is_doubtful,
    list_sign,
    means_empty,
    plain,
    read_numbers,
    split_list,
    yes_and_no,
)  # fmt: skip

LABEL_COLUMNS = ("label", "labels", "class", "target", "diagnosis", "finding")
NO_FINDING = ("no finding", "no_finding", "no findings", "normal", "none", "正常", "无", "未见异常", "无异常")
MANY_CLASSES, MANY_LISTS = 50, 5000
MOST_WORDS = 200
FLAG_DIGITS, FLAG_WORDS = frozenset(("0", "1")), frozenset(YES | NO)
FEWEST_FLAGS, NEARLY = 10, 0.02
"""Of a column that is a finding but for a cell or a fiftieth of them, one asks."""


@dataclass(frozen=True)
class TargetSpec:
    """What the user wrote behind ``--target``.

    ``NAME[:KIND][:positive=CLASS][:classes=A,B,C][:delta=COLUMN][:list=SIGN][:decimal=comma|point]``
    """

    name: str
    kind: TargetKind | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    earlier: str = ""
    list_sign: str = ""
    decimal: str = ""


@dataclass(frozen=True)
class Inference:
    """The task, the list column it was made from (or None), what was inferred, and the sign in the lists' cells."""

    task: Task
    list_column: str | None = None
    notes: tuple[Reason, ...] = ()
    list_sign: str = "|"


def parse_target(text: str, columns: Sequence[str]) -> TargetSpec:
    """Return the parts of a ``--target`` argument; a column name may itself hold colons.

    >>> parse_target("label:positive=malignant", ["label"])
    TargetSpec(name='label', kind=None, positive='malignant', classes=(), earlier='', list_sign='', decimal='')
    """
    name, positive, earlier, sign, decimal = text, None, "", "", ""
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
        elif option.startswith("list=") and option.removeprefix("list=") in (*LIST_SIGNS, WRITTEN_OUT):
            sign = option.removeprefix("list=")
        elif option in ("decimal=comma", "decimal=point"):
            decimal = option.removeprefix("decimal=")
        elif option in TARGET_KINDS:
            kind = option
        else:
            known = f"{', '.join(TARGET_KINDS)}, positive=CLASS, classes=A,B,C, delta=COLUMN, list=SIGN, decimal=comma"
            raise InputError(f"--target {text}: {option!r} is not one of {known}.")
    return TargetSpec(name, kind, positive, classes, earlier, sign, decimal)


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
    said: list[Reason] = []
    if not specs:
        specs, said = _guess(table, columns)
    for spec in specs:
        if spec.name not in table:
            known = ", ".join(columns)
            raise InputError(
                f"has no column {spec.name!r} to use as a target.{suggest(spec.name, columns)} Columns: {known}."
            )
    sign = _list_sign(table[specs[0].name], specs[0]) if len(specs) == 1 else ""
    if sign:
        return _from_lists(table[specs[0].name], specs[0].name, sign)
    made = [_make_target(table[spec.name], spec) for spec in specs]
    targets = [target for target, _ in made]
    notes = [*said, *(note for _, found in made for note in found)]
    kept, restating = _without_restating(table, targets)
    notes += [Reason("restates-others", name=name) for name in restating]
    notes += [Reason("restates", name=name, of=of) for name, of in _shadows(table, columns, kept)]
    return Inference(Task(tuple(kept)), None, tuple(notes))


def _guess(table: pd.DataFrame, columns: Sequence[str]) -> tuple[list[TargetSpec], list[Reason]]:
    """Return the targets that nobody named, and what was read otherwise than as 0 and 1."""
    named = [name for name in columns if name in LABEL_COLUMNS and (table[name].str.strip() != "").any()]
    if named:
        return [TargetSpec(min(named, key=LABEL_COLUMNS.index))], []
    in_digits = [name for name in columns if _is_flag(table[name])]
    in_words = [name for name in columns if name not in in_digits and _is_flag(table[name], FLAG_WORDS)]
    _refuse_twins(in_digits or in_words, columns)
    _refuse_nearly_flags(table, [name for name in columns if name not in {*in_digits, *in_words}])
    flags = in_digits or in_words
    if flags:
        others = [Reason("words-no-target", name=name) for name in in_words if name not in flags]
        return [TargetSpec(name) for name in flags], others
    raise InputError(
        f"has no column called {', '.join(LABEL_COLUMNS)} and none that holds only 0, 1, -1 and empty cells. "
        f"Name the target with --target. Candidates: {', '.join(columns) or 'none'}."
    )


def _is_flag(column: pd.Series, digits: frozenset[str] = FLAG_DIGITS) -> bool:
    """Return whether all cells mean yes, no, uncertain or not known, some of them in `digits`."""
    texts = [str(text).strip() for text in column.unique()]
    return len(texts) <= MOST_WORDS and not _odd(texts) and any(plain(text) in digits for text in texts)


def _odd(texts: Sequence[str]) -> list[str]:
    """Return the texts that mean neither yes, no, uncertain nor not known."""
    words = yes_and_no(texts)
    return [text for text in texts if text not in words and not means_empty(text) and plain(text) != "-1"]


def _refuse_twins(flags: Sequence[str], columns: Sequence[str]) -> None:
    """Raise `InputError` where one finding seems to stand in two columns: NAME and NAME.1, or NAME and name."""
    for name in flags:
        stem = re.sub(r"\.\d+$", "", name)
        twins = [other for other in columns if other != name and (other == stem or plain(other) == plain(name))]
        if twins:
            raise InputError(
                f"columns {twins[0]!r} and {name!r} seem to be one finding twice. Take one out or rename it; if they "
                "are two, name the targets with --target."
            )


def _refuse_nearly_flags(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise `InputError` where few cells keep a column from being a target, which nobody would notice."""
    for name in columns:
        cells = table[name].str.strip()
        texts = [str(text) for text in cells.unique()]
        if len(texts) > MOST_WORDS:
            continue
        odd = _odd(texts)
        is_odd = cells.isin(odd)
        n_odd, n_flags = int(is_odd.sum()), int((~is_odd & (cells != "")).sum())
        both = {"0", "1"} <= {plain(text) for text in texts}
        if both and n_odd and n_flags >= FEWEST_FLAGS and n_odd <= max(1, NEARLY * n_flags):
            row = int(is_odd.to_numpy().argmax()) + 2
            raise InputError(
                f"column {name!r} holds 0 and 1 but for {n_odd} of {n_flags + n_odd} cells ({_few(odd)}; row {row}). "
                f"If it is a finding, correct them, or say --missing {name}={odd[0]} where that means 'not known'; if "
                "it is none, name the targets with --target."
            )


def _list_sign(column: pd.Series, spec: TargetSpec) -> str:
    """Return the sign between the names that cells list; "" where they list none.

    Raises
    ------
    InputError
        If they may be lists or single names.
    """
    if spec.list_sign or spec.kind is not None or spec.classes or spec.positive:
        return spec.list_sign
    texts = [text for text in map(str, column.str.strip().unique()) if not means_empty(text)]
    if len(texts) > MANY_LISTS or not any(sign in text for text in texts for sign in (*LIST_SIGNS, "[", "，", "；")):
        return "|" if any("|" in text for text in texts) else ""
    if len(_numbers_in(texts)) == len(texts):
        return ""
    sign, certain = list_sign(texts)
    if sign and not certain:
        cell = next(text for text in texts if len(split_list(text, sign)) > 1)
        raise InputError(
            f"target {spec.name!r}: {cell!r} may be a list of {len(split_list(cell, sign))} findings or one class. "
            f"Say --target '{spec.name}:list={sign}' or --target {spec.name}:multiclass."
        )
    return sign


def _numbers_in(texts: Sequence[str]) -> dict[str, float]:
    try:
        return read_numbers(texts).values
    except InputError:
        return {}


def _make_target(column: pd.Series, spec: TargetSpec) -> tuple[Target, list[Reason]]:
    cells, notes = _without_empty_words(column.str.strip(), spec)
    if not (cells != "").any():
        raise InputError(f"target {spec.name!r}: every cell is empty.")
    if spec.earlier and (spec.classes or spec.positive or spec.kind != "continuous"):
        raise InputError(f"target {spec.name!r}: delta= is the change of a number, which has no classes.")
    if spec.classes:
        return _declared_classes(cells, spec), notes
    if spec.kind == "continuous":
        return _continuous(cells, spec), notes
    cells, joined = _in_one_spelling(cells, spec)
    values = sorted(set(cells) - {""}, key=_natural)
    target, note = _classes_of(cells, values, spec)
    return target, [*notes, *joined, *([note] if note else [])]


def _without_empty_words(cells: pd.Series, spec: TargetSpec) -> tuple[pd.Series, list[Reason]]:
    """Return the cells with those empty that say that nothing is known, and which they are.

    Raises
    ------
    InputError
        If a word may mean that, or be a class.
    """
    texts = [str(text) for text in cells.unique() if text not in spec.classes]
    empty = [text for text in texts if text and means_empty(text)]
    if not spec.kind and not spec.classes:
        doubtful = [text for text in texts if is_doubtful(text) and text not in yes_and_no(texts)]
        flags = not _odd(texts) and not doubtful
        empty += [text for text in texts if flags and is_doubtful(text) and plain(text)[:1].isalnum()]
        wordy = [text for text in texts if is_doubtful(text)]
        if wordy and not flags:
            row = int(cells.isin(wordy).to_numpy().argmax()) + 2
            classes = ",".join(sorted(set(texts) - {"", *empty}))
            raise InputError(
                f"row {row}: {spec.name} {wordy[0]!r} may mean 'not known' or be a class. Say --missing "
                f"{spec.name}={wordy[0]} or --target '{spec.name}:classes={classes}'."
            )
    notes = [Reason("read-as-empty", name=spec.name, value=text, n=int((cells == text).sum())) for text in empty]
    return cells.mask(cells.isin(empty), ""), notes


def _in_one_spelling(cells: pd.Series, spec: TargetSpec) -> tuple[pd.Series, list[Reason]]:
    """Return the cells with each class in its commonest spelling, and which others are read as it.

    Raises
    ------
    InputError
        If two classes of one letter differ in its case only.
    """
    counts = cells[cells != ""].value_counts()
    groups: dict[str, list[str]] = {}
    for text in map(str, counts.index):
        groups.setdefault(plain(text), []).append(text)
    renamed: dict[str, str] = {}
    notes = []
    for word, texts in groups.items():
        if len(texts) > 1 and len(word) == 1 and word.isalpha() and len({text.strip(".") for text in texts}) > 1:
            both = ",".join(sorted(counts.index))
            raise InputError(
                f"target {spec.name!r}: {' and '.join(sorted(texts))} are one class or two. Write them in one way, or "
                f"say --target {spec.name}:classes={both}."
            )
        kept = min(texts, key=lambda text: (not text.isdecimal(), -counts[text], text != text.lower(), len(text), text))
        others = sorted(text for text in texts if text != kept)
        renamed |= dict.fromkeys(others, kept)
        if not word.lstrip("-").isdecimal():
            notes += [Reason("read-as", name=spec.name, value=text, n=int(counts[text]), of=kept) for text in others]
    return cells.replace(renamed) if renamed else cells, notes


def _continuous(cells: pd.Series, spec: TargetSpec) -> Target:
    texts = [str(text) for text in cells.unique() if text and not means_empty(str(text))]
    try:
        unit = read_numbers(texts, spec.decimal).unit
    except InputError:
        # Said with its row when the cells are read.
        unit = ""
    return Target(spec.name, "continuous", earlier=spec.earlier, decimal=spec.decimal, unit=unit)


def _classes_of(cells: pd.Series, values: list[str], spec: TargetSpec) -> tuple[Target, Reason | None]:
    if spec.kind in ("multiclass", "ordinal"):
        return Target(spec.name, spec.kind, tuple(values)), None
    if _is_flag(cells) and spec.positive in (None, "1"):
        return Target(spec.name), None
    if len(values) > 2 and spec.positive is None and not _odd(values):
        return Target(spec.name), Reason("yes-and-no", name=spec.name)
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
    near = alike(spec.classes)
    for position, cell in enumerate(cells):
        if cell and cell not in spec.classes and plain(cell) not in near:
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
    words = yes_and_no(values)
    negative = [value for value in values if means_nothing_found(value) or plain_name(value) in ("benign", "良性")]
    negative = negative or [value for value in values if len(words) == 2 and words[value] == 0]
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


def _from_lists(column: pd.Series, name: str, sign: str) -> Inference:
    found = pd.Series([part for cell in column if not means_empty(cell) for part in split_list(cell, sign)], dtype=str)
    parts, joined = _in_one_spelling(found, TargetSpec(name))
    names = sorted(set(parts))
    dropped = [part for part in names if plain(part) in NO_FINDING]
    targets = tuple(Target(part) for part in names if part not in dropped)
    notes = [Reason("lists", name=name, n=len(targets)), *joined]
    notes += [Reason("means-none", value=part) for part in dropped]
    return Inference(Task(targets), name, tuple(notes), sign)


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
