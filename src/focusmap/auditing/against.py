"""One label file against another: patients and pictures that stand in both."""

from collections.abc import Sequence

from focusmap.auditing.findings import AuditOptions, Finding, finding, plural
from focusmap.auditing.images import look_at_all
from focusmap.cohort.cohort import Cohort


def audit_against(cohort: Cohort, other: Cohort, options: AuditOptions | None = None) -> list[Finding]:
    """Return findings on patients, and on pictures pixel for pixel, that stand in both cohorts.

    They bear the names of leaks between the parts of a split, since a model trained on one file and tested on the
    other suffers alike.
    """
    options = options or AuditOptions()
    found = []
    where = f"stand both in {cohort.study.label_file} and in {other.study.label_file}"
    patients = _shared_patients(cohort, other)
    if patients:
        found.append(finding("patient-across-splits", f"{plural(len(patients), 'patient')} {where}.", patients))
    pictures = _shared_pictures(cohort, other, options)
    if pictures:
        text = f"{plural(len(pictures), 'picture')} {where}, pixel for pixel."
        found.append(finding("duplicate-across-splits", text, pictures))
    return found


def _shared_patients(cohort: Cohort, other: Cohort) -> list[str]:
    if not cohort.study.patients == other.study.patients == "column":
        return []
    return sorted({str(name) for name in cohort.patient_ids} & {str(name) for name in other.patient_ids})


def _shared_pictures(cohort: Cohort, other: Cohort, options: AuditOptions) -> list[str]:
    if not (cohort.has_images and other.has_images):
        return []
    theirs: dict[str, str] = {}
    for image_id, digest in zip(other.image_ids, _digests(other, options), strict=True):
        theirs.setdefault(digest, image_id)
    pairs = zip(cohort.image_ids, _digests(cohort, options), strict=True)
    return [f"{image_id} = {theirs[digest]}" for image_id, digest in pairs if digest and digest in theirs]


def _digests(cohort: Cohort, options: AuditOptions) -> Sequence[str]:
    return [look.digest for look in look_at_all(cohort.files, options).looks]
