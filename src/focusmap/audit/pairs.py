"""Findings on duplicate images: across patients, classes and the parts of a split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from focusmap.audit.duplicates import NearPair, exact_groups, near_pairs
from focusmap.audit.findings import Finding, finding, plural
from focusmap.audit.images import Images
from focusmap.audit.table import count_pairs, say_pairs
from focusmap.files import Json
from focusmap.study.cohort import Cohort
from focusmap.study.split import Split

MAX_LISTED = 1000


@dataclass(frozen=True)
class Duplicates:
    """Exact groups and near pairs of a cohort's images, by position; a near pair is never also exact."""

    exact: tuple[tuple[int, ...], ...]
    near: tuple[NearPair, ...]


def find_duplicates(images: Images) -> Duplicates:
    """Return the duplicates among images."""
    digests = [look.digest for look in images.looks]
    near = near_pairs(images.thumbnails, images.readable)
    exact = tuple(tuple(group) for group in exact_groups(digests))
    return Duplicates(exact, tuple(pair for pair in near if digests[pair.a] != digests[pair.b]))


def duplicate_findings(cohort: Cohort, duplicates: Duplicates, split: Split | None) -> list[Finding]:
    """Return the findings on exact and near duplicates."""
    return [*_exact(cohort, duplicates, split), *_near(cohort, duplicates.near, split)]


def describe_duplicates(cohort: Cohort, duplicates: Duplicates, split: Split | None) -> dict[str, Json]:
    """Return the duplicates for `audit.json`, the nearest thousand pairs at most."""
    ids = cohort.image_ids
    exact: list[Json] = [[ids[position] for position in group] for group in duplicates.exact]
    near: list[Json] = [
        {
            "a": ids[pair.a],
            "b": ids[pair.b],
            "correlation": round(pair.correlation, 4),
            "same_patient": bool(cohort.patient_ids[pair.a] == cohort.patient_ids[pair.b]),
            "same_class": _same_class(cohort, pair),
            "same_split": None if split is None else len(_parts(cohort, split, (pair.a, pair.b))) < 2,
        }
        for pair in duplicates.near[:MAX_LISTED]
    ]
    return {"exact": exact[:MAX_LISTED], "near": near, "n_exact": len(exact), "n_near": len(duplicates.near)}


def _exact(cohort: Cohort, duplicates: Duplicates, split: Split | None) -> list[Finding]:
    if not duplicates.exact:
        return []
    ids = cohort.image_ids
    names = [" = ".join(ids[position] for position in group) for group in duplicates.exact]
    n_copies = sum(len(group) - 1 for group in duplicates.exact)
    message = f"{plural(len(names), 'image')} more than once, pixel for pixel ({n_copies} to spare)."
    found = [finding("exact-duplicates", message, names)]
    if split is None:
        return found
    parts = [_parts(cohort, split, group) for group in duplicates.exact]
    across = [name for name, held in zip(names, parts, strict=True) if len(held) > 1]
    if across:
        counted = say_pairs(count_pairs(parts), "image")
        text = f"{counted}, pixel for pixel: {'; '.join(across[:3])}. Remove the copies from one part."
        found.append(finding("duplicate-across-splits", text, across))
    return found


def _near(cohort: Cohort, near: Sequence[NearPair], split: Split | None) -> list[Finding]:
    if not near:
        return []
    across_patients = [pair for pair in near if cohort.patient_ids[pair.a] != cohort.patient_ids[pair.b]]
    of_patients = f", {len(across_patients):,} of them of different patients" if _has_patients(cohort) else ""
    unlike = [pair for pair in near if not _same_class(cohort, pair)]
    classes = [pair for pair in unlike if not _is_of_one(cohort, pair)]
    message = f"{plural(len(near), 'pair')} of images that are nearly the same{of_patients}."
    if n_expected := len(unlike) - len(classes):
        # Neighbouring slices and follow-ups: the edge of a lesion, or its course.
        message += f" {n_expected:,} of them, each of one patient or case, have different labels."
    alike = finding("near-duplicates", message, _say(cohort, near), len(near))
    # Images of one patient are expected to be alike.
    found = [alike if across_patients else replace(alike, severity="note", is_heeded=True)]
    if classes:
        text = f"{plural(len(classes), 'pair')} of nearly equal images with different labels. One label may be wrong."
        found.append(finding("near-duplicates-across-classes", text, _say(cohort, classes), len(classes)))
    if split is None:
        return found
    parts = [_parts(cohort, split, (pair.a, pair.b)) for pair in across_patients]
    across = [pair for pair, held in zip(across_patients, parts, strict=True) if len(held) > 1]
    if across:
        text = f"{say_pairs(count_pairs(parts), 'pair')} of nearly equal images. What is learnt from one answers both."
        found.append(finding("near-duplicates-across-splits", text, _say(cohort, across), len(across)))
    return found


def _has_patients(cohort: Cohort) -> bool:
    return cohort.study.patients == "column"


def _parts(cohort: Cohort, split: Split, positions: Sequence[int]) -> set[str]:
    return {part for part in split.of([cohort.image_ids[position] for position in positions]) if part}


def _same_class(cohort: Cohort, pair: NearPair) -> bool:
    a, b = cohort.task.decided(cohort.truth[[pair.a, pair.b]])
    return bool(np.all((a == b) | np.isnan(a) | np.isnan(b)))


def _is_of_one(cohort: Cohort, pair: NearPair) -> bool:
    """Return whether both images are of one patient or of one case; an empty cell names no case."""
    owners = [cohort.table[name].to_numpy() for name in ("patient_id", "case_id") if name in cohort.table]
    return any(ids[pair.a] == ids[pair.b] != "" for ids in owners)


def _say(cohort: Cohort, near: Sequence[NearPair]) -> list[str]:
    ids = cohort.image_ids
    return [f"{ids[pair.a]} ~ {ids[pair.b]} ({pair.correlation:.3f})" for pair in near[:MAX_LISTED]]
