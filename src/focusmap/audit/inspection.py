"""The audit of a cohort: every check of table and images in its order, and what comes of them."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from focusmap.audit import association, findings, probes, shortcuts, table
from focusmap.audit.duplicates import Duplicates, describe_duplicates, duplicate_findings, find_duplicates, near_groups
from focusmap.audit.images import Images, header_findings, image_findings, look_at_all, mask_findings
from focusmap.basics import Json
from focusmap.study import Cohort, Split

SAMPLES = 8
MARKS_AN_IMAGE = 3


@dataclass(frozen=True)
class Inspection:
    """A cohort whose images are looked at once, whatever is asked of them.

    Parameters
    ----------
    cohort
        Its images are read once each; a table-only study has none to read.
    options
        What is overridden, processes, seed, progress.
    """

    cohort: Cohort
    options: findings.AuditOptions

    @cached_property
    def images(self) -> Images | None:
        """A look at each image."""
        return look_at_all(self.cohort.files, self.options) if self.cohort.has_images else None

    @property
    def unread(self) -> list[tuple[str, str]]:
        """Id of each image that cannot be read, and why."""
        looks = () if self.images is None else self.images.looks
        named = zip(self.cohort.image_ids, looks, strict=bool(looks))
        return [(image_id, look.reason) for image_id, look in named if look.reason]

    @cached_property
    def duplicates(self) -> Duplicates:
        """The images that stand twice, exactly or nearly."""
        return Duplicates((), ()) if self.images is None else find_duplicates(self.images)

    @property
    def near_groups(self) -> tuple[tuple[str, ...], ...]:
        """Ids of the images that are the same or nearly so, group by group."""
        return near_groups(self.cohort, self.duplicates)


def audit_inspected(inspection: Inspection, split: Split | None = None) -> findings.Audit:
    """Return the audit of an inspected cohort and, where there is one, of its split.

    The split is judged as it is: patients and images in two parts are found, not mended. Without one, the declared
    split is.
    """
    cohort, options = inspection.cohort, inspection.options
    split = _declared_split(cohort) if split is None else split
    tied = association.associations(cohort, options)
    raised = [*table.table_findings(cohort, split), *association.association_findings(tied, cohort.study.covariates)]
    overview: dict[str, Json] = {**table.table_overview(cohort), "association": [item.to_dict() for item in tied]}
    images = inspection.images
    raised += shortcuts.source_findings(cohort, images)
    if images is not None:
        duplicates = inspection.duplicates
        raised += image_findings(images, cohort.image_ids) + mask_findings(cohort, images)
        raised += header_findings(cohort, images)
        raised += duplicate_findings(cohort, duplicates, split) + shortcuts.hidden_group_findings(cohort, images)
        probed = probes.run_probes(cohort, images)
        raised += probes.probe_findings(probed)
        overview |= {"probes": [item.to_dict() for item in probed]}
        overview |= _image_overview(cohort, images, duplicates, split)
    return replace(
        _judged(raised, cohort, options), overview=overview, sample_sheets=_sample_sheets(cohort, options.seed)
    )


def audit_table(cohort: Cohort, split: Split, options: findings.AuditOptions | None = None) -> findings.Audit:
    """Return what an audit finds without a look at images, in a second; without overview and sheets."""
    raised = [*table.table_findings(cohort, split), *shortcuts.source_findings(cohort, None)]
    return _judged(raised, cohort, options or findings.AuditOptions())


def _judged(raised: list[findings.Finding], cohort: Cohort, options: findings.AuditOptions) -> findings.Audit:
    return findings.Audit(
        findings.in_order(raised), findings.overridden(raised, [*options.accept, *_declared_answers(cohort)]), {}, {}
    )


def _declared_split(cohort: Cohort) -> Split | None:
    if "split_declared" not in cohort.table:
        return None
    return Split(cohort.table[["image_id", "split_declared"]].rename(columns={"split_declared": "split"}))


def _image_overview(cohort: Cohort, images: Images, duplicates: Duplicates, split: Split | None) -> dict[str, Json]:
    looks = [look for look in images.looks if not look.reason]
    sizes = Counter("x".join(map(str, look.size)) for look in looks).most_common()
    modes = Counter(look.mode for look in looks).most_common()
    facts: dict[str, Json] = {
        "n_unreadable": len(images.looks) - len(looks),
        "sizes": dict(sizes),
        "modes": dict(modes),
        "formats": dict(Counter(images.formats).most_common()),
    }
    named_looks = zip(cohort.image_ids, images.looks, strict=True)
    marked: list[Json] = [
        {"image_id": name, "kind": mark.kind, "box": [round(side, 4) for side in mark.box]}
        for name, look in named_looks
        for mark in look.marks[:MARKS_AN_IMAGE]
    ]
    return {"images": facts, "marks": marked, "duplicates": describe_duplicates(cohort, duplicates, split)}


def _declared_answers(cohort: Cohort) -> list[str]:
    """Return the blocking findings that the study's own declaration answers."""
    answered = cohort.study.patients == "none" or cohort.study.block_column is not None
    return ["no-patient-column"] if answered else []


def _sample_sheets(cohort: Cohort, seed: int) -> dict[str, tuple[str, ...]]:
    """Return a few images of each label, of different patients."""
    order = np.random.default_rng(seed).permutation(len(cohort))
    names, held = table.label_columns(cohort)
    sheets = {}
    for name, values in zip(names, held.T, strict=True):
        drawn = order[values[order] == 1]
        _, first = np.unique(cohort.patient_codes[drawn], return_index=True)
        chosen = drawn[np.sort(first)[:SAMPLES]]
        sheets[name] = tuple(cohort.table["image_id"].iloc[chosen])
    return sheets
