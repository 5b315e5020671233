"""What single cells of a label file mean, as hospitals and people write them: nothing, yes and no, numbers, lists.

What has one reading is taken; what has two is left to the user, who is asked with both.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from focusmap.basics import InputError

EMPTY = frozenset(
    ["", "nan", "na", "n/a", "#n/a", "<na>", "n.a", "nat", "null", "nil", "#ref!", "#value!", "#name?", "#div/0!",
     "#num!", "#null!", "#na", "#n/a n/a", "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "\\n", "<null>",
     "(null)", "<nan>", "(blank)", "<blank>", "(empty)", "<empty>", "<none>", "not available", "not applicable",
     "#spill!", "#calc!", "#error!", "#getting data", "#field!", "#blocked!", "#connect!", "#unknown!", "#busy!",
     "(leer)", "(vide)", "缺失", "缺", "缺如", "未填", "未录入", "未登记", "无数据", "无记录", "暂无", "未记录", "空"]
)  # fmt: skip
"""Cells that say that nothing is known; so does what `ERROR_CELL` fits."""
ERROR_CELL = re.compile(r"[?？.]*|#{2,}|err:\d+")
"""Question marks, dots, cells that are too narrow to be shown, and errors of LibreOffice."""
DOUBTFUL = frozenset(
    ["unknown", "unk", "not known", "missing", "undefined", "not given", "no data", "tbd", "not done", "not assessed",
     "-", "--", "---", "/", "nd", "n.d", "n/d", "nk", "n/k", "not reported", "not recorded", "not stated", "not tested",
     "not evaluated", "not examined", "not specified", "not provided", "not entered", "not assigned", "no information",
     "no record", "pending", "awaited", "none", "see note", "see above", "same as above", "ditto", "unbekannt",
     "keine angabe", "k.a", "nicht bekannt", "inconnu", "desconocido", "sconosciuto", "неизвестно", "未知", "不详",
     "不明", "不清楚", "待定", "待查", "待排", "未查", "未做", "未检", "未测", "未检查", "未提及", "同上"]
)  # fmt: skip
"""Cells that most likely do, though a class may be called so."""
YES = frozenset(
    ["1", "yes", "y", "true", "t", "positive", "pos", "present", "+", "(+)", "detected", "有", "是", "阳性", "阳", "真",
     "存在", "对", "√", "✓", "✔", "☑", "陽性", "ja", "j", "wahr", "oui", "o", "vrai", "si", "sí", "s", "sim",
     "verdadero", "да", "はい", "有り", "あり"]
)  # fmt: skip
NO = frozenset(
    ["0", "no", "n", "false", "f", "negative", "neg", "absent", "-", "(-)", "not detected", "无", "否", "阴性", "阴",
     "假", "没有", "未见", "不是", "错", "×", "✗", "✘", "☐", "陰性", "無", "沒有", "nein", "falsch", "non", "faux",
     "falso", "não", "nao", "нет", "いいえ", "無し", "なし"]
)  # fmt: skip
PAIRS = (
    ("y", "n"), ("j", "n"), ("o", "n"), ("s", "n"), ("t", "f"), ("+", "-"), ("(+)", "(-)"), ("oui", "non"),
    ("si", "no"),
)  # fmt: skip
"""Short words that mean yes and no only beside each other."""
UNCERTAIN = frozenset(
    ["maybe", "uncertain", "unsure", "possible", "possibly", "probable", "probably", "suspected", "suspicious",
     "equivocal", "indeterminate", "borderline", "unclear", "doubtful", "±", "+/-", "(+/-)", "可疑", "疑似", "可能",
     "不确定", "不能确定", "考虑", "fraglich", "unsicher", "1?", "0?", "yes?", "no?"]
)  # fmt: skip
"""Cells that, beside yes and no, say that the reader was not sure, or name a class of their own."""
TICKS = frozenset(["x", "xx", "xxx", "(x)", "[x]", "*", "v", "•", "●", "■", "☒", "○", "◯", "〇", "✕"])
"""Cells that, beside nothing but empty ones, tick what is present."""
CENSORED = re.compile(r"([<>≤≥＜＞]|&[lg]t;)=?\s*(\d[\d.,]*)\s*(?:[^\W\d_].*|%)?")
LIST_SIGNS = ("|", ";", ",", "、", "\n", "\\", "/", "+", "&", "and", "和", "及", "与")
MILD_SIGNS = ("\\", "/", "+", "&", "and", "和", "及", "与")
"""Signs and words that stand within the names of classes as often as between them."""
WRITTEN_OUT = "[]"
WRITTEN_LIST = re.compile(r"\s*[\[({].*[\])}]\s*", re.DOTALL)
SURELY_WRITTEN = re.compile(r"""\s*(?:[\[({]\s*['"].*['"]\s*,?\s*[\])}]|\[.*\]|\{.*\})\s*""", re.DOTALL)
VECTOR = re.compile(r"[\[({]?\s*[01](?:\.0*)?(?:[\s,;]+[01](?:\.0*)?)+\s*[\])}]?")
ITEM = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^,;\[\](){}'\"]+)")
NUMBER = re.compile(r"([+-]?(?:\d[\d.,' ]*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*((?:[^\W\d_]|[%‰°]).*)?")
QUOTED = re.compile(r"b?(['\"])(.*)\1|[\[(]\s*(\w+)\s*[\])]", re.DOTALL)
"""How numpy and pandas write a text, or a list of one."""
FLOATED = re.compile(r"([+-]?)0*(\d+?)(?:\.0*|,0{1,2})?(?:e[+-]?0+)?")
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))


def plain(text: str) -> str:
    """Return a text as it is compared: small, without invisible signs, one blank between words, 1 for 1.0.

    >>> plain(" Malignant\\u200b"), plain("No_Finding"), plain("１.0"), plain("A-"), plain("-1"), plain("[1]")
    ('malignant', 'no finding', '1', 'a-', '-1', '1')
    """
    if bare := QUOTED.fullmatch(text.strip()):
        text = bare[2] or bare[3] or text
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(_dash(sign) for sign in text if unicodedata.category(sign) not in ("Cf", "Cc") or sign == "\n")
        apart = unicodedata.normalize("NFD", text)
        text = unicodedata.normalize("NFC", "".join(sign for sign in apart if not "\u0300" <= sign <= "\u036f"))
    small = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", text.casefold().strip(" \t\r\n.;:,。、'\"")) or text.strip()
    number = FLOATED.fullmatch(small) if small[-1:].isdecimal() else None
    return small if number is None else number[1].removeprefix("+") + number[2]


def _in_ascii(text: str) -> str:
    return "".join(map(_dash, unicodedata.normalize("NFKC", text).translate(APOSTROPHES)))


def _dash(sign: str) -> str:
    return "-" if unicodedata.category(sign) == "Pd" or sign == "\N{MINUS SIGN}" else sign


def means_empty(cell: str) -> bool:
    """Return whether a cell says that nothing is known.

    >>> [means_empty(cell) for cell in ("NA", "#N/A", "?", ".", "none", "unknown", "-")]
    [True, True, True, True, False, False, False]
    """
    word = plain(cell)
    return word in EMPTY or cell.strip().casefold() in EMPTY or ERROR_CELL.fullmatch(word) is not None


def is_doubtful(cell: str) -> bool:
    """Return whether a cell may say that nothing is known, or be a class."""
    return plain(cell) in DOUBTFUL


def no_number(cell: str) -> bool:
    """Return whether a cell among numbers says that none is known; 'none' may be 0.

    >>> [no_number(cell) for cell in ("NA", "unknown", "-", "none", "<5")]
    [True, True, True, False, False]
    """
    return means_empty(cell) or (is_doubtful(cell) and plain(cell) != "none")


def censored(cell: str) -> tuple[str, str] | None:
    """Return on which side of which number a cell says that its value lies; None where it says no such thing.

    >>> censored("<5"), censored("≥ 7,5 mm"), censored("5")
    (('<', '5'), ('>', '7,5'), None)
    """
    match = CENSORED.fullmatch(cell.strip())
    return (("<" if match[1] in ("<", "≤", "＜", "&lt;") else ">"), match[2]) if match else None


def of_limits(name: str, cell: str) -> str:
    """Return the question about a cell of a column that only says on which side of a number its value lies.

    >>> of_limits("CRP", "<5")
    " It may be the limit, or not known: say --means 'CRP:<N=N' or --means 'CRP:<N=unknown'."
    """
    side = (censored(cell) or "<")[0]
    return f" It may be the limit, or not known: say --means '{name}:{side}N=N' or --means '{name}:{side}N=unknown'."


def says(cell: str) -> int | None:
    """Return 1 for a word that means yes, 0 for one that means no, None for any other.

    >>> [says(cell) for cell in ("Yes", "阴性", "1.0", "maybe")]
    [1, 0, 1, None]
    """
    word = plain(cell)
    return 1 if word in YES else 0 if word in NO else None


def yes_and_no(cells: Iterable[str]) -> dict[str, float]:
    """Return 1 or 0 for each cell that means yes or no, and NaN for words that say that it is not known.

    >>> yes_and_no(["yes", "no", "unknown", "2", "-"])
    {'yes': 1.0, 'no': 0.0, 'unknown': nan}
    """
    words = {cell: plain(cell) for cell in cells}
    present = set(words.values())
    paired = {word for pair in PAIRS if present.issuperset(pair) for word in pair}
    short = {word for pair in PAIRS for word in pair} - paired - {"no"}
    read = {cell: says(cell) for cell, word in words.items() if word not in short}
    known = {cell: float(value) for cell, value in read.items() if value is not None}
    unknown = {cell: float("nan") for cell, word in words.items() if word in DOUBTFUL and word[:1].isalnum()}
    return {cell: {**known, **unknown}[cell] for cell in words if cell in known or cell in unknown}


def words_of(classes: Sequence[str], texts: Iterable[str]) -> dict[str, float]:
    """Return the class, 0 or 1, of each text that says yes or no, where the two classes do so; NaN: not known.

    >>> words_of(("no", "yes"), ["Y", "N", "unknown"]), words_of(("benign", "malignant"), ["yes"])
    ({'Y': 1.0, 'N': 0.0, 'unknown': nan}, {})
    """
    said = [says(name) for name in classes]
    if sorted(map(str, said)) != ["0", "1"]:
        return {}
    return {text: value if said[1] == 1 else 1 - value for text, value in yes_and_no(texts).items()}


def alike(classes: Sequence[str]) -> dict[str, str]:
    """Return, by how it is compared, each class that no other class is like.

    >>> alike(["benign", "Malignant", "M", "m"])
    {'benign': 'benign', 'malignant': 'Malignant'}
    """
    words = [plain(name) for name in classes]
    return {word: name for word, name in zip(words, classes, strict=True) if words.count(word) == 1}


def in_one_way(texts: Iterable[str]) -> dict[str, str]:
    """Return for each different text the commonest one that is compared as it is; nothing for what says nothing.

    >>> in_one_way(["Male", "male", "male ", "NA", "f"])
    {'Male': 'male', 'male': 'male', 'male ': 'male', 'NA': '', 'f': 'f'}
    """
    counts = Counter(texts)
    kept: dict[str, str] = {}
    for text in sorted(counts, key=lambda text: (-counts[text], len(text), text != text.lower(), text)):
        kept.setdefault(plain(text), text.strip())
    return {text: "" if means_empty(text) else kept[plain(text)] for text in counts}


def split_list(cell: str, sign: str = "|") -> list[str]:
    """Return the names in a cell that lists them.

    >>> split_list("Effusion | Edema"), split_list("['COPD signs', 'effusion']", "[]")
    (['Effusion', 'Edema'], ['COPD signs', 'effusion'])
    """
    if sign == WRITTEN_OUT:
        parts = ["".join(found) for found in ITEM.findall(cell)]
    elif sign.isascii() and sign.isalpha():
        parts = re.split(rf"\s+{sign}\s+", cell, flags=re.IGNORECASE)
    else:
        parts = unicodedata.normalize("NFKC", cell).split(sign) if sign in ",;" else cell.split(sign)
    return [part.strip() for part in parts if part.strip()]


def list_sign(cells: Sequence[str]) -> tuple[str, bool]:
    """Return the sign between the names that different cells list, and whether that is certain; "" for no lists.

    It is where each name that follows another stands in another cell too. Of signs that names have as often, one asks
    where any of the names is a whole cell.

    >>> list_sign(["effusion, edema", "edema", "normal"]), list_sign(["carcinoma, ductal", "normal"])
    ((',', True), (',', False))
    >>> list_sign(["mass/nodule", "normal"]), list_sign(["mass/nodule", "mass"])
    (('', False), ('/', False))

    Raises
    ------
    InputError
        If cells hold zeros and ones, one for each finding.
    """
    if any("|" in cell for cell in cells):
        return "|", True
    if vector := next((cell for cell in cells if VECTOR.fullmatch(cell)), None):
        raise InputError(f"{vector!r} holds zeros and ones of several findings. Write a column of its own for each.")
    written = [cell for cell in cells if WRITTEN_LIST.fullmatch(cell)]
    if written and (len(written) == len(cells) or all(SURELY_WRITTEN.fullmatch(cell) for cell in written)):
        return WRITTEN_OUT, True
    for sign in LIST_SIGNS[1:]:
        if (is_certain := _lists_by(sign, cells)) is not None:
            return sign, is_certain
    words = {plain(cell) for cell in cells}
    joined = [split_list(cell, " ") for cell in cells]
    if any(len(parts) > 1 and words.issuperset(map(plain, parts)) for parts in joined):
        return " ", False
    return "", False


def _lists_by(sign: str, cells: Sequence[str]) -> bool | None:
    """Return whether it is certain that cells list names by a sign: each that follows stands elsewhere too.

    None where nothing follows the sign, or where it is one that names have and none of its parts is a whole cell.
    """
    listed = list(dict.fromkeys(tuple(plain(part) for part in split_list(cell, sign)) for cell in cells))
    following = {(place, part) for place, parts in enumerate(listed) for part in parts[1:]}
    stands_in = [set(parts) for parts in listed]
    is_certain = all(
        any(part in parts for other, parts in enumerate(stands_in) if other != place) for place, part in following
    )
    words = {plain(cell) for cell in cells}
    is_whole = any(part in words for parts in listed if len(parts) > 1 for part in parts)
    return is_certain if following and (sign not in MILD_SIGNS or is_certain or is_whole) else None


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
    codes, texts = pd.factorize(np.array([str(cell).strip() for cell in cells], dtype=object))
    try:
        some = any(read_numbers([text]).values for text in texts[:100] if not no_number(text))
        values = read_numbers([text for text in texts if not no_number(text)]).values if some else {}
    except InputError:
        values = {}
    return np.array([values.get(text, np.nan) for text in texts], dtype=np.float64)[codes]


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
