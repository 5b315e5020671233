"""Audit findings as a reader wants them: the gravest first, each with what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from focusmap.figures.json_tree import branch, items, number, text
from focusmap.reporting.tables import count_text
from focusmap.values.files import Json

ORDER = {"blocking": 0, "warning": 1, "note": 2}
ICONS = {"blocking": "✕", "warning": "!", "note": "i"}

ADVICE: Mapping[str, str] = {
    "patient-across-splits": "Split again by patient. Until then every number is too good.",
    "duplicate-across-splits": "Remove one of each pair, or put both in the same part of the split.",
    "no-patient-column": "Name the patient column, or state with --patient none that there is one image a patient.",
    "source-shortcut": "Look at pictures of both classes from the same source; balance or leave out the source.",
    "near-duplicates": "Look at the pairs; if they show one lesion, give them one patient or group id.",
    "near-duplicates-across-classes": "Look at the pairs: one of the two labels is probably wrong.",
    "near-duplicates-across-splits": "Look at the pairs; what is in train makes its twin in test easy.",
    "exact-duplicates": "Keep one of each.",
    "hidden-groups": "Name a patient column, or split in blocks with --block.",
    "too-few-positives": "Cross-validate with --folds 5, and read the intervals before the values.",
    "rare-label": "Read this label's interval before its value.",
    "unreadable-image": "Restore the files, or leave them out with --skip-unreadable.",
    "constant-image": "Look at them; an empty picture teaches nothing.",
    "implausible-value": "Correct the cells in the label file.",
    "missing-values": "Make sure that what is missing does not depend on the label.",
    "unknown-labels": "Nothing: unknown labels are left out of loss and metrics.",
}
TIED = "Look at the metrics of each group: the net may have learned the column instead of the finding."


@dataclass(frozen=True)
class FindingView:
    """One finding on a page."""

    name: str
    severity: str
    message: str
    count: int
    examples: tuple[str, ...]
    accepted: bool

    @property
    def icon(self) -> str:
        """A sign that does not rely on colour."""
        return ICONS[self.severity]

    @property
    def advice(self) -> str:
        """What to do, in a sentence."""
        return ADVICE.get(self.name, TIED if self.name.startswith("label-tied-to-") else "")


def finding_views(audit: Mapping[str, Json], accepted: Sequence[str] = ()) -> list[FindingView]:
    """Return the findings of an `audit.json`, the gravest first."""
    overridden = {*accepted, *(text(name) for name in items(audit.get("accepted")))}
    views = [_view(branch(value), overridden) for value in items(audit.get("findings"))]
    return sorted(views, key=lambda view: ORDER[view.severity])


def severity_text(views: Sequence[FindingView]) -> str:
    """Return in words how many findings there are of each severity."""
    blocking, warnings, notes = (sum(view.severity == severity for view in views) for severity in ORDER)
    return f"{blocking} blocking, {count_text(warnings, 'warning')} and {count_text(notes, 'note')}"


def _view(value: Mapping[str, Json], accepted: set[str]) -> FindingView:
    severity, name = text(value.get("severity")), text(value.get("name"))
    return FindingView(
        name=name,
        severity=severity if severity in ORDER else "note",
        message=text(value.get("message")),
        count=int(number(value.get("count")) or 0),
        examples=tuple(text(example) for example in items(value.get("examples"))),
        accepted=name in accepted,
    )
