"""Labels that the origin of an image gives away, and patients hidden in neighbouring rows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from focusmap.audit import association, findings, table
from focusmap.audit.images import Images
from focusmap.audit.near import BLOCK, CORRELATION, unit_rows
from focusmap.basics import Reason
from focusmap.study import Cohort

GIVEN_AWAY = 0.9
MIN_IMAGES = 10
N_FOLDS = 5
SOURCE_COLUMNS = (
    "site", "hospital", "institution", "centre", "center", "source", "dataset", "scanner", "manufacturer", "device",
)  # fmt: skip
CLASS_WORDS = frozenset(
    [
        "normal", "abnormal", "healthy", "sick", "disease", "diseased", "control", "controls", "case", "cases",
        "positive", "negative", "pos", "neg", "benign", "malignant", "cancer", "tumor", "tumour", "lesion",
        "yes", "no", "true", "false",
    ]
)  # fmt: skip

CLOSE_SHARE = 0.2
RANDOM_PAIRS = 20_000
MIN_NEIGHBOURS = 30
LIKE, MAX_ASKED = 0.85, 4000


@dataclass(frozen=True)
class Source:
    """One fact on where an image comes from: what it is called, and its value for each image ("" unknown)."""

    what: str
    values: tuple[str, ...]


def source_findings(cohort: Cohort, images: Images | None) -> list[findings.Finding]:
    """Return the finding on labels that where an image comes from, and nothing in it, almost wholly predicts.

    Folders, sizes, pixel types, file formats and columns such as site are taken one at a time. Each value's share of
    positives among the patients of four fifths predicts the label of the last fifth; an AUROC of 0.9 or more on at
    least ten images with and ten without the label blocks. Folders that are named after the classes do not count.
    """
    names, held = table.label_columns(cohort)
    folds = _patient_folds(cohort)
    given_away: list[str] = []
    for source in _sources(cohort, images):
        codes = _pool_rare(source.values)
        for label, truth in zip(names, held.T, strict=True):
            auroc = _held_out_auroc(codes, truth, folds)
            if auroc >= GIVEN_AWAY:
                given_away.append(_predicts(source, label, truth, auroc))
    if not given_away:
        return []
    return [findings.finding("source-shortcut", Reason("sources-tell", sources=tuple(given_away)), given_away)]


def hidden_group_findings(cohort: Cohort, images: Images) -> list[findings.Finding]:
    """Return the finding on images that look like slices of one patient though they are not declared so.

    They are neighbours in the table or, since tables are shuffled, in the order of the numbers in their names. Those of
    one class and of two patients are compared with random pairs of the same kind, by the correlation of thumbnails less
    their common mean. By chance 5 % of the neighbours would be nearer than 95 % of random pairs. Where neither order
    says anything, it is what many images are like: another one of another patient, though no near-duplicate.
    """
    unit = unit_rows(images.thumbnails.reshape(len(images.thumbnails), -1).astype(np.float32))
    rest = unit_rows(unit - unit.mean(axis=0))
    rng = np.random.default_rng(0)
    far = _similarity(cohort, images, rest, rng.integers(0, len(cohort), (2, RANDOM_PAIRS)))
    if len(far) < MIN_NEIGHBOURS:
        return []
    limit, share, code, closest = float(np.quantile(far, 0.95)), 0.0, "", np.empty(0)
    for order_code, order in _sequences(cohort).items():
        near = _similarity(cohort, images, rest, np.stack([order[:-1], order[1:]]))
        if len(near) >= MIN_NEIGHBOURS and float((near > limit).mean()) > share:
            share, code, closest = float((near > limit).mean()), order_code, near
    owners = table.said_unit("patient" if cohort.study.patients == "column" else "image")
    if share >= CLOSE_SHARE:
        medians = {"near": f"{np.median(closest):.2f}", "far": f"{np.median(far):.2f}"}
        fact = Reason(code, share=f"{share:.0%}", unit=owners, **medians)
        return [_may_be_slices(fact, int((closest > limit).sum()))]
    n_like, n_seen = _with_a_like(cohort, images, unit, rest)
    if n_seen < MIN_NEIGHBOURS or n_like < CLOSE_SHARE * n_seen:
        return []
    return [_may_be_slices(Reason("others-alike", share=f"{n_like / n_seen:.0%}", unit=owners), n_like)]


def _may_be_slices(fact: Reason, n_images: int) -> findings.Finding:
    return findings.finding("hidden-groups", (fact, Reason("may-be-slices")), count=n_images)


def _with_a_like(cohort: Cohort, images: Images, unit: np.ndarray, rest: np.ndarray) -> tuple[int, int]:
    """Return how many images have another that is `LIKE` them, of another patient and no near-duplicate; of how many.

    Where there are many images, some of them are held against all.
    """
    readable = np.flatnonzero(images.readable & (np.abs(unit).max(axis=1) > 0))
    sampled = np.random.default_rng(0).permutation(readable)[:MAX_ASKED]
    patients = cohort.patient_codes
    n_like = 0
    for start in range(0, len(sampled), BLOCK):
        rows = sampled[start : start + BLOCK]
        a, b = np.nonzero(rest[rows] @ rest[readable].T > LIKE)
        a, b = rows[a], readable[b]
        apart = (patients[a] != patients[b]) & (np.einsum("ij,ij->i", unit[a], unit[b]) <= CORRELATION)
        n_like += len(set(a[apart]))
    return n_like, len(sampled)


def _sequences(cohort: Cohort) -> dict[str, np.ndarray]:
    """Return in which orders images may follow each other: the table's, and that of the numbers in their names.

    By the code of what is said where neighbours are alike.
    """
    rows = np.arange(len(cohort))
    names = [re.split(r"(\d+)", str(path)) for path in cohort.table["path"]]
    keys = [[int(part) if part.isdecimal() else part for part in parts] for parts in names]
    by_name = np.array(sorted(rows, key=lambda row: keys[row]), dtype=int)
    orders = {"rows-alike": rows}
    return orders if np.array_equal(by_name, rows) else {**orders, "names-alike": by_name}


def _similarity(cohort: Cohort, images: Images, rest: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the correlations of those pairs that are readable, of one class and of two patients."""
    a, b = pairs
    labels = np.nan_to_num(cohort.task.decided(cohort.truth), nan=-1.0)
    patients, readable = cohort.patient_ids, images.readable
    kept = readable[a] & readable[b] & (patients[a] != patients[b]) & (labels[a] == labels[b]).all(axis=1)
    return np.asarray(np.einsum("ij,ij->i", rest[a[kept]], rest[b[kept]]))


def _sources(cohort: Cohort, images: Images | None) -> list[Source]:
    cells = association.column_cells(cohort)
    sources = [Source(name, tuple(cells[name])) for name in cells if name.lower() in SOURCE_COLUMNS]
    if images is None:
        return sources
    looks = images.looks
    sizes = tuple(" x ".join(map(str, look.size)) for look in looks)
    facts = [
        Source("image size", sizes),
        Source("pixel type", tuple(look.mode for look in looks)),
        Source("file format", images.formats),
    ]
    return [*sources, *_folders(cohort), *facts]


def _folders(cohort: Cohort) -> list[Source]:
    """Return each level of folders as a source, less those that are named after classes."""
    folders = [PurePosixPath(path).parts[:-1] for path in cohort.table["path"]]
    depth = max(map(len, folders), default=0)
    levels = [tuple(parts[level] if level < len(parts) else "" for parts in folders) for level in range(depth)]
    words = _class_words(cohort)
    return [Source("folder", level) for level in levels if not _named_after_classes(level, words)]


def _class_words(cohort: Cohort) -> frozenset[str]:
    own = [name for target in cohort.task.targets for name in (target.name, *target.classes)]
    return CLASS_WORDS | {_plain(name) for name in own}


def _named_after_classes(level: Sequence[str], words: frozenset[str]) -> bool:
    """Return True if at least half of the folders are called as a class is, numbers and "no" in front aside."""
    names = {_plain(name) for name in level if name}
    named = [name for name in names if not name or name in words or re.sub("^(no|non|not)", "", name) in words]
    return 2 * len(named) >= len(names)


def _plain(name: str) -> str:
    return re.sub(r"[\W\d_]+", "", name.lower())


def _pool_rare(values: Sequence[str]) -> np.ndarray:
    """Return level numbers ``(N,)``; values of fewer than ten images share one."""
    levels, codes, counts = np.unique(np.asarray(values, dtype=str), return_inverse=True, return_counts=True)
    return np.where(counts[codes] >= MIN_IMAGES, codes, len(levels))


def _patient_folds(cohort: Cohort) -> np.ndarray:
    n_patients = int(cohort.patient_codes.max()) + 1
    return np.asarray(np.random.default_rng(0).permutation(n_patients)[cohort.patient_codes] % N_FOLDS)


def _held_out_auroc(codes: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> float:
    """Return the AUROC with which the level predicts the label of patients it was not counted on; 0.5 if too few."""
    known = ~np.isnan(truth)
    codes, truth, folds = np.unique(codes[known], return_inverse=True)[1], truth[known], folds[known]
    n_levels = int(codes.max(initial=-1)) + 1
    if min(truth.sum(), (1 - truth).sum()) < MIN_IMAGES or n_levels < 2:
        return 0.5
    score = np.zeros(len(truth))
    for fold in range(N_FOLDS):
        learnt = folds != fold
        n = np.bincount(codes[learnt], minlength=n_levels)
        n_positive = np.bincount(codes[learnt], weights=truth[learnt], minlength=n_levels)
        score[~learnt] = ((n_positive + truth.mean()) / (n + 1))[codes[~learnt]]
    _, ranks = np.unique(score, return_inverse=True)
    counts = [np.bincount(ranks[truth == side], minlength=ranks.max() + 1)[None].astype(float) for side in (1, 0)]
    return float(association.auroc_of_counts(*counts)[0])


def _predicts(source: Source, label: str, truth: np.ndarray, auroc: float) -> Reason:
    """Return in words that a source predicts a label, with its commonest value with and without the label."""
    (with_it, value), (without, other) = (_commonest(source, truth == side) for side in (1, 0))
    facts = {"source": source.what, "label": label, "auroc": f"{auroc:.3f}"}
    return Reason("source-predicts", **facts, with_it=with_it, value=value, without=without, other=other)


def _commonest(source: Source, held: np.ndarray) -> tuple[str, str]:
    """Return the commonest value of some images, after its share."""
    levels, counts = np.unique(np.asarray(source.values, dtype=str)[held], return_counts=True)
    return f"{counts.max() / held.sum():.0%}", str(levels[counts.argmax()]) or "none"
