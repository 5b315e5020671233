"""Images that stand twice, exactly or nearly: in a cohort, across its patients, classes and parts, in two tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from focusmap.audit.findings import AuditOptions, Finding, finding
from focusmap.audit.images import Images, look_at_all
from focusmap.audit.near import NearPair, near_pairs
from focusmap.audit.table import count_pairs, same_patient, say_pairs
from focusmap.basics import InputError, Json, Reason
from focusmap.study import Cohort, Roster, Split, short_names, spelled_apart


def exact_groups(digests: Sequence[str]) -> list[list[int]]:
    """Return the positions of images whose pixels are equal, group by group; an empty digest belongs to none.

    >>> exact_groups(["x", "y", "x", "", ""])
    [[0, 2]]
    """
    column = pd.Series(list(digests))
    repeated = column[(column != "") & column.duplicated(keep=False)]
    return [list(rows) for _, rows in repeated.groupby(repeated, sort=False).groups.items()]


MAX_LISTED = 1000
NEARNESS, LARGEST_GROUP = (0.0, 0.985, 0.99, 0.995, 0.999, 1.0), 0.1
ONE_IMAGE = 0.995
"""From this correlation on, two images of one patient with different labels are one image that contradicts itself."""


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


def near_groups(cohort: Cohort, duplicates: Duplicates) -> tuple[tuple[str, ...], ...]:
    """Return the ids of images that stand in one part of a split since they are the same or nearly so, group by group.

    Chains of pairs may join many patients. Where a group would hold more than a tenth of them, only nearer pairs count.
    """
    n_patients = len(set(cohort.patient_ids))
    for least in NEARNESS:
        pairs = [(pair.a, pair.b) for pair in duplicates.near if pair.correlation >= least]
        groups = _components([*duplicates.exact, *pairs])
        largest = max((len(set(cohort.patient_ids[list(group)])) for group in groups), default=0)
        if largest <= max(2, LARGEST_GROUP * n_patients) or least == NEARNESS[-1]:
            break
    ids = cohort.image_ids
    return tuple(tuple(ids[position] for position in group) for group in groups)


def _components(groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return what belongs together by any of the groups.

    >>> _components([(0, 3), (5, 6), (3, 4)])
    [[0, 3, 4], [5, 6]]
    """
    held: dict[int, set[int]] = {}
    for group in groups:
        merged = set(group).union(*(held[position] for position in group if position in held))
        held.update(dict.fromkeys(merged, merged))
    return sorted(sorted(group) for group in {id(group): group for group in held.values()}.values())


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
            "how": pair.how,
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
    findings = [finding("exact-duplicates", Reason("copies", n=len(names), spare=n_copies), names)]
    if split is None:
        return findings
    parts = [_parts(cohort, split, group) for group in duplicates.exact]
    across = [name for name, held in zip(names, parts, strict=True) if len(held) > 1]
    if across:
        where = say_pairs(count_pairs(parts), "images-in")
        fact = Reason("copies-across", where=where, images=tuple(across[:3]))
        findings.append(finding("duplicate-across-splits", fact, across))
    return findings


def _near(cohort: Cohort, near: Sequence[NearPair], split: Split | None) -> list[Finding]:
    if not near:
        return []
    across_patients = [pair for pair in near if cohort.patient_ids[pair.a] != cohort.patient_ids[pair.b]]
    unlike = [pair for pair in near if not _same_class(cohort, pair)]
    of_one = [pair for pair in unlike if _is_of_one(cohort, pair)]
    sentences = [
        Reason("nearly-the-same-of-patients", n=len(near), across=len(across_patients))
        if _has_patients(cohort)
        else Reason("nearly-the-same", n=len(near))
    ]
    if of_one:
        # Neighbouring slices and follow-ups: the edge of a lesion, or its course.
        sentences.append(Reason("unlike-in-one", n=len(of_one)))
    alike = _on_pairs("near-duplicates", sentences, cohort, near)
    # Images of one patient are expected to be alike.
    findings = [alike if across_patients else replace(alike, severity="note", is_heeded=True)]
    across_classes = [pair for pair in unlike if not _is_of_one(cohort, pair)]
    if across_classes:
        fact = Reason("nearly-the-same-unlike", n=len(across_classes))
        findings.append(_on_pairs("near-duplicates-across-classes", [fact], cohort, across_classes))
    copies = [pair for pair in of_one if pair.correlation > ONE_IMAGE]
    if copies:
        findings.append(_on_pairs("contradicting-copies", [Reason("copies-unlike", n=len(copies))], cohort, copies))
    return findings + (_near_across_parts(cohort, across_patients, split) if split is not None else [])


def _near_across_parts(cohort: Cohort, pairs: Sequence[NearPair], split: Split) -> list[Finding]:
    """Return the finding on pairs of two patients that stand in two parts of the split."""
    parts = [_parts(cohort, split, (pair.a, pair.b)) for pair in pairs]
    across = [pair for pair, held in zip(pairs, parts, strict=True) if len(held) > 1]
    if not across:
        return []
    fact = Reason("nearly-the-same-across", where=say_pairs(count_pairs(parts), "pairs-in"))
    return [_on_pairs("near-duplicates-across-splits", [fact], cohort, across)]


def _on_pairs(name: str, sentences: Sequence[str], cohort: Cohort, pairs: Sequence[NearPair]) -> Finding:
    return finding(name, sentences, _say(cohort, pairs), len(pairs))


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
    return [f"{ids[pair.a]} ~ {ids[pair.b]} ({_how(pair)})" for pair in near[:MAX_LISTED]]


def _how(pair: NearPair) -> str:
    """Return how near a pair is, and in what it differs."""
    return f"{pair.correlation:.3f}" + ("" if pair.how == "alike" else f", {pair.how}")


def audit_against(ours: Roster, theirs: Roster, options: AuditOptions | None = None) -> list[Finding]:
    """Return findings on patients, and on images equal or nearly so, that stand in both tables.

    They bear the names of leaks between the parts of a split, since a model trained on one table and tested on the
    other suffers alike.

    Raises
    ------
    InputError
        If the two have neither patients nor images in common to compare them by.
    """
    if not compared_by(ours, theirs):
        raise InputError(
            f"{ours.file} and {theirs.file}: not both name patients, and not both have images, so that nothing can "
            "be compared. Name the patient column with --patient."
        )
    files = dict(zip("ab", short_names([ours.file, theirs.file]), strict=True))
    findings = []
    patients = sorted(set(ours.patients or ()) & set(theirs.patients or ()))
    if patients:
        findings.append(
            finding("patient-across-splits", Reason("patients-in-both", n=len(patients), **files), patients)
        )
    if twice := spelled_apart(set(ours.patients or ()) - set(patients), theirs.patients or ()):
        findings.append(same_patient(twice, Reason("in-files", **files)))
    return findings + _images(ours, theirs, options or AuditOptions())


def compared_by(ours: Roster, theirs: Roster) -> list[str]:
    """Return what the two can be compared by: ``patients``, ``images``, both or neither."""
    known = {"patients": (ours.patients, theirs.patients), "images": (ours.files, theirs.files)}
    return [what for what, sides in known.items() if None not in sides]


def _images(ours: Roster, theirs: Roster, options: AuditOptions) -> list[Finding]:
    if ours.files is None or theirs.files is None:
        return []
    duplicates = find_duplicates(look_at_all([*ours.files, *theirs.files], options))
    equal, near = _equal(ours, theirs, duplicates), _near_across(ours, theirs, duplicates)
    files = dict(zip("ab", short_names([ours.file, theirs.file]), strict=True))
    findings = []
    if equal:
        findings.append(finding("duplicate-across-splits", Reason("images-in-both", n=len(equal), **files), equal))
    if near:
        findings.append(finding("near-duplicates-across-splits", Reason("pairs-in-both", n=len(near), **files), near))
    return findings


def _equal(ours: Roster, theirs: Roster, duplicates: Duplicates) -> list[str]:
    """Return each of our images that stands in theirs, beside its first copy there."""
    n, names = len(ours.image_ids), []
    for group in duplicates.exact:
        copies = [position - n for position in group if position >= n]
        if copies:
            names += [f"{ours.image_ids[i]} = {theirs.image_ids[copies[0]]}" for i in group if i < n]
    return names


def _near_across(ours: Roster, theirs: Roster, duplicates: Duplicates) -> list[str]:
    """Return the near pairs across the tables, less those of one patient, whom another finding names."""
    n, names = len(ours.image_ids), []
    for pair in duplicates.near:
        if pair.a < n <= pair.b and not _same_patient(ours, theirs, pair.a, pair.b - n):
            names.append(f"{ours.image_ids[pair.a]} ~ {theirs.image_ids[pair.b - n]} ({_how(pair)})")
    return names


def _same_patient(ours: Roster, theirs: Roster, a: int, b: int) -> bool:
    return ours.patients is not None and theirs.patients is not None and ours.patients[a] == theirs.patients[b]
