"""Numbers as hospitals write them: decimal commas, thousands separators, units, and limits such as <5."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.basics import InputError
from focusmap.study.values import dash, no_number, yes_and_no

NUMBER = re.compile(r"([+-]?(?:\d[\d.,' ]*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*((?:[^\W\d_]|[%‰°]).*)?")
CENSORED = re.compile(r"([<>≤≥＜＞]|&[lg]t;)=?\s*(\d[\d.,]*)\s*(?:[^\W\d_].*|%)?")
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))


@dataclass(frozen=True)
class Numbers:
    """The numbers that texts of one column stand for, the unit that all of them name, and what a comma in them is.

    `unit` and `decimal` (``comma`` or ``point``) are empty where nothing says so.
    """

    values: dict[str, float]
    unit: str = ""
    decimal: str = ""


def read_numbers(texts: Sequence[str], decimal: str = "", unit: str | None = None) -> Numbers:
    """Return the numbers of a column; texts that are none are left out.

    Parameters
    ----------
    texts
        Different texts, none empty.
    decimal
        ``comma`` or ``point``: what a comma or a point before three digits means; empty: by the other texts.
    unit
        The unit that is expected, where one is named at all; None: any, the same throughout.

    Raises
    ------
    InputError
        If a text may be one of two numbers, or the units differ; it starts with the text.

    >>> read_numbers(["0,5", "1,234", "2"]).values
    {'0,5': 0.5, '1,234': 1.234, '2': 2.0}
    >>> read_numbers(["1,234,567", "1,234"]).values
    {'1,234,567': 1234567.0, '1,234': 1234.0}
    >>> read_numbers(["5 mm", "7.5mm"])
    Numbers(values={'5 mm': 5.0, '7.5mm': 7.5}, unit='mm', decimal='')
    """
    values: dict[str, float] = {}
    odd: dict[str, tuple[str, str]] = {}
    units: dict[str, str] = {}
    for text in texts:
        try:
            values[text] = float(text.replace("_", "?"))
            units.setdefault("", text)
        except ValueError:
            clean = text.strip(" '\"") if text.isascii() else _in_ascii(text).strip(" '\"")
            if match := NUMBER.fullmatch(clean):
                odd[text] = re.sub(r"(?<=\d)[' ](?=\d{3}(?!\d))", "", match[1]).strip(), (match[2] or "").casefold()
                units.setdefault(odd[text][1], text)
    _refuse_units(units, unit)
    comma = {"comma": True, "point": False}.get(decimal, _comma_is_decimal([number for number, _ in odd.values()]))
    if comma and not decimal and (both := [t for t in values if re.fullmatch(r"[+-]?[1-9]\d{0,2}\.\d{3}", t)]):
        raise InputError(f"{both[0]!r} may be {values[both[0]]:g} or {both[0].replace('.', '')}.")
    for text, (number, _) in odd.items():
        value = _number(text, number, comma)
        if value is not None:
            values[text] = value
    kept = {text: values[text] for text in texts if text in values}
    return Numbers(kept, next((name for name in units if name), ""), {True: "comma", False: "point", None: ""}[comma])


def numbers_in(cells: Iterable[str]) -> np.ndarray:
    """Return the numbers that cells are, ``(N,) float``; NaN for texts, and for all where two readings are left.

    A column none of whose first hundred texts is a number has none.

    >>> numbers_in(["1,5", "", "2", "a"]).tolist()
    [1.5, nan, 2.0, nan]
    """
    cells = cells if isinstance(cells, pd.Series) else pd.Series(list(cells), dtype=object)
    codes, distinct = pd.factorize(cells, use_na_sentinel=False)
    try:
        first = dict.fromkeys(str(cell).strip() for cell in distinct[:100])
        if not any(read_numbers([text]).values for text in first if not no_number(text)):
            return np.full(len(cells), np.nan)
        texts = [str(cell).strip() for cell in distinct]
        values = read_numbers([text for text in dict.fromkeys(texts) if not no_number(text)]).values
    except InputError:
        return np.full(len(cells), np.nan)
    return np.array([values.get(text, np.nan) for text in texts], dtype=np.float64)[codes]


def shares_in(cells: Iterable[str], *, words: bool) -> np.ndarray:
    """Return the numbers that cells are as `numbers_in` does, and with `words` 1 and 0 for yes and no, ``(N,) float``.

    >>> shares_in(["0,5", "yes", "no", "?"], words=True).tolist()
    [0.5, 1.0, 0.0, nan]
    """
    texts = [str(cell) for cell in cells]
    answers = yes_and_no(texts) if words else {}
    values = numbers_in(["" if text in answers else text for text in texts])
    known = np.array([answers.get(text, np.nan) for text in texts])
    return np.where(np.isnan(known), values, known)


def _refuse_units(units: dict[str, str], expected: str | None) -> None:
    if len(units) > 1:
        (_, first), (_, second) = list(units.items())[:2]
        raise InputError(f"{first!r} and {second!r} are not in one unit for certain. Write numbers in one unit, alone.")
    named = next((name for name in units if name), "")
    if expected is not None and named and named != expected:
        what = f"in {expected}" if expected else "without a unit"
        raise InputError(f"{units[named]!r} is in {named!r}; numbers {what} were expected.")


def _comma_is_decimal(numbers: Sequence[str]) -> bool | None:
    """Return what a comma is in a column by the numbers in which it can be only one thing; None where they differ."""
    bare = [number.lstrip("+-") for number in numbers]
    groups = any(re.fullmatch(r"\d{1,3}(?:,\d{3}){2,}(?:\.\d*)?|\d{1,3}(?:,\d{3})+\.\d*", digits) for digits in bare)
    decimal = any(_is_decimal_comma(digits) for digits in bare)
    return decimal if decimal != groups else None


def _is_decimal_comma(digits: str) -> bool:
    if "," not in digits:
        return digits.count(".") > 1
    head, _, tail = digits.partition(",")
    if "," in tail or "." in tail:
        return False
    return len(tail) != 3 or not 1 <= len(head) <= 3 or head == "0" or "." in head


def _number(text: str, number: str, comma: bool | None) -> float | None:
    """Return the value of a number with commas or several points; None for what is no number."""
    sign, digits = re.fullmatch(r"([+-]?)(.*)", number).groups()  # type: ignore[union-attr]
    forms: list[str] = []
    if re.fullmatch(r"(?:\d{1,3}(?:\.\d{3})*|\d*),\d*(?:[eE][+-]?\d+)?|\d{1,3}(?:\.\d{3}){2,}", digits):
        forms.append(digits.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?", digits):
        forms.append(digits.replace(",", ""))
    if re.fullmatch(r"\d*\.?\d*(?:[eE][+-]?\d+)?", digits):
        forms.append(digits)
    if len(forms) > 1:
        if comma is None:
            raise InputError(f"{text!r} may be {float(forms[0]):g} or {float(forms[1]):g}.")
        forms = forms[:1] if comma else forms[1:]
    try:
        return float(sign + forms[0]) if forms else None
    except ValueError:
        return None


def censored(cell: str) -> tuple[str, str] | None:
    """Return on which side of which number a cell says that its value lies; None where it says no such thing.

    >>> censored("<5"), censored("≥ 7,5 mm"), censored("5")
    (('<', '5'), ('>', '7,5'), None)
    """
    match = CENSORED.fullmatch(cell.strip())
    return (("<" if match[1] in ("<", "≤", "＜", "&lt;") else ">"), match[2]) if match else None


def of_limits(name: str, cell: str) -> str:
    """Return the question about a cell that only says on which side of a number its value lies; "" for any other.

    >>> of_limits("CRP", "<5")
    " It may be the limit, or not known: say --means 'CRP:<N=N' or --means 'CRP:<N=unknown'."
    """
    limit = censored(cell)
    option = f"--means '{name}:{limit[0]}N=" if limit else ""
    return f" It may be the limit, or not known: say {option}N' or {option}unknown'." if limit else ""


def _in_ascii(text: str) -> str:
    return "".join(map(dash, unicodedata.normalize("NFKC", text).translate(APOSTROPHES)))
