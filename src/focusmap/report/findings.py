"""Audit findings as a reader wants them: the gravest first, each with what it is and what to do.

The audit writes its messages in English. A page has its own heading for each finding, from name and count, in the
language of the page; the message stands under it as it was written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from focusmap.figures.json_tree import branch, items, number, text
from focusmap.files import Json
from focusmap.report.words import Words

ORDER = {"blocking": 0, "warning": 1, "note": 2}
ICONS = {"blocking": "✕", "warning": "!", "note": "i"}
TIED = "label-tied-to-"


@dataclass(frozen=True)
class FindingView:
    """One finding on a page; `heading` and `advice` are the page's own words, `message` is the audit's.

    `advice` is empty of what is heeded already, and of a finding that the catalogues do not know.
    """

    name: str
    severity: str
    heading: str
    advice: str
    message: str
    examples: tuple[str, ...]
    accepted: bool

    @property
    def icon(self) -> str:
        """A sign that does not rely on colour."""
        return ICONS[self.severity]


def finding_views(audit: Mapping[str, Json], words: Words, accepted: Sequence[str] = ()) -> list[FindingView]:
    """Return the findings of an `audit.json`, the gravest first."""
    overridden = {*accepted, *(text(name) for name in items(audit.get("accepted")))}
    views = [_view(branch(value), overridden, words) for value in items(audit.get("findings"))]
    return sorted(views, key=lambda view: ORDER[view.severity])


def severity_text(views: Sequence[FindingView], words: Words) -> str:
    """Return in words how many findings there are of each severity."""
    blocking, warnings, notes = (sum(view.severity == severity for view in views) for severity in ORDER)
    lesser = {"warnings": words.plural("count.warning", warnings), "notes": words.plural("count.note", notes)}
    return words("audit.severities", blocking=blocking, **lesser)


def _view(value: Mapping[str, Json], accepted: set[str], words: Words) -> FindingView:
    severity, name = text(value.get("severity")), text(value.get("name"))
    count, column = int(number(value.get("count")) or 0), name.removeprefix(TIED)
    kind = TIED if name.startswith(TIED) else name
    known = kind in words.tables["finding"]
    heeded = value.get("is_heeded") is True
    return FindingView(
        name=name,
        severity=severity if severity in ORDER else "note",
        heading=words.plural(f"finding.{kind}", count, column=column) if known else name,
        advice=words(f"advice.{kind}") if known and not heeded else "",
        message=text(value.get("message")),
        examples=tuple(text(example) for example in items(value.get("examples"))),
        accepted=name in accepted,
    )
