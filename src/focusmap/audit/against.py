"""One table against another: patients and images that stand in both."""

from focusmap.audit.findings import AuditOptions, Finding, finding, plural
from focusmap.audit.images import look_at_all
from focusmap.audit.pairs import Duplicates, find_duplicates
from focusmap.audit.table import same_patient
from focusmap.errors import InputError
from focusmap.study.external import Roster
from focusmap.study.ids import spelled_apart


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
    where = f"stand both in {ours.file} and in {theirs.file}"
    found = []
    patients = sorted(set(ours.patients or ()) & set(theirs.patients or ()))
    if patients:
        found.append(finding("patient-across-splits", f"{plural(len(patients), 'patient')} {where}.", patients))
    if twice := spelled_apart(set(ours.patients or ()) - set(patients), theirs.patients or ()):
        found.append(same_patient(twice, f"{ours.file} and {theirs.file}"))
    return found + _images(ours, theirs, where, options or AuditOptions())


def compared_by(ours: Roster, theirs: Roster) -> list[str]:
    """Return what the two can be compared by: ``patients``, ``images``, both or neither."""
    known = {"patients": (ours.patients, theirs.patients), "images": (ours.files, theirs.files)}
    return [what for what, sides in known.items() if None not in sides]


def _images(ours: Roster, theirs: Roster, where: str, options: AuditOptions) -> list[Finding]:
    if ours.files is None or theirs.files is None:
        return []
    duplicates = find_duplicates(look_at_all([*ours.files, *theirs.files], options))
    equal, near = _equal(ours, theirs, duplicates), _near(ours, theirs, duplicates)
    found = []
    if equal:
        text = f"{plural(len(equal), 'image')} {where}, pixel for pixel."
        found.append(finding("duplicate-across-splits", text, equal))
    if near:
        text = f"{plural(len(near), 'pair')} of nearly equal images {where}. What is learnt from one answers both."
        found.append(finding("near-duplicates-across-splits", text, near))
    return found


def _equal(ours: Roster, theirs: Roster, duplicates: Duplicates) -> list[str]:
    """Return each of our images that stands in theirs, beside its first copy there."""
    n, said = len(ours.image_ids), []
    for group in duplicates.exact:
        copies = [position - n for position in group if position >= n]
        if copies:
            said += [f"{ours.image_ids[i]} = {theirs.image_ids[copies[0]]}" for i in group if i < n]
    return said


def _near(ours: Roster, theirs: Roster, duplicates: Duplicates) -> list[str]:
    """Return the near pairs across the tables, less those of one patient, whom another finding names."""
    n, said = len(ours.image_ids), []
    for pair in duplicates.near:
        if pair.a < n <= pair.b and not _same_patient(ours, theirs, pair.a, pair.b - n):
            said.append(f"{ours.image_ids[pair.a]} ~ {theirs.image_ids[pair.b - n]} ({pair.correlation:.3f})")
    return said


def _same_patient(ours: Roster, theirs: Roster, a: int, b: int) -> bool:
    return ours.patients is not None and theirs.patients is not None and ours.patients[a] == theirs.patients[b]
