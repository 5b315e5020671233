"""From the cells of one column to a target: its kind, and its classes in one spelling, or a question."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from focusmap.basics import InputError, Reason, suggest
from focusmap.study.ids import LOOK_ALIKES, well_read
from focusmap.study.measurements import censored, of_limits, read_numbers
from focusmap.study.task import JOIN, CellError, Target, TargetKind
from focusmap.study.values import (
    NO,
    UNCERTAIN,
    YES,
    alike,
    is_doubtful,
    means_benign,
    means_empty,
    means_nothing_found,
    no_number,
    plain,
    plain_name,
    without_code,
    yes_and_no,
)

MANY_CLASSES, MOST_WORDS, LONGEST_CODE = 50, 200, 9
GRADES = re.compile(r"\b(?:mild|moderate|severe|slight|minimal|marked|trace|low|high|early|late|grade|stage|轻|中|重)")
BETWEEN = re.compile(r"(?<=\D)[\s_-]+(?=[\w(])|(?<=[\w)])[\s_-]+(?=[^\W\d]|\()")
"""What stands between two parts of a name that are not both numbers."""
BRITISH = ((re.compile(r"(?<=\w)our(?=s?\b)"), "or"), (re.compile("ae|oe"), "e"))
PLURAL = (re.compile(r"(?<=[a-z]{3}[^\Wsiu])s\b"), "")
NOT = re.compile(r"(?:non?|not|un|without|w/o|keine?|nicht|ohne|sans|sin|无|非|未见|没有|不)\s*(.+)")
MARKS = re.compile(r"\W*[*?!†‡#]+\W*$|[()\[\]{}]")
"""Footnotes and doubts behind a name, and brackets in it."""
FLAG_DIGITS, FLAG_WORDS = frozenset(("0", "1")), frozenset(YES | NO)


@dataclass(frozen=True)
class TargetSpec:
    """What the user wrote behind ``--target``.

    ``NAME[:KIND][:positive=CLASS][:classes=A,B,C][:delta=COLUMN][:list=SIGN][:decimal=comma|point]``
    """

    name: str
    kind: TargetKind | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    baseline: str = ""
    list_sign: str = ""
    decimal: str = ""


def make_target(column: pd.Series, spec: TargetSpec) -> tuple[Target, list[Reason]]:
    """Return the target that a column holds, and what was read otherwise than it is written.

    Raises
    ------
    InputError
        If there is nothing in it, or more than one reading.
    """
    cells, notes = _without_empty_words(column.str.strip(), spec)
    if not (cells != "").any():
        raise InputError(f"target {spec.name!r}: every cell is empty.")
    if spec.baseline and (spec.classes or spec.positive or spec.kind != "continuous"):
        raise InputError(f"target {spec.name!r}: delta= is the change of a number, which has no classes.")
    if spec.classes:
        return _declared_classes(cells, spec), notes
    if spec.kind == "continuous":
        return _continuous(cells, spec), notes
    cells, joined = in_one_spelling(cells, spec)
    values = sorted(set(cells) - {""}, key=_natural)
    if spec.positive is not None:
        spec = replace(spec, positive=alike(values).get(plain(spec.positive), spec.positive))
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
    empty = [text for text in texts if text and (no_number if spec.kind == "continuous" else means_empty)(text)]
    if not spec.kind and not spec.classes:
        _refuse_uncertain(cells, texts, spec)
        if _grades_from_none(texts):
            texts = [text for text in texts if plain(text) != "none"]
        doubtful = [text for text in texts if is_doubtful(text) and text not in yes_and_no(texts)]
        flags = not odd_texts(texts) and not doubtful
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


def _refuse_uncertain(cells: pd.Series, texts: Sequence[str], spec: TargetSpec) -> None:
    """Raise `InputError` where yes and no have a third word beside them that is a class, or says how sure one was."""
    odd = odd_texts(texts)
    if odd and all(plain(text) in UNCERTAIN for text in odd) and yes_and_no(texts):
        row = int(cells.isin(odd).to_numpy().argmax()) + 2
        raise InputError(
            f"row {row}: {spec.name} {odd[0]!r} may mean 'uncertain' or be a class. Write -1 there, which --uncertain "
            f"reads, or say --missing {spec.name}={odd[0]} or --target {spec.name}:multiclass."
        )


def _grades_from_none(texts: Sequence[str]) -> bool:
    """Return whether 'none' is the least of grades, or the opposite of the one other class, and so a class for sure."""
    words = {plain(text) for text in texts if text and not means_empty(text)}
    other_words = words - {"none"}
    return (
        "none" in words
        and (len(other_words) == 1 or any(GRADES.search(word) for word in other_words))
        and not words & FLAG_WORDS
    )


def in_one_spelling(cells: pd.Series, spec: TargetSpec) -> tuple[pd.Series, list[Reason]]:
    """Return the cells with each class in its commonest spelling, and which others are read as it.

    Where all are whole numbers, none keeps the ``.0`` that a column with empty cells gets from some programs.

    Raises
    ------
    InputError
        If two classes of one letter differ in its case only, or two others in a sign between their parts.
    """
    counts = cells[cells != ""].value_counts()
    groups: dict[str, list[str]] = {}
    for text in map(str, counts.index):
        groups.setdefault(plain(text), []).append(text)
    are_whole = all(word.lstrip("-").isdecimal() for word in groups)
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
        if are_whole and not kept.lstrip("-").isdecimal():
            kept = word
        variants = sorted(text for text in texts if text != kept)
        renamed |= dict.fromkeys(variants, kept)
        if not word.lstrip("-").isdecimal():
            notes += [Reason("read-as", name=spec.name, value=text, n=int(counts[text]), of=kept) for text in variants]
    _refuse_nearly_alike(groups, spec)
    return cells.replace(renamed) if renamed else cells, notes


def _refuse_nearly_alike(groups: Mapping[str, Sequence[str]], spec: TargetSpec) -> None:
    """Raise `InputError` where two classes differ in signs or in how a word is spelt only.

    So do COVID19 and COVID-19, benign and benign?, tumour and tumors, 1-mass and mass, and letters that look alike.
    """
    joined: dict[str, str] = {}
    for word, texts in groups.items():
        other = joined.setdefault(_loosely(word, plural=not spec.list_sign), word)
        meant = {plain(text) for text in (without_code(texts[0]), html.unescape(texts[0]), well_read(texts[0]))}
        other = next((form for form in meant if form in groups and form != word and not form.isdecimal()), other)
        if other != word:
            both = f"{groups[other][0]!r} and {texts[0]!r}"
            classes = ",".join(sorted(spellings[0] for spellings in groups.values()))
            say = "" if spec.list_sign else f", or say --target '{spec.name}:classes={classes}'"
            raise InputError(f"target {spec.name!r}: {both} are one class or two. Write them in one way{say}.")


def _loosely(word: str, *, plural: bool) -> str:
    """Return a class without signs, in American English, its letters Latin; `plural`: without the s of several."""
    text = BETWEEN.sub("", MARKS.sub("", word)).translate(LOOK_ALIKES)
    for found, put in (*BRITISH, *([PLURAL] if plural else [])):
        text = found.sub(put, text)
    return text or word


def _continuous(cells: pd.Series, spec: TargetSpec) -> Target:
    texts = [str(text) for text in cells.unique() if text and not no_number(str(text))]
    try:
        unit = read_numbers(texts, spec.decimal).unit
    except InputError:
        # Said with its row when the cells are read.
        unit = ""
    return Target(spec.name, "continuous", baseline=spec.baseline, decimal=spec.decimal, unit=unit)


def _classes_of(cells: pd.Series, values: list[str], spec: TargetSpec) -> tuple[Target, Reason | None]:
    """Return the target that cells of these `values` hold, by the first of these rules that fits.

    The kind that was declared; 0 and 1; words for yes and no; two values; the positive class against the rest;
    fractions, which are soft labels; texts, which are classes. Other numbers may mean anything, and are refused.
    """
    if spec.kind in ("multiclass", "ordinal"):
        return Target(spec.name, spec.kind, tuple(values)), None
    if is_flag(cells) and spec.positive in (None, "1"):
        return Target(spec.name), None
    if len(values) > 2 and spec.positive is None and not odd_texts(values):
        return Target(spec.name), Reason("yes-and-no", name=spec.name)
    known = numbers_among(values)
    numbers = list(known)
    if len(values) == 2 and (len(numbers) < 2 or all(number.is_integer() for number in known.values())):
        return _two_classes(cells, values, spec)
    if spec.kind == "binary" and {"0", "1"} <= set(values):
        return Target(spec.name), None
    if spec.positive is not None and len(values) > 2 and not numbers:
        return _against_the_rest(values, spec.positive, spec)
    are_shares = len(numbers) == len(values) and all(0 <= number <= 1 for number in known.values())
    is_soft = are_shares and spec.positive in (None, "1")
    if is_soft and numbers:
        return Target(spec.name), Reason("fractions", name=spec.name)
    if not is_soft and (spec.kind == "binary" or spec.positive is not None):
        raise InputError(
            f"target {spec.name!r}: {len(values)} values ({few(values)}) are not two classes.{_rarest(cells, values)}"
        )
    if not numbers:
        return _many_classes(values, spec), None
    raise _unclear(cells, values, numbers, spec)


def _unclear(cells: pd.Series, values: list[str], numbers: list[str], spec: TargetSpec) -> InputError:
    """Return what is to be said of numbers that may mean anything, and of numbers among texts."""
    name, texts = spec.name, [value for value in values if value not in numbers]
    if limits := [text for text in texts if censored(text)]:
        return InputError(f"target {name!r} holds numbers and {limits[0]!r}.{of_limits(name, limits[0])}")
    if texts:
        return InputError(
            f"target {name!r} holds numbers ({few(numbers)}) and texts ({few(texts)}). Correct the cells, "
            f"or say --target {name}:multiclass."
        )
    has_both = {"0", "1"} <= set(values) or {"0.0", "1.0"} <= set(values)
    return InputError(
        f"target {name!r} holds numbers ({few(values)}): say what they mean with "
        f"--target {name}:multiclass, {name}:ordinal or {name}:continuous.{_rarest(cells, values) if has_both else ''}"
    )


def _rarest(cells: pd.Series, values: Sequence[str]) -> str:
    """Return where the rarest value stands, and what can be done about it."""
    rare = min(values, key=lambda value: (value in ("0", "1"), (cells == value).sum()))
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


def _against_the_rest(values: list[str], positive: str, spec: TargetSpec) -> tuple[Target, Reason]:
    """Return a binary target of one class against all others together."""
    _refuse_unknown_positive(values, spec)
    rest = [value for value in values if value != positive]
    note = Reason("against-the-rest", value=positive, name=spec.name, others=", ".join(rest))
    return Target(spec.name, "binary", (JOIN.join(rest), positive)), note


def _refuse_unknown_positive(values: list[str], spec: TargetSpec) -> None:
    if spec.positive is not None and spec.positive not in values:
        raise InputError(
            f"target {spec.name!r}: positive={spec.positive} is not one of {', '.join(values)}."
            f"{suggest(spec.positive, values)}"
        )


def _two_classes(cells: pd.Series, values: list[str], spec: TargetSpec) -> tuple[Target, Reason | None]:
    _refuse_unknown_positive(values, spec)
    bare = [without_code(value) for value in values]
    words = yes_and_no(bare)
    negative = [
        value
        for value, name, other in zip(values, bare, bare[::-1], strict=True)
        if means_nothing_found(value) or means_benign(name) or _is_negation(name, other)
    ]
    negative = negative or [
        value for value, name in zip(values, bare, strict=True) if words.get(name) == 0 and len(words) == 2
    ]
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


def _is_negation(name: str, other: str) -> bool:
    """Return whether a class is called as the other one is, with a word before it that means 'not'.

    >>> _is_negation("无结节", "有结节"), _is_negation("non-tumour", "tumour"), _is_negation("nodule", "mass")
    (True, True, False)
    """
    match = NOT.fullmatch(plain_name(name))
    return match is not None and match[1] in (plain_name(other), plain_name(other).removeprefix("有"))


def _many_classes(values: list[str], spec: TargetSpec) -> Target:
    if len(values) > MANY_CLASSES:
        raise InputError(
            f"target {spec.name!r} holds {len(values)} different texts ({few(values)}); that is not a list of "
            f"classes. If it is, say --target {spec.name}:multiclass."
        )
    if len(values) == 1:
        raise InputError(
            f"target {spec.name!r}: every labelled row says {values[0]!r}; there is nothing to tell apart."
        )
    return Target(spec.name, "multiclass", tuple(values))


def _natural(value: str) -> tuple[int, float, str]:
    number = numbers_among([value]).get(value)
    return (1, 0.0, value) if number is None else (0, number, value)


def numbers_among(texts: Sequence[str]) -> dict[str, float]:
    """Return the numbers without a unit that texts are; none where one of them may be two numbers.

    >>> numbers_among(["0,5", "1", "mass", "5 mm"])
    {'0,5': 0.5, '1': 1.0}
    """
    try:
        return read_numbers([text for text in texts if text[-1:].isdigit() or text[-1:] in ".,"]).values
    except InputError:
        return {}


def is_flag(column: pd.Series, digits: frozenset[str] = FLAG_DIGITS) -> bool:
    """Return whether all cells mean yes, no, uncertain or not known, some of them in `digits`."""
    texts = [str(text).strip() for text in column.unique()]
    return len(texts) <= MOST_WORDS and not odd_texts(texts) and any(plain(text) in digits for text in texts)


def odd_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts that mean neither yes, no, uncertain nor not known."""
    words = yes_and_no(texts)
    return [text for text in texts if text not in words and not means_empty(text) and plain(text) != "-1"]


def uncertain_as(cells: pd.Series, meaning: str) -> pd.Series:
    """Return cells with `meaning` for each that says -1, however it is written."""
    texts = [text for text in map(str, cells.unique()) if len(text) < LONGEST_CODE and plain(text) == "-1"]
    return cells.replace(dict.fromkeys(texts, meaning)) if texts else cells


def few(values: Sequence[str]) -> str:
    """Return the first of some values, for a message."""
    return ", ".join(values[:4]) + (", ..." if len(values) > 4 else "")
