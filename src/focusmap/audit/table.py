"""What the table alone tells: counts, gaps, rare labels, patients in two parts, values that can hardly be meant.

Such values are an age of -3, a length far from all others, a code that stands once.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from focusmap.audit.findings import Finding, finding, listed_values
from focusmap.basics import Json, Reason
from focusmap.study import Cohort, Split, Target, constant_targets, fold_split, patient_columns
from focusmap.study.ids import SPELLINGS, names_nobody, spelled_twice
from focusmap.study.measurements import numbers_in
from focusmap.study.values import no_number, says

OLDEST = 120
FAR = 10.0
MIN_ROWS_FOR_CODES = 50
FILLS = 4
MAX_CODES = 12


def implausible_values(cohort: Cohort) -> list[Finding]:
    """Return the finding on cells of the label file that can hardly be meant."""
    study = cohort.study
    ids = {study.path_column, study.id_column, study.patient_column, study.case_column, study.block_column}
    odd = [
        f"row {row}: {name} {cell}"
        for name in cohort.cells
        if name not in ids
        for row, cell in _odd_cells(str(name), cohort.cells[name], cohort.table["row"])
    ]
    if not odd:
        return []
    return [finding("implausible-value", Reason("values-to-look-at", n=len(odd), shown=listed_values(odd, 5)), odd)]


def _odd_cells(name: str, cells: pd.Series, rows: pd.Series) -> list[tuple[int, str]]:
    filled = cells.str.strip()
    values = pd.Series(numbers_in(filled), index=filled.index)
    n_filled = int((filled != "").sum())
    if n_filled == 0 or values.notna().sum() < 0.9 * n_filled:
        return []
    unknown = filled.isin([text for text in map(str, filled.unique()) if no_number(text) or says(text) is not None])
    odd = (values.isna() & ~unknown) | _outside(name, values) | _lonely_code(values) | _filler(values)
    return [(int(row), cell) for row, cell in zip(rows[odd], filled[odd], strict=True)]


def _outside(name: str, values: pd.Series) -> pd.Series:
    """Return which numbers cannot be an age, or lie ten quartile distances outside the quartiles."""
    if re.search(r"(^|_|\b)age(\b|_|$)", name.lower()):
        return (values < 0) | (values > OLDEST)
    low, high = values.quantile(0.25), values.quantile(0.75)
    reach = FAR * (high - low)
    return (values < low - reach) | (values > high + reach) if reach > 0 else pd.Series(False, index=values.index)


def _filler(values: pd.Series) -> pd.Series:
    """Return which numbers are -9, -99, ... below nothing but others from 0, or 99, 999, ... far above all others."""
    is_filler = pd.Series(False, index=values.index)
    for code in (value for value in values.dropna().unique() if re.fullmatch(r"-9+|99+", f"{value:.0f}")):
        rest = values[values != code].dropna()
        if len(rest) and (rest.min() >= 0 if code < 0 else rest.max() * FILLS <= code):
            is_filler |= values == code
    return is_filler


def _lonely_code(values: pd.Series) -> pd.Series:
    """Return which number stands once, far from the others, in a column of a few whole-number codes."""
    known = values.dropna()
    counts = known.value_counts()
    few = len(known) >= MIN_ROWS_FOR_CODES and 2 < len(counts) <= MAX_CODES and (known == known.round()).all()
    if not few:
        return pd.Series(False, index=values.index)
    common = counts[counts > 1].index
    far = (values > common.max() + 1) | (values < common.min() - 1)
    lonely: pd.Series = far & values.isin(counts[counts == 1].index)
    return lonely


MIN_TRAIN, MIN_TEST = 30, 10
"""Examples of each side of a label: patients where they are known, since two slices of one patient tell little more
than one."""
EXPECTED_SHARES = {"train": 0.7, "test": 0.15}
RARE_SHARE = 0.05


def table_overview(cohort: Cohort) -> dict[str, Json]:
    """Return counts of images, patients, columns, labels and pairs of labels."""
    of_each = cohort.table["patient_id"].value_counts()
    images_per_patient = of_each.value_counts()
    names, held = label_columns(cohort)
    known = np.nan_to_num(held)
    return {
        "n_images": len(cohort),
        "n_patients": len(of_each),
        "images_per_patient": {str(n): int(images_per_patient[n]) for n in sorted(images_per_patient.index)},
        "columns": [_describe_column(str(name), cohort.raw[name]) for name in cohort.raw],
        "targets": {target.name: _describe_target(cohort, target) for target in cohort.task.targets},
        "cooccurrence": {"names": list(names), "matrix": (known.T @ known).astype(int).tolist()},
    }


def label_columns(cohort: Cohort) -> tuple[list[str], np.ndarray]:
    """Return the names of all yes-or-no labels and ``(N, L)``: 1, 0 or NaN; continuous targets have none."""
    truth = (cohort.task.label_truth(cohort.truth) >= 0.5).astype(np.float64)
    truth[np.isnan(cohort.task.label_truth(cohort.truth))] = np.nan
    kept = [
        (name, cohort.task.slice_of(target.name).start + i)
        for target in cohort.task.targets
        if not target.is_number
        for i, name in enumerate(target.label_names)
    ]
    return [name for name, _ in kept], truth[:, [column for _, column in kept]]


def table_findings(cohort: Cohort, split: Split | None) -> list[Finding]:
    """Return everything that the table, and the split where there is one, give away without a look at images."""
    findings = [
        *_patient_column(cohort),
        *_spellings(cohort),
        *_missing(cohort),
        *_labels(cohort, split),
        *implausible_values(cohort),
    ]
    return findings + (patients_across(cohort, split) if split is not None else [])


def patients_across(cohort: Cohort, split: Split) -> list[Finding]:
    """Return the finding on patients whose images stand in two parts or more."""
    if cohort.study.patients != "column":
        return []
    held: dict[str, set[str]] = {}
    for patient, part in zip(cohort.patient_ids, split.of(cohort.image_ids), strict=True):
        if part:
            held.setdefault(str(patient), set()).add(part)
    straddling = sorted(patient for patient, parts in held.items() if len(parts) > 1)
    if not straddling:
        return []
    pairs = count_pairs([held[patient] for patient in straddling])
    return [
        finding("patient-across-splits", Reason("patients-straddle", where=say_pairs(pairs, "patients-in")), straddling)
    ]


def count_pairs(sets: Sequence[set[str]]) -> Counter[tuple[str, str]]:
    """Return in how many of the sets each pair of parts stands together."""
    return Counter(pair for parts in sets for pair in combinations(sorted(parts, key=part_order), 2))


def say_pairs(pairs: Mapping[tuple[str, str], int], code: str) -> tuple[str, ...]:
    """Return the pairs as reasons of a code.

    >>> say_pairs({("train", "tune"): 15, ("train", "test"): 1}, "patients-in")
    ('15 patients in train and tune', '1 patient in train and test')
    """
    ordered = sorted(pairs.items(), key=lambda item: [part_order(part) for part in item[0]])
    return tuple(Reason(code, n=n, a=_part(a), b=_part(b)) for (a, b), n in ordered)


def part_order(part: str) -> tuple[int, int, str]:
    """Return a sort key: train, tune, test, then folds by number."""
    names = ("train", "tune", "test")
    return (names.index(part) if part in names else len(names), int(part) if part.isdecimal() else 0, part)


def _part(part: str) -> str:
    return Reason("in-fold", n=int(part)) if part.isdecimal() else part


def _describe_column(name: str, cells: pd.Series) -> dict[str, Json]:
    filled = cells[cells.str.strip() != ""]
    distinct = filled.drop_duplicates()
    kind = "empty" if filled.empty else "number" if not np.isnan(numbers_in(distinct)).any() else "text"
    return {"name": name, "type": kind, "n_missing": len(cells) - len(filled), "n_distinct": len(distinct)}


def _describe_target(cohort: Cohort, target: Target) -> dict[str, Json]:
    values = cohort.truth[:, cohort.task.index(target.name)]
    known = values[~np.isnan(values)]
    described: dict[str, Json] = {"kind": target.kind, "n_unknown": int(np.isnan(values).sum())}
    if target.is_number:
        spread = {"min": known.min(), "median": np.median(known), "max": known.max()} if len(known) else {}
        return described | {"counts": {}, "spread": {key: float(value) for key, value in spread.items()}}
    index = (known >= 0.5).astype(int) if target.kind == "binary" else known.astype(int)
    counts = np.bincount(index, minlength=len(target.classes))
    if target.kind == "binary" and (n_soft := int((known % 1 != 0).sum())):
        described["n_soft"] = n_soft
    return described | {"counts": {name: int(n) for name, n in zip(target.classes, counts, strict=True)}}


def _patient_column(cohort: Cohort) -> list[Finding]:
    if cohort.study.patients == "column":
        return []
    case = cohort.study.case_column
    unit = said_unit(cohort.unit if case is None else "case")
    if cohort.study.patients == "none":
        sentences = [Reason("every-row-its-own", unit=unit)]
    elif cohort.study.block_column is not None:
        sentences = [Reason("blocks-for-patients", column=cohort.study.block_column)]
    else:
        # Whatever model learns from them, the images of a case stay together only where they share a patient.
        code = "no-patients-of-images" if unit == "image" else "no-patients"
        sentences = [Reason(code, unit=unit, own="none" if case is None else case), *_named_but_not_taken(cohort)]
    return [finding("no-patient-column", sentences, count=len(cohort))]


UNITS = {"image": "unit-image", "case": "unit-case", "patient": "unit-patient"}


def said_unit(unit: str) -> Reason:
    """Return ``image``, ``case`` or ``patient`` as pages say it in their own language."""
    return Reason(UNITS[unit])


def _named_but_not_taken(cohort: Cohort) -> Iterator[Reason]:
    """Yield what is to be known of columns that are called as ones that name patients."""
    for name in patient_columns(cohort.raw):
        is_empty = all(map(names_nobody, cohort.raw[name].unique()))
        yield Reason("column-names-nobody", name=name) if is_empty else Reason("column-may-say-it", name=name)


def _spellings(cohort: Cohort) -> list[Finding]:
    """Return the finding on patients whose ids differ only in how they are written."""
    # Where no column names the patients, cases do.
    column = cohort.study.patient_column if cohort.study.patients == "column" else cohort.study.case_column
    if column is None:
        return []
    ids = cohort.table["patient_id" if cohort.study.patients == "column" else "case_id"].astype(str)
    twice = [" = ".join(forms) for forms in spelled_twice(ids[ids != ""].drop_duplicates()).values()]
    return [same_patient(twice, Reason("in-column", name=str(column)))] if twice else []


def same_patient(twice: Sequence[str], where: str) -> Finding:
    """Return the finding on ids, each with its other spellings, that are one in their normal form only."""
    fact = Reason("written-in-two-ways", n=len(twice), where=where, ids=listed_values(twice, 5))
    return finding(SPELLINGS, fact, twice)


def _missing(cohort: Cohort) -> list[Finding]:
    labels = {*cohort.task.names, cohort.study.list_column, cohort.study.split_column, cohort.study.mask_column}
    columns = [name for name in cohort.raw if name not in labels and not str(name).startswith("mask_")]
    n_empty = {str(name): int((cohort.raw[name].str.strip() == "").sum()) for name in columns}
    gaps = tuple(Reason("empty-cells", name=name, n=n, all=len(cohort)) for name, n in n_empty.items() if n)
    return [finding("missing-values", Reason("columns-with-gaps", n=len(gaps), gaps=gaps), gaps)] if gaps else []


def _labels(cohort: Cohort, split: Split | None) -> list[Finding]:
    names, held = label_columns(cohort)
    n_unknown = np.isnan(cohort.truth).sum(axis=0)
    unit, counts = said_unit(cohort.unit), zip(cohort.task.names, n_unknown, strict=True)
    unknown = tuple(Reason("unknown-of", name=name, n=int(n), unit=unit) for name, n in counts if n)
    n_known, n_positive = (~np.isnan(held)).sum(axis=0), np.nansum(held, axis=0)
    rare = tuple(
        Reason("positive-of", name=name, n=int(n), all=int(known))
        for name, n, known in zip(names, n_positive, n_known, strict=True)
        if n < RARE_SHARE * known
    )
    findings = []
    if unknown:
        findings.append(finding("unknown-labels", Reason("not-every-label", unit=unit, labels=unknown), unknown))
    if rare:
        fact = Reason("rare-labels", n=len(rare), share=f"{RARE_SHARE:.0%}", unit=unit, labels=rare)
        findings.append(finding("rare-label", fact, rare))
    return [*findings, *_constant(cohort), *_too_few(cohort, split)]


def _constant(cohort: Cohort) -> list[Finding]:
    constant = tuple(Reason("always-is", name=k, value=repr(value)) for k, value in constant_targets(cohort).items())
    if not constant:
        return []
    advice = Reason("nothing-to-learn" if len(constant) == len(cohort.task.names) else "leave-it-out")
    return [finding("constant-label", (Reason("one-value", labels=constant), advice), constant)]


def _too_few(cohort: Cohort, split: Split | None) -> list[Finding]:
    short: list[str] = []
    labels, (unit, owners) = set(), _examples(cohort)
    code = "about-in-parts" if split is None else "in-parts"
    for label, side, n_train, n_test in _label_counts(cohort, owners, split):
        if n_train < MIN_TRAIN or n_test < MIN_TEST:
            labels.add(label)
            short.append(Reason(code, label=f"{label}{side}", train=int(n_train), test=int(n_test)))
    if not short:
        return []
    folded = split is not None and split.n_folds > 0
    fact = Reason("too-few-of", train=MIN_TRAIN, test=MIN_TEST, unit=said_unit(unit), labels=tuple(short))
    sentences = [fact] if folded else [fact, Reason("use-folds", unit=said_unit(unit))]
    return [replace(finding("too-few-positives", sentences, short, len(labels)), is_heeded=folded)]


def _examples(cohort: Cohort) -> tuple[str, np.ndarray]:
    """Return what one example is, a patient, a case of views or an image, and ``(N,)`` the number of each image's."""
    if cohort.study.patients == "column":
        return "patient", cohort.patient_codes
    if cohort.study.case_column is not None and cohort.study.view_column is not None:
        return "case", pd.factorize(cohort.table["case_id"])[0]
    return cohort.unit, np.arange(len(cohort))


def _label_counts(cohort: Cohort, owners: np.ndarray, split: Split | None) -> Iterator[tuple[str, str, int, int]]:
    """Yield each label and side with its number of owners in train and in test, as they are or as they would be."""
    parts = None if split is None else np.array(split.of(cohort.image_ids), dtype=object)
    folds = () if split is None else [fold_split(split, k) for k in range(split.n_folds)]
    trained = [np.array(fold.of(cohort.image_ids), dtype=object) == "train" for fold in folds]

    def count(held: np.ndarray) -> int:
        return int(np.unique(owners[held]).size)

    for name, side, values in _sides(cohort):
        if parts is None:
            n_train, n_test = (round(share * count(values)) for share in EXPECTED_SHARES.values())
        elif split is not None and split.n_folds:
            # Every fold is tested once; a model trains on what the others leave, on average.
            n_test = count(values & (parts != ""))
            n_train = sum(count(values & trains) for trains in trained) // split.n_folds
        else:
            n_train, n_test = (count(values & (parts == part)) for part in EXPECTED_SHARES)
        yield name, side, n_train, n_test


def _sides(cohort: Cohort) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield each class, "" and ``(N,) bool``; of a binary target both sides, since both are needed.

    A target with one value throughout is left out: it has a finding of its own, and more folds do not help it.
    """
    constant = constant_targets(cohort)
    for position, target in enumerate(cohort.task.targets):
        values = cohort.truth[:, position]
        if target.name in constant:
            continue
        if target.kind == "binary":
            yield target.name, "", values >= 0.5
            yield target.name, " (without)", values < 0.5
        elif not target.is_number:
            for index, name in enumerate(target.label_names):
                yield name, "", values == index
