"""What the rows of a label file are called: one normal form of ids, in which all commands compare patients.

Spreadsheets, databases and people write one id in many forms. Two ids are one in the normal form if they differ only in

- capitals; accents, and what stands for them (``Müller``, ``Mueller``, ``Muller``; ``Łukasz``, ``Lukasz``); composed
  and decomposed letters; full-width and other digits and letters; Cyrillic and Greek letters that look like Latin ones;
- blanks of any kind, invisible characters, quotes, a spreadsheet's ``="..."``, and signs at either end;
- the sign between two parts (any dash, ``_ / . , ^`` or a blank), or whether two parts are parted at all that are not
  both numbers;
- leading zeros of a number; ``.0`` behind it; thousands separators; scientific notation (``1.7E+01``);
- a word before a number that only says what it is (``patient 17``, ``sub-17``, ``ID no. 17``, ``#17``, ``第17号``);
- the way in which a day is written (``2021-05-03``, ``20210503``, ``3.5.2021``), and a time of midnight behind it;
- letters that were read in a wrong encoding (``MÃ¼ller``), or written for HTML (``M&uuml;ller``) or by Python
  (``b'17'``);
- the signs of a UUID.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from focusmap.basics import SHOWN, InputError, listed
from focusmap.study.paths import may_be_dicom, relative_path
from focusmap.study.study import Study
from focusmap.study.values import DOUBTFUL

HEADER_PATIENT = "PatientID of the DICOM header"
SPELLINGS = "same-patient-two-spellings"
LOOK_ALIKES = str.maketrans(
    "авеікмнорстухјѕԁһαβεζηικμνορτυχ",
    "abeikmhopctyxjsdhabezhikmnoptyx",
)
"""Cyrillic and Greek letters that look like Latin ones, small or capital."""
MARKED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ŋ": "n", "ŧ": "t"}
)
"""Letters with marks that are no accents to Unicode, as systems without them write them."""
LONG_WORD, UMLAUT = re.compile(r"[^\W\d_]{5,}"), re.compile(r"(?<=[aou])e+")
"""Letters in a row of which ``ae`` is taken for an ``ä``; fewer are a code."""
UUID = re.compile(r"(?:urn:uuid:)?\{?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\}?")
BYTES = re.compile(r"\s*b(['\"])(.*)\1\s*", re.DOTALL)
QUOTES = dict.fromkeys(map(ord, "'\"`´‘’‚‛“”„‟‹›«»′″「」『』"))
SAYS_WHAT = frozenset(
    [
        "patient", "patients", "patientid", "pat", "pt", "subject", "subjectid", "subj", "sub", "participant", "id",
        "pid", "mrn", "no", "nr", "num", "number", "person", "individual", "case", "fall", "proband", "paciente", "n",
        "patno", "patnr", "subjectno", "sujet", "dossier", "paziente", "pacjent", "potilas", "hasta", "пациент", "환자",
        "病人", "患者", "编号", "号", "病历号", "住院号", "门诊号", "第", "例", "病例", "號", "編號", "番号", "番",
        "번", "번호", "病歷號", "住院號", "患者さん", "患者番号", "症例", "症例番号", "被験者", "환자번호", "등록번호",
        "대상자",
    ]
)  # fmt: skip
SAYS_WHAT |= {word.translate(LOOK_ALIKES) for word in SAYS_WHAT}
NOBODY = frozenset(
    [
        "", "nan", "na", "nat", "null", "nil", "none", "unknown", "unk", "unspecified", "undefined", "missing",
        "notavailable", "notapplicable", "notknown", "notgiven", "nodata", "noid", "tbd", "tba", "anonymous",
        "anonymized", "anonymised", "anon", "deidentified", "removed", "redacted", "masked", "hidden", "withheld",
        "empty", "blank", "ref", "value", "name", "div0", "num", "error", "unbekannt", "inconnu", "desconocido",
        "unknownpatient", "anonymouspatient", "patientunknown", "unknownid", "idunknown", "nopatient", "deid",
        "private", "confidential", "undef", "void", "true", "false", "spill", "calc", "gettingdata", "keineangabe",
        "leer", "vide", "vacio", "sconosciuto", "inf", "infinity", "unassigned", "1qnan", "1ind", "未知", "不详",
        "不明", "缺失", "空", "无", "無", "没有", "匿名", "保密", "待定", "佚名", "未提供", "未填", "暂无", "缺",
        "未录入", "未登记", "未登録", "未登錄", "未入力", "空欄", "無記名", "不詳", "氏名不詳", "該当なし", "なし",
        "同上", "없음", "모름", "익명", "unbek", "ohneangabe", "unavailable", "nopatientid", "johndoe",
        "janedoe", "doejohn", "doejane", "无名氏", "неизвестно", "noname", "unkn", "unnamed", "keine", "ditto",
        "objectobject", "无名", "onbekend", "okand", "ukjent", "ukendt", "nieznany", "neznamy", "bilinmiyor",
        "tuntematon", "ismeretlen", "necunoscut", "αγνωστο", "brakdanych", "sinnombre", "sindatos",
        "desconhecido", "naoinformado", "nonrenseigne", "sansnom", "미상", "알수없음", "غيرمعروف",
        "tobeassigned", "pending", "seenote", "patient", "patientid", "subject", "subjectid", "participant", "id",
        *(word.replace(" ", "") for word in DOUBTFUL if " " in word),
    ]
)  # fmt: skip
NOBODY |= {word.translate(LOOK_ALIKES) for word in NOBODY}
NOBODY_BY_SIGNS = frozenset(["\\n", "n.b", "n/d", "n.d", "n/k", "n.k", "k.a", "k. a", "n.n", "n. n", "n.v.t", "s/d"])
"""What means nobody with its signs, and may be somebody's initials without."""
INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
GROUPED = re.compile(r"\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.0+)?|\d{1,3}(?:[. ]\d{3})+(?:,0+)?")
SCIENTIFIC = re.compile(r"(\d+)(?:[.,](\d+))?e(\+?)0*(\d{1,3})")
DAY = re.compile(
    r"(?:((?:19|20)\d\d)[-/._](\d{1,2})[-/._](\d{1,2})|(\d{1,2})([-/._])(\d{1,2})\5((?:19|20)\d\d))"
    r"(?:[ t]0?0:00(?::00)?(?:\.0+)?z?)?"
)
MONTHS = ("jan", "feb", "mar|mär|mrz", "apr", "may|mai", "jun", "jul", "aug", "sep", "oct|okt", "nov", "dec|dez")
DATED = re.compile(rf"(?:\d{{1,2}}[-. /]{{1,2}}(?:{'|'.join(MONTHS)})\.?|(?:{'|'.join(MONTHS)})[-. ]\d\d)")
"""A day without its year, or a month: what spreadsheets make of ids such as 3-1 and 1-1999."""
NAMED_DAY = re.compile(r"(\d{1,2})[-. /]+([^\W\d]{3})[^\W\d]*[-. ,/]+((?:19|20)\d\d)")
PARTS = re.compile(r"\d+|[^\W\d_]+|[^\w\s\-/\\^.,:;|·•()\[\]{}<>#№°º=?!*~]+")
USUAL = re.compile(r"([A-Za-z]*)0*([1-9][0-9]*)")
"""A word, perhaps, and a number: most ids, and quickly told."""
LONGEST_SURE = 5
"""Up to this power of ten numbers are not rounded by being written in scientific notation."""


def normal_id(text: str) -> str:
    """Return the normal form of an id.

    >>> [normal_id(text) for text in ("17", "17.0", "0017", "1.7E+01", "１７", ' "17"', "Patient #17")]
    ['17', '17', '17', '17', '17', '17', '17']
    >>> normal_id("P-017"), normal_id("p 17"), normal_id("2021_05"), normal_id("20215"), normal_id("3.5.2021")
    ('p17', 'p17', '2021-5', '20215', '20210503')
    """
    if usual := USUAL.fullmatch(text):
        word = usual[1].lower()
        return usual[2] if word in SAYS_WHAT else _without_umlauts(word + usual[2])
    plain = _plain(text).removeprefix("+")
    plain = "".join(uuid.groups()) if (uuid := UUID.fullmatch(plain)) else plain
    parts = PARTS.findall(_day(plain) or _number(plain) or re.sub(r"(?<=\d)[.,]0+$", "", plain))
    first = next((place for place, part in enumerate(parts) if part not in SAYS_WHAT), 0)
    if first and parts[first].isdigit():
        parts = parts[first:]
    if len(parts) == 2 and parts[1] in SAYS_WHAT and parts[0].isdigit():
        parts = parts[:1]
    joined = ""
    for part in parts:
        number = part.isdigit()
        joined += "-" if number and joined[-1:].isdigit() else ""
        joined += (part.lstrip("0") or "0") if number else part
    return _without_umlauts(joined) or plain


def _without_umlauts(text: str) -> str:
    """Return a text with ``a`` for ``ae`` in its words, as ``ä`` without its accent has it."""
    return LONG_WORD.sub(lambda word: UMLAUT.sub("", word[0]), text) if "e" in text else text


def names_nobody(text: str) -> bool:
    """Return whether a cell of a patient column is empty or says that the patient is not known.

    >>> [names_nobody(text) for text in ("", "nan", "N/A", "?", "-", "-1", "XXX", "0", "Nan Li", "7")]
    [True, True, True, True, True, True, True, False, False, False]
    """
    if USUAL.fullmatch(text):
        return False
    plain = _plain(text)
    letters = "".join(sign for sign in plain if sign.isalnum())
    is_word = (
        letters in NOBODY
        or re.sub(r"^(.+)\1$", r"\1", letters) in NOBODY
        or set(letters) == {"x"}
        or plain.strip("() .") in NOBODY_BY_SIGNS
    )
    return is_word or re.fullmatch(r"-\s*\d+(?:[.,]0+)?|err:\d+", plain) is not None


def of_nobody(patients: "pd.Series[str]") -> np.ndarray:
    """Return which cells of a patient column name nobody, ``(N,) bool``.

    A zero, or a row of nines, does where all other numbers have four digits or more, or a tenth of its size at most;
    and where all others have letters.
    """
    codes, ids = pd.factorize(patients)
    nobody = np.array([names_nobody(str(name)) for name in ids], dtype=bool)
    fillers = {name for name in ids if re.fullmatch(r"0+(?:\.0+)?|9{3,}(?:\.0+)?", str(name))}
    if fillers and len(fillers) < len(ids):
        numbers = {int(form) for name in ids if name not in fillers and (form := normal_id(str(name))).isdecimal()}
        for place, name in enumerate(ids):
            if name in fillers:
                value = int(float(name))
                nobody[place] |= not numbers or (min(numbers) >= 1000 if value == 0 else max(numbers) * 10 <= value)
    return np.asarray(nobody[codes], dtype=bool)


def refuse_nobody(patients: "pd.Series[str]", column: str, rows: np.ndarray | None = None) -> None:
    """Raise `InputError` where a patient is empty, named by a text that means nobody, or rounded by a spreadsheet.

    `rows` are the lines of the file; by default from 2 on.
    """
    lines = np.arange(2, len(patients) + 2) if rows is None else rows
    wrong = of_nobody(patients)
    if wrong.any():
        cells = patients.to_numpy(dtype=object)[wrong]
        texts = sorted({str(cell) for cell in cells} - {""})
        fact = (
            f"{column} is empty" if not texts else f"{column} names nobody ({listed(list(map(repr, texts)), 3, ', ')})"
        )
        remedy = "Fill it in, or name another column with --patient."
        if texts:
            remedy = f"Write who it is, take the rows out, or rename a patient who is called so. {remedy}"
        raise InputError(f"row {_listed(lines[wrong])}: {fact} in {wrong.sum()} of {len(patients)} rows. {remedy}")
    for is_lost, became in ((_is_rounded, "rounded"), (_is_dated, "turned into a date")):
        lost = patients.isin([name for name in patients.unique() if is_lost(str(name))]).to_numpy(dtype=bool)
        if lost.any():
            raise InputError(
                f"row {_listed(lines[lost])}: {column} {patients[lost].iloc[0]!r} was {became} by a spreadsheet, so "
                f"that different patients may be written alike ({lost.sum()} such cells). Format the column as text "
                "there, fetch the ids anew, and save it again."
            )


def spelled_twice(ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return each normal form that two or more of the ids have, with these ids in order.

    >>> spelled_twice(["17", "p3", "17.0", "17", "4"])
    {'17': ('17', '17.0')}
    """
    texts = ids if isinstance(ids, pd.Series) else pd.Series(list(ids), dtype=object)
    # A million forms would take ten times what their hashes do, and few stand twice.
    forms = pd.Series(np.fromiter((hash(normal_id(text)) for text in texts), np.int64, len(texts)))
    first: dict[str, str] = {}
    more: dict[str, set[str]] = {}
    for text in dict.fromkeys(texts[forms.duplicated(keep=False).to_numpy()]):
        form = normal_id(text)
        if first.setdefault(form, text) != text:
            more.setdefault(form, {first[form]}).add(text)
    return {form: tuple(sorted(texts)) for form, texts in more.items()}


def spelled_apart(known: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """Return the ids that are asked about and that only the normal form joins, with each other or with known ones.

    >>> spelled_apart(["17", "0017", "p4"], ["17.0", "P-4", "p5", "6"])
    ['0017 = 17 = 17.0', 'P-4 = p4']
    """
    own = set(theirs)
    groups = spelled_twice([*own, *known]).values()
    return sorted(" = ".join(group) for group in groups if own.intersection(group))


def _plain(text: str) -> str:
    """Return a text in small Latin letters and ASCII digits as far as it goes, without quotes and invisible signs."""
    text = html.unescape(text) if "&" in text else text
    text = written[2] if (written := BYTES.fullmatch(text)) else text
    if not text.isascii():
        text = well_read("".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip())
        apart = unicodedata.normalize("NFKD", text.casefold())
        whole = "".join(sign for sign in apart if not "\u0300" <= sign <= "\u036f")
        text = "".join(map(_simple, unicodedata.normalize("NFKC", whole)))
    text = text.casefold().translate(LOOK_ALIKES).translate(MARKED).translate(QUOTES)
    return " ".join("".join(sign for sign in text if sign.isprintable() or sign.isspace()).split()).lstrip("=").strip()


def well_read(text: str) -> str:
    """Return UTF-8 that was read as Latin-1, as it was meant; any other text as it is."""
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text


def _simple(sign: str) -> str:
    category = unicodedata.category(sign)
    if category == "Nd":
        return str(unicodedata.decimal(sign))
    if category == "Pd" or sign == "\N{MINUS SIGN}":
        return "-"
    return "" if category == "Cf" or sign in INVISIBLE or "\ufe00" <= sign <= "\ufe0f" else sign


def _day(plain: str) -> str:
    """Return a day as eight digits; an empty string for anything else, and where the day may be the month."""
    if named := NAMED_DAY.fullmatch(plain):
        month = next((n for n, names in enumerate(MONTHS, 1) if named[2] in names.split("|")), 0)
        return f"{named[3]}{month:02d}{int(named[1]):02d}" if month else ""
    match = DAY.fullmatch(plain)
    if match is None:
        return ""
    if match[1]:
        year, month, day = (int(part) for part in match.group(1, 2, 3))
    else:
        day, month, year = (int(part) for part in match.group(4, 6, 7))
        if match[5] != "." and day <= 12 and month <= 12 and day != month:
            return ""
        day, month = (month, day) if month > 12 else (day, month)
    return f"{year:04d}{month:02d}{day:02d}" if 1 <= month <= 12 and 1 <= day <= 31 else ""


def _number(plain: str) -> str:
    """Return the digits of a whole number with thousands separators or in scientific notation; else an empty string."""
    text = plain.removeprefix("+")
    if GROUPED.fullmatch(text) and not re.fullmatch(r"\d+\.0+", text):
        return re.sub(r"[^\d]", "", re.sub(r"(?:(?<=,\d{3})\.|(?<=[. ]\d{3}),)0+$", "", text))
    match = SCIENTIFIC.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return ""
    digits, power = (match[2] or "").rstrip("0"), int(match[4])
    return match[1] + digits.ljust(power, "0") if len(digits) <= power else ""


def _is_rounded(text: str) -> bool:
    match = None if USUAL.fullmatch(text) else SCIENTIFIC.fullmatch(_plain(text).removeprefix("+"))
    if match is None or not (match[2] or match[3]):
        return False
    return int(match[4]) > max(len(match[2] or ""), LONGEST_SURE - 1)


def _is_dated(text: str) -> bool:
    return DATED.fullmatch(text.strip().casefold()) is not None


def _listed(rows: np.ndarray) -> str:
    return listed([str(row) for row in rows], separator=", ")


def named_rows(study: Study, raw: pd.DataFrame) -> pd.DataFrame:
    """Return what each row is called: its line, and image, path, patient, case and view as far as there are columns."""
    table = pd.DataFrame({"row": np.arange(2, len(raw) + 2)})
    if study.path_column is not None:
        table["path"] = [
            relative_path(cell, row, case)
            for cell, row, case in zip(raw[study.path_column], table["row"], _cases(study, raw), strict=True)
        ]
    table.insert(1, "image_id", _image_ids(study, raw, table))
    table["patient_id"] = _patients(study, raw, table)
    for role, column in (("case_id", study.case_column), ("view", study.view_column)):
        if column is not None:
            table[role] = raw[column].str.strip()
    return table


def with_header_patients(study: Study, raw: pd.DataFrame) -> tuple[Study, pd.DataFrame]:
    """Return study and table with the patients of the DICOM headers, where no column and nobody else names them.

    They are taken where every image is a DICOM file whose header names somebody, and not all the same.
    """
    is_asked = study.patients == "undeclared" or study.patient_column == HEADER_PATIENT
    if not is_asked or study.path_column is None or HEADER_PATIENT in raw:
        return study, raw
    cells = raw[study.path_column].str.strip()
    if not all(map(may_be_dicom, map(str, cells.unique()))):
        return study, raw
    from focusmap.images import dicom_identity

    owner_of = {cell: dicom_identity(study.images / cell).patient_id for cell in map(str, cells.unique())}
    if any(map(names_nobody, owner_of.values())) or len(set(owner_of.values())) < 2:
        return study, raw
    notes = (*study.notes, f"no column names the patients; the headers do ({len(set(owner_of.values()))} patients)")
    taken = replace(study, patient_column=HEADER_PATIENT, patients="column", notes=tuple(dict.fromkeys(notes)))
    return taken, raw.assign(**{HEADER_PATIENT: cells.map(owner_of)})


def refuse_repeats(table: pd.DataFrame, names: Sequence[str]) -> None:
    """One image stands in one row; twice with different labels is a contradiction."""
    for key in ("path", "image_id"):
        if key not in table or not table[key].duplicated().any():
            continue
        repeated = table[table[key].duplicated(keep=False)]
        name, rows = next(iter(repeated.groupby(key, sort=False)))
        lines = " and ".join(str(row) for row in rows["row"][:SHOWN])
        if names and len(rows[list(names)].drop_duplicates()) > 1:
            labels = " against ".join(rows[list(names)].drop_duplicates().agg(", ".join, axis=1)[:2])
            raise InputError(f"rows {lines}: the labels of {name} contradict each other ({labels}). Keep one row.")
        n_more = repeated[key].nunique() - 1
        more = f" ({n_more} more {key}s repeat)" if n_more else ""
        raise InputError(f"rows {lines}: duplicate {key} {name!r}{more}. Keep one row per image.")


def _image_ids(study: Study, raw: pd.DataFrame, table: pd.DataFrame) -> "pd.Series[str]":
    # Of a study without images each row is a case.
    column = study.id_column or (study.case_column if study.path_column is None else None)
    if column is not None:
        ids = raw[column].str.strip()
        if (ids == "").any():
            raise InputError(f"row {int(np.flatnonzero(ids == '')[0]) + 2}: {column} is empty.")
        return ids.reset_index(drop=True)
    if study.path_column is not None:
        return table["path"]
    return "row" + table["row"].astype(str)


def _cases(study: Study, raw: pd.DataFrame) -> "pd.Series[str]":
    return raw[study.case_column].str.strip() if study.case_column else pd.Series([""] * len(raw), dtype=str)


def _patients(study: Study, raw: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    if study.patient_column is None:
        # Where nobody says who the patients are, what belongs to one case still belongs to one of them.
        cases = _cases(study, raw).reset_index(drop=True)
        return cases.where(cases != "", table["image_id"])
    patients = raw[study.patient_column].str.strip()
    refuse_nobody(patients, study.patient_column)
    return patients.map({name: normal_id(name) for name in patients.unique()}) if study.same_patient else patients
