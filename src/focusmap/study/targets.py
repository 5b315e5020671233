"""From the columns of a label file to targets: the ones that were named, or the ones that are unambiguous.

What each target's loss is worth beside the others' is read here, too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from focusmap.basics import InputError, Reason, suggest
from focusmap.study import target_cells, values
from focusmap.study.task import TARGET_KINDS, Target, TargetKind, Task

LABEL_COLUMNS = ("label", "labels", "class", "target", "diagnosis", "finding")
NO_FINDING = ("no finding", "no_finding", "no findings", "normal", "none", "正常", "无", "未见异常", "无异常")
MANY_LISTS = 5000
SIGNS = (*values.LIST_SIGNS, *values.LOOSE_SIGNS, "[", "(", "{", "，", "；")
LABEL_WORDS = (*LABEL_COLUMNS, "标签", "诊断", "类别", "分类")
NAMELESS = re.compile(r"Unnamed: \d+|")
"""What pandas calls a column without a name, as that of the row's number."""
CALLED = {"newline": "\n", "tab": "\t"}
FEWEST_FLAGS, NEARLY, TELLING = 10, 0.02, 0.25
"""Of a column that is a finding but for a cell or a fiftieth of them, one asks; or but for a quarter, where these are
texts, or codes such as 9, 99 and -9."""


@dataclass(frozen=True)
class Inference:
    """The task, the list column it was made from (or None), what was inferred, and the sign in the lists' cells."""

    task: Task
    list_column: str | None = None
    notes: tuple[Reason, ...] = ()
    list_sign: str = "|"


def parse_target(text: str, columns: Sequence[str]) -> target_cells.TargetSpec:
    """Return the parts of a ``--target`` argument; a column name may itself hold colons.

    >>> parse_target("label:positive=malignant", ["label"])
    TargetSpec(name='label', kind=None, positive='malignant', classes=(), baseline='', list_sign='', decimal='')
    """
    name, positive, baseline, sign, decimal = text, None, "", "", ""
    kind: TargetKind | None = None
    classes: tuple[str, ...] = ()
    while name not in columns and ":" in name:
        name, _, option = name.rpartition(":")
        if option.startswith("positive="):
            positive = option.removeprefix("positive=")
        elif option.startswith("classes="):
            classes = tuple(part.strip() for part in option.removeprefix("classes=").split(","))
        elif option.startswith("delta="):
            baseline = option.removeprefix("delta=")
            kind = kind or "continuous"
        elif option.startswith("list=") and _sign(option.removeprefix("list=")) in (
            *values.LIST_SIGNS,
            *values.LOOSE_SIGNS,
            values.WRITTEN_OUT,
        ):
            sign = _sign(option.removeprefix("list="))
        elif option in ("decimal=comma", "decimal=point"):
            decimal = option.removeprefix("decimal=")
        elif option in TARGET_KINDS:
            kind = option
        else:
            known = f"{', '.join(TARGET_KINDS)}, positive=CLASS, classes=A,B,C, delta=COLUMN, list=SIGN, decimal=comma"
            raise InputError(f"--target {text}: {option!r} is not one of {known}.")
    return target_cells.TargetSpec(name, kind, positive, classes, baseline, sign, decimal)


def _sign(text: str) -> str:
    return CALLED.get(text, text)


def infer_task(table: pd.DataFrame, specs: Sequence[target_cells.TargetSpec], reserved: Sequence[str]) -> Inference:
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
    notes: list[Reason] = []
    if not specs:
        specs, notes = _guess(table, [name for name in columns if not NAMELESS.fullmatch(name)])
    for spec in specs:
        if spec.name not in table:
            known = ", ".join(columns)
            raise InputError(
                f"has no column {spec.name!r} to use as a target.{suggest(spec.name, columns)} Columns: {known}."
            )
    for spec in specs:
        _refuse_minus(table[spec.name], spec)
    _refuse_ticks(table, [spec.name for spec in specs if spec.kind != "continuous"], named=True)
    # So that it does not count as a class of its own.
    table = table.apply(target_cells.uncertain_as, meaning="")
    sign = _list_sign(table[specs[0].name], specs[0]) if len(specs) == 1 else ""
    if sign:
        return _from_lists(table[specs[0].name], specs[0].name, sign)
    made = [target_cells.make_target(table[spec.name], spec) for spec in specs]
    targets = [target for target, _ in made]
    notes = [*notes, *(note for _, own in made for note in own)]
    kept, restating = _without_restating(table, targets)
    notes += [Reason("restates-others", name=name) for name in restating]
    notes += [Reason("restates", name=name, of=of) for name, of in _shadows(table, columns, kept)]
    return Inference(Task(tuple(kept)), None, tuple(notes))


def _guess(table: pd.DataFrame, columns: Sequence[str]) -> tuple[list[target_cells.TargetSpec], list[Reason]]:
    """Return the targets that nobody named, and what was read otherwise than as 0 and 1."""
    named = [name for name in columns if name.casefold() in LABEL_WORDS and (table[name].str.strip() != "").any()]
    if named:
        label = min(named, key=lambda x: (x not in LABEL_WORDS, LABEL_WORDS.index(x.casefold())))
        _refuse_twins(table, [name for name in columns if name.startswith(label)], columns)
        return [target_cells.TargetSpec(label)], []
    _refuse_ticks(table, columns, named=False)
    in_digits = [name for name in columns if target_cells.is_flag(table[name])]
    in_words = [
        name for name in columns if name not in in_digits and target_cells.is_flag(table[name], target_cells.FLAG_WORDS)
    ]
    _refuse_twins(table, in_digits or in_words, columns)
    _refuse_nearly_flags(table, [name for name in columns if name not in {*in_digits, *in_words}])
    flags = in_digits or in_words
    if flags:
        unused = [Reason("words-no-target", name=name) for name in in_words if name not in flags]
        return [target_cells.TargetSpec(name) for name in flags], unused
    raise InputError(
        f"has no column called {', '.join(LABEL_COLUMNS)} and none that holds only 0, 1, -1 and empty cells. "
        f"Name the target with --target. Candidates: {', '.join(columns) or 'none'}."
    )


def _refuse_twins(table: pd.DataFrame, flags: Sequence[str], columns: Sequence[str]) -> None:
    """Raise `InputError` where one finding seems to stand in two columns: NAME and NAME.1, or NAME and name.

    So do NAME and NAME_1, or NAME_copy, where each row says the same of both.
    """
    for name in flags:
        stem = values.plain(re.sub(r"(?:\.\d+|_[xy]| ?\(\d+\))$", "", name))
        copied = re.sub(r"[._ -]?(?:\d+|copy|dup|duplicate|kopie|副本)$", "", name)
        if (
            copied != name
            and copied in columns
            and table[copied].map(values.plain).equals(table[name].map(values.plain))
        ):
            stem = values.plain(copied)
        twins = [
            other
            for other in columns
            if other != name and values.plain(re.sub("_[xy]$", "", other)) in (stem, values.plain(name))
        ]
        if twins:
            raise InputError(
                f"columns {twins[0]!r} and {name!r} seem to be one finding twice. Take one out or rename it; if they "
                "are two, name the targets with --target."
            )


def _refuse_minus(column: pd.Series, spec: target_cells.TargetSpec) -> None:
    """Raise `InputError` where a column holds -1 and 1 alone: then -1 may be the other class, or uncertain."""
    if spec.kind is None and not spec.classes and set(map(values.plain, map(str, column.unique()))) == {"-1", "1"}:
        raise InputError(
            f"target {spec.name!r} holds -1 and 1 alone: -1 may mean 'no', or 'uncertain', and nothing to "
            f"tell apart is left. Say --means '{spec.name}:-1=0', or --uncertain negative."
        )


def _refuse_ticks(table: pd.DataFrame, columns: Sequence[str], *, named: bool) -> None:
    """Raise `InputError` where cells hold a tick or nothing: what is empty may be a no, or not known.

    Of columns that nobody named, those count that nothing but ticks are in.
    """
    ticked = {name: tick for name in columns if name in table and (tick := _tick_of(table[name], named=named))}
    if ticked:
        name, tick = next(iter(ticked.items()))
        like_it = f", as {len(ticked) - 1} other columns do" if len(ticked) > 1 else ""
        say = " ".join(f"--means '{name}:blank=no'" for name in ticked)
        rest = "" if named else " If they are no findings, name the targets with --target."
        raise InputError(
            f"column {name!r} holds {tick!r} or nothing{like_it}: an empty cell may mean 'no', or that it is not "
            f"known. Say {say}, or blank=unknown in place of blank=no.{rest}"
        )


def _tick_of(column: pd.Series, *, named: bool) -> str:
    """Return what is in a column of ticks and empty cells; "" where it is none."""
    texts = [str(text).strip() for text in column.unique()]
    words = {values.plain(text) for text in texts if text}
    if "" not in texts or len(texts) > target_cells.MOST_WORDS or words == {"-1"}:
        return ""
    if (words and words <= values.TICKS | values.YES) or (named and len(words) == 1):
        return next(text for text in texts if text)
    return ""


def _refuse_nearly_flags(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise `InputError` where few cells keep a column from being a target, which nobody would notice."""
    for name in columns:
        cells = table[name].str.strip()
        texts = [str(text) for text in cells.unique()]
        if len(texts) > target_cells.MOST_WORDS:
            continue
        _refuse_ticks_beside_no(name, texts)
        odd = target_cells.odd_texts(texts)
        is_odd = cells.isin(odd)
        n_odd, n_flags = int(is_odd.sum()), int((~is_odd & (cells != "")).sum())
        both = {"0", "1"} <= {values.plain(text) for text in texts}
        share = TELLING if all(abs(number) >= 9 for number in target_cells.numbers_among(odd).values()) else NEARLY
        if both and n_odd and n_flags >= FEWEST_FLAGS and n_odd <= max(1, share * n_flags):
            row = int(is_odd.to_numpy().argmax()) + 2
            raise InputError(
                f"column {name!r} holds 0 and 1 but for {n_odd} of {n_flags + n_odd} cells ({target_cells.few(odd)}; "
                f"row {row}). If it is a finding, correct them, or say --missing {name}={odd[0]} where that means "
                "'not known'; if it is none, name the targets with --target."
            )


def _refuse_ticks_beside_no(name: str, texts: Sequence[str]) -> None:
    """Raise `InputError` where a column holds ticks and words for no, or signs that may be, and nothing else."""
    ticks = [text for text in texts if values.plain(text) in values.TICKS]
    noes = [text for text in texts if text and text not in ticks]
    if ticks and noes and all(values.says(text) == 0 or values.plain(text) == "o" for text in noes):
        say = " ".join(f"--means '{name}:{text}={int(text in ticks)}'" for text in (*ticks, *noes))
        raise InputError(
            f"column {name!r} holds {ticks[0]!r} and {noes[0]!r}. If it is a finding, say {say}; if it is none, name "
            "the targets with --target."
        )


def _list_sign(column: pd.Series, spec: target_cells.TargetSpec) -> str:
    """Return the sign between the names that cells list; "" where they list none.

    Raises
    ------
    InputError
        If they may be lists or single names.
    """
    if spec.list_sign or spec.kind is not None or spec.classes or spec.positive:
        return spec.list_sign
    texts = [text for text in map(str, column.str.strip().unique()) if not values.means_empty(text)]
    if len(texts) > MANY_LISTS or not any(sign in text.casefold() for text in texts for sign in SIGNS):
        return "|" if any("|" in text for text in texts) else ""
    if len(target_cells.numbers_among(texts)) == len(texts):
        return ""
    if not target_cells.odd_texts(texts):
        return ""
    try:
        sign, certain = values.list_sign(texts)
    except InputError as error:
        raise InputError(f"target {spec.name!r}: {error}") from None
    if sign and not certain:
        cell = next(text for text in texts if len(values.split_list(text, sign)) > 1)
        called = {meant: name for name, meant in CALLED.items()}.get(sign, sign)
        n_parts = len(values.split_list(cell, sign))
        raise InputError(
            f"target {spec.name!r}: {cell!r} may be a list of {n_parts} findings or one class. Say --target "
            f"'{spec.name}:list={called}' or --target {spec.name}:multiclass."
        )
    return sign


def _from_lists(column: pd.Series, name: str, sign: str) -> Inference:
    names_listed = pd.Series(
        [part for cell in column if not values.means_empty(cell) for part in values.split_list(cell, sign)], dtype=str
    )
    parts, joined = target_cells.in_one_spelling(names_listed, target_cells.TargetSpec(name, list_sign=sign))
    names = sorted(set(parts))
    dropped = [part for part in names if values.plain(part) in NO_FINDING]
    targets = tuple(Target(part) for part in names if part not in dropped)
    notes = [Reason("lists", name=name, n=len(targets)), *joined]
    notes += [Reason("means-none", value=part) for part in dropped]
    return Inference(Task(targets), name, tuple(notes), sign)


def _without_restating(table: pd.DataFrame, targets: list[Target]) -> tuple[list[Target], list[str]]:
    """Leave out a flag that is 1 exactly where all other flags are 0, such as no_finding."""
    flags = [target for target in targets if target.kind == "binary" and target.classes == ("0", "1")]
    restating = []
    for flag in flags if len(flags) > 2 else []:
        rest = [table[other.name].str.strip().isin(["1", "1.0"]) for other in flags if other != flag]
        nothing = ~pd.concat(rest, axis=1).any(axis=1)
        if flag.name.lower() in NO_FINDING and (nothing == table[flag.name].str.strip().isin(["1", "1.0"])).all():
            restating.append(flag.name)
    return [target for target in targets if target.name not in restating], restating


def _shadows(table: pd.DataFrame, columns: Sequence[str], targets: list[Target]) -> list[tuple[str, str]]:
    """Return (column, target) where a 0/1 column is decided by a class of a text target."""
    shadows = []
    for target in targets:
        if target.is_number or set(target.classes) == {"0", "1"}:
            continue
        for name in columns:
            if name in {other.name for other in targets} or not target_cells.is_flag(table[name]):
                continue
            per_class = table.groupby(table[target.name].str.strip())[name].nunique()
            if (per_class == 1).all() and table[name].nunique() > 1:
                shadows.append((name, target.name))
    return shadows


EQUAL, UNCERTAINTY = "equal", "uncertainty"


def parse_target_weights(text: str, task: Task) -> tuple[float, ...] | None:
    """Return the weight of each target, 1 where none is named; None where they follow the targets' uncertainty.

    Raises
    ------
    InputError
        If a target is unknown, or a weight is not a positive number.

    >>> from focusmap.study.task import Target
    >>> parse_target_weights("b=2", Task((Target("a"), Target("b"))))
    (1.0, 2.0)
    """
    if text == UNCERTAINTY:
        return None
    weights = dict.fromkeys(task.names, 1.0)
    for part in [] if text == EQUAL else text.split(","):
        name, _, number = part.rpartition("=")
        if not name:
            raise InputError(f"target_weights {text!r} is not {EQUAL}, {UNCERTAINTY}, or NAME=WEIGHT,...")
        task.index(name.strip())
        weights[name.strip()] = _positive(number, part)
    return tuple(weights.values())


def _positive(number: str, part: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"target_weights: {part!r} gives no positive number. Write NAME=2.")
    return value
