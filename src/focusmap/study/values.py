"""What single cells of a label file mean, as hospitals and people write them: nothing, yes and no, numbers, lists.

What has one reading is taken; what has two is left to the user, who is asked with both.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from focusmap.basics import InputError

EMPTY = frozenset(
    ["", "nan", "na", "n/a", "#n/a", "<na>", "n.a", "nat", "null", "nil", "#ref!", "#value!", "#name?", "#div/0!",
     "#num!", "#null!", "#na", "#n/a n/a", "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "\\n", "<null>",
     "(null)", "<nan>", "(blank)", "<blank>", "(empty)", "<empty>", "<none>", "not available", "not applicable",
     "#spill!", "#calc!", "#error!", "#getting data", "#field!", "#blocked!", "#connect!", "#unknown!", "#busy!",
     "(leer)", "(vide)", "缺失", "缺", "缺如", "未填", "未录入", "未登记", "无数据", "无记录", "暂无", "未记录", "空"]
)  # fmt: skip
"""Cells that say that nothing is known; so does what `ERROR_CELL` fits."""
ERROR_CELL = re.compile(r"[?？.]*|#{2,}|err:\d+|\.[a-z_]")
"""Question marks, dots, too narrow cells, errors of LibreOffice, and what Stata and SAS write for their kinds of it."""
CODE = re.compile(r"\s*(?:\(?\d+\)?\s*[=:.)-]\s*)?(.*?)\s*(?:[(\[=:]\s*[-+]?\d*\s*[)\]]?)?\s*", re.DOTALL)
"""A class with its code before or behind it: ``1=yes``, ``(1) yes``, ``yes (1)``, ``阳性(+)``."""
DOUBTFUL = frozenset(
    ["unknown", "unk", "not known", "missing", "undefined", "not given", "no data", "tbd", "not done", "not assessed",
     "-", "--", "---", "/", "nd", "n.d", "n/d", "nk", "n/k", "not reported", "not recorded", "not stated", "not tested",
     "not evaluated", "not examined", "not specified", "not provided", "not entered", "not assigned", "no information",
     "no record", "pending", "awaited", "none", "see note", "see above", "same as above", "ditto", "unbekannt",
     "keine angabe", "k.a", "nicht bekannt", "inconnu", "desconocido", "sconosciuto", "неизвестно", "нет данных", "н/д",
     "keine daten", "non renseigne", "non precise", "non disponible", "sin datos", "sin dato", "s/d", "no disponible",
     "desconhecido", "nao informado", "non noto", "non disponibile", "onbekend", "n.v.t", "okand", "ukjent", "ukendt",
     "nieznany", "brak danych", "neznamy", "bilinmiyor", "αγνωστο", "알 수 없음", "미상", "غير معروف", "不明", "未知",
     "不详", "不清楚", "待定", "待查", "待排", "未查", "未做", "未检", "未测", "未检查", "未提及", "同上", "無法判斷",
     "无法判断", "未标注", "未标记", "未標註", "未標記", "不詳", "未確認", "判定不能", "同左", "〃", '"', "모름",
     "미확인", "해당없음", "not labelled", "not labeled", "unlabelled", "unlabeled", "not annotated", "to be done",
     "to do", "todo", "tbc", "ohne angabe", "unbek"]
)  # fmt: skip
"""Cells that most likely do, though a class may be called so."""
# Words for yes and no as `plain` has them, in small letters without accents.
YES = frozenset(
    ["1", "yes", "y", "true", "t", "positive", "pos", "present", "+", "(+)", "detected", "checked", "ticked",
     "有", "是", "阳性", "阳", "真",
     "存在", "对", "√", "✓", "✔", "☑", "陽性", "ja", "j", "wahr", "oui", "o", "vrai", "si", "sí", "s", "sim",
     "verdadero", "да", "はい", "有り", "あり", "+ve", "positivo", "positiva", "positif", "positiv", "positief",
     "pozitif", "pozitivni", "pozytywny", "dodatni", "положительныи", "положительно", "presente", "vorhanden",
     "aanwezig", "obecny", "evet", "tak", "ano", "igen", "kylla", "da", "ναι", "ya", "co", "var", "예", "네", "양성",
     "있음", "نعم", "ايجابي"]
)  # fmt: skip
NO = frozenset(
    ["0", "no", "n", "false", "f", "negative", "neg", "absent", "-", "(-)", "not detected", "unchecked", "not checked",
     "not present", "无", "否", "阴性", "阴",
     "假", "没有", "未见", "不是", "错", "×", "✗", "✘", "☐", "陰性", "無", "沒有", "nein", "falsch", "non", "faux",
     "falso", "não", "nao", "нет", "いいえ", "無し", "なし", "-ve", "undetected", "negativo", "negativa", "negatif",
     "negativ", "negatief", "negativni", "ujemny", "отрицательныи", "отрицательно", "ausente", "assente",
     "nicht vorhanden", "afwezig", "nieobecny", "hayır", "hayir", "nee", "nej", "nei", "nie", "ne", "nem", "ei", "nu",
     "οχι", "tidak", "khong", "yok", "아니오", "아니요", "음성", "없음", "لا", "سلبي"]
)  # fmt: skip
PAIRS = (
    ("y", "n"), ("j", "n"), ("o", "n"), ("s", "n"), ("t", "f"), ("+", "-"), ("(+)", "(-)"), ("oui", "non"),
    ("si", "no"), ("tak", "nie"), ("ano", "ne"), ("igen", "nem"), ("kylla", "ei"), ("da", "ne"), ("da", "nu"),
    ("ya", "tidak"), ("co", "khong"), ("var", "yok"), ("양성", "음성"),
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
MILD_SIGNS = ("and/or", "\\", "/", "+", "&", " - ", "and", "und", "et", "和", "及", "与")
"""Signs and words that stand within the names of classes as often as between them."""
LIST_SIGNS = ("|", ";", ",", "、", "\n", "\t", "<br>", *MILD_SIGNS)
LOOSE_SIGNS = (" ", "_", "-", ":", ".", "*", ">", "·", "with", "mit", "avec", "con", "合并", "伴", "并")
"""What stands within names nearly always: asked about only where all that it parts are classes by themselves."""
WRITTEN_OUT = "[]"
KIND_OF_LIST = re.compile(r"\s*(?:frozenset|set|array|list|tuple)\s*(?=[\[({])")
WRITTEN_LIST = re.compile(rf"(?:{KIND_OF_LIST.pattern})?\s*[\[({{].*[\])}}]\s*", re.DOTALL)
SURELY_WRITTEN = re.compile(r"""\s*(?:[\[({]\s*['"].*['"]\s*,?\s*[\])}]|\[.*\]|\{.*\})\s*""", re.DOTALL)
BY_NAME = re.compile(r"\s*\{[^{}]*:[^{}]*\}\s*", re.DOTALL)
VECTOR = re.compile(r"[\[({]?\s*[01](?:\.0*)?(?:[\s,;]+[01](?:\.0*)?)+\s*[\])}]?")
ITEM = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^,;\[\](){}'\"]+)")
BARE = re.compile(r"[\d.]*")
QUOTED = re.compile(r"b?(['\"])(.*)\1|[\[(<]\s*(\w+)\s*[\])>]", re.DOTALL)
"""How numpy and pandas write a text, or a list of one."""
FLOATED = re.compile(r"([+-]?)0*(\d+?)(?:\.0*|,0{1,2})?(?:e[+-]?0+)?")
ENDS = " \t\r\n.;:,。、'\"“”„‟«»‹›‘’‚"


def plain(text: str) -> str:
    """Return a text as it is compared: small, without invisible signs, one blank between words, 1 for 1.0.

    >>> plain(" Malignant\\u200b"), plain("No_Finding"), plain("１.0"), plain("A-"), plain("-1"), plain("[1]")
    ('malignant', 'no finding', '1', 'a-', '-1', '1')
    """
    if bare := QUOTED.fullmatch(text.strip()):
        text = bare[2] or bare[3] or text
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(dash(sign) for sign in text if unicodedata.category(sign) not in ("Cf", "Cc") or sign == "\n")
        apart = unicodedata.normalize("NFD", text)
        text = unicodedata.normalize("NFC", "".join(sign for sign in apart if not "\u0300" <= sign <= "\u036f"))
    small = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", text.casefold().strip(ENDS)) or text.strip()
    if re.search(r"\. |\s[+/=]|[+/=]\s", small):
        small = re.sub(r"\b(\w)\. (?=\w\b)", r"\1.", re.sub(r"\s*([+/=])\s*", r"\1", small)) or small
    number = FLOATED.fullmatch(small) if small[-1:].isdecimal() else None
    return small if number is None else number[1].removeprefix("+") + number[2]


def dash(sign: str) -> str:
    """Return a hyphen for every sign that looks like one."""
    return "-" if unicodedata.category(sign) == "Pd" or sign == "\N{MINUS SIGN}" else sign


def means_empty(cell: str) -> bool:
    """Return whether a cell says that nothing is known.

    >>> [means_empty(cell) for cell in ("NA", "#N/A", "?", ".", "none", "unknown", "-")]
    [True, True, True, True, False, False, False]
    """
    word, bare = plain(cell), cell.strip().casefold()
    return any(text in EMPTY or ERROR_CELL.fullmatch(text) for text in (word, bare))


def is_doubtful(cell: str) -> bool:
    """Return whether a cell may say that nothing is known, or be a class."""
    return plain(cell) in DOUBTFUL


def without_code(name: str) -> str:
    """Return the name of a class without the code that stands beside it.

    >>> [without_code(text) for text in ("1=yes", "(0) no", "No (0)", "阳性(+)", "T1a")]
    ['yes', 'no', 'No', '阳性', 'T1a']
    """
    match = CODE.fullmatch(name)
    return (match[1] if match else "") or name


def no_number(cell: str) -> bool:
    """Return whether a cell among numbers says that none is known; 'none' may be 0.

    >>> [no_number(cell) for cell in ("NA", "unknown", "-", "none", "<5")]
    [True, True, True, False, False]
    """
    return means_empty(cell) or (is_doubtful(cell) and plain(cell) != "none")


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
    meanings = [says(name) for name in classes]
    if sorted(map(str, meanings)) != ["0", "1"]:
        return {}
    return {text: value if meanings[1] == 1 else 1 - value for text, value in yes_and_no(texts).items()}


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
        parts = ["".join(item) for item in ITEM.findall(KIND_OF_LIST.sub("", cell))]
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
        If cells hold zeros and ones, one for each finding, or a value by the name of each.
    """
    if mapping := next((cell for cell in cells if BY_NAME.fullmatch(cell)), None):
        raise InputError(f"{mapping!r} holds a value for each of several names. Write a column of its own for each.")
    if any("|" in cell for cell in cells):
        return "|", True
    if vector := next((cell for cell in cells if VECTOR.fullmatch(cell)), None):
        raise InputError(f"{vector!r} holds zeros and ones of several findings. Write a column of its own for each.")
    written = [cell for cell in cells if WRITTEN_LIST.fullmatch(cell)]
    bare = [KIND_OF_LIST.sub("", cell) for cell in written]
    are_lists = any(len(split_list(cell, WRITTEN_OUT)) > 1 or "'" in cell or '"' in cell for cell in bare)
    if (written and len(written) == len(cells)) or (are_lists and all(map(SURELY_WRITTEN.fullmatch, bare))):
        return WRITTEN_OUT, True
    for sign in LIST_SIGNS[1:]:
        if (is_certain := _lists_by(sign, cells)) is not None:
            return sign, is_certain
    words = {plain(cell) for cell in cells}
    for sign in LOOSE_SIGNS:
        joined = [split_list(cell, sign) for cell in cells]
        if any(len(parts) > 1 and words.issuperset(map(plain, parts)) for parts in joined):
            return sign, False
    return "", False


def _lists_by(sign: str, cells: Sequence[str]) -> bool | None:
    """Return whether it is certain that cells list names by a sign: each that follows stands elsewhere too.

    None where nothing follows the sign, or where it is one that names have and none of its parts is a whole cell.
    """
    listed = list(dict.fromkeys(tuple(plain(part) for part in split_list(cell, sign)) for cell in cells))
    following = {(place, part) for place, parts in enumerate(listed) for part in parts[1:]}
    if sign in MILD_SIGNS and all(BARE.fullmatch(part) for _, part in following):
        # A score, such as Gleason's 3+4, or a ratio.
        return None
    stands_in = [set(parts) for parts in listed]
    is_certain = all(
        any(part in parts for other, parts in enumerate(stands_in) if other != place) for place, part in following
    )
    words = {plain(cell) for cell in cells}
    is_whole = any(part in words for parts in listed if len(parts) > 1 for part in parts)
    return is_certain if following and (sign not in MILD_SIGNS or is_certain or is_whole) else None


NOTHING_FOUND = (
    "normal", "healthy", "negative", "none", "no", "0", "false", "absent", "clear", "control", "background", "notumor",
    "well", "unremarkable", "within normal limits", "wnl", "nad", "normale", "normaal", "normalny", "норма", "gesund",
    "unauffällig", "o.b.", "o. b.", "sain", "saine", "sano", "sana", "sani", "gezond", "frisk", "zdrowy", "zdravý",
    "здоров", "sağlıklı", "saudável", "정상",
    "正常", "无异常", "未见异常", "健康", "阴性", "阴", "无", "否", "没有", "对照",
)  # fmt: skip
"""What a class without a finding is called in the label files of public data sets, and by hospitals."""
WITHOUT = (
    "no ", "无", "未见", "without ", "ohne ", "kein ", "keine ", "sans ", "sin ", "sem ", "senza ", "geen ", "ingen ",
    "bez ", "без ", "нет ",
)  # fmt: skip


def means_nothing_found(name: str) -> bool:
    """Return whether a class is called as one that says that nothing was found.

    >>> [means_nothing_found(name) for name in ("Normal", "no_tumor", "(1) No finding", "无结节", "nodule")]
    [True, True, True, True, False]
    """
    word = plain_name(without_code(name))
    return word in NOTHING_FOUND or word.startswith(WITHOUT) or word.endswith(("なし", "없음"))


BENIGN = frozenset(
    ["benign", "良性", "gutartig", "bénin", "bénigne", "benigno", "benigna", "benigne", "goedaardig", "godartad",
     "łagodny", "benigní", "nezhoubný", "доброкачественный", "iyi huylu"]
)  # fmt: skip


def means_benign(name: str) -> bool:
    """Return whether a class is called as one of lesions that are benign.

    >>> [means_benign(name) for name in ("Benign", "0 = benign", "良性", "normal")]
    [True, True, True, False]
    """
    return plain_name(without_code(name)) in BENIGN


def plain_name(name: str) -> str:
    """Return a name as it is compared with others: in small letters, with blanks between its words.

    >>> plain_name(" No_Finding")
    'no finding'
    """
    return name.strip().lower().replace("_", " ").replace("-", " ")
