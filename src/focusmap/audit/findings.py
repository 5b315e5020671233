"""What an audit found, under fixed names; which of it blocks what comes after, and how that is overridden."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from focusmap.basics import InputError, Json, Progress, Reason, RefusedError, note_entries, silent
from focusmap.scale import Cluster
from focusmap.study import RunOptions

Severity = Literal["blocking", "warning", "note"]

MASK_SHAPE = "mask-shape"
SEVERITIES: Mapping[str, Severity] = {
    "patient-across-splits": "blocking",
    "same-patient-two-spellings": "blocking",
    "duplicate-across-splits": "blocking",
    "no-patient-column": "blocking",
    "source-shortcut": "blocking",
    "near-duplicates": "warning",
    "near-duplicates-across-classes": "warning",
    "near-duplicates-across-splits": "warning",
    "contradicting-copies": "warning",
    "exact-duplicates": "warning",
    "hidden-groups": "warning",
    "too-few-positives": "warning",
    "constant-label": "warning",
    "unreadable-image": "warning",
    "constant-image": "warning",
    "mask-shape": "warning",
    "shortcut-probes": "warning",
    "header-patients-differ": "warning",
    "implausible-value": "warning",
    "label-tied-to-": "warning",
    "missing-values": "note",
    "rare-label": "note",
    "unknown-labels": "note",
    "header-patients-agree": "note",
    "odd-pixels": "note",
    "burnt-in-marks": "note",
}
"""Every finding's severity; ``label-tied-to-`` is followed by the column's name."""

ORDER = ("blocking", "warning", "note")
MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Finding:
    """One thing that a careful person would want to know before training.

    Parameters
    ----------
    name
        Fixed; see `SEVERITIES`.
    severity
        ``blocking``, ``warning`` or ``note``.
    sentences
        One or a few: what, how much, and what to do.
    count
        How many rows, patients, pairs or labels it concerns.
    examples
        A few of them, in words.
    is_heeded
        Whether what one would advise is done already, so that pages advise nothing.
    """

    name: str
    severity: Severity
    sentences: tuple[str, ...]
    count: int
    examples: tuple[str, ...] = ()
    is_heeded: bool = False

    @property
    def message(self) -> str:
        """The sentences in English."""
        return " ".join(self.sentences)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `audit.json`."""
        facts: dict[str, Json] = {"name": self.name, "severity": self.severity, "message": self.message}
        facts |= {"count": self.count, **note_entries("examples", self.examples), "is_heeded": self.is_heeded}
        return facts | note_entries("sentences", self.sentences)


def finding(name: str, fact: str | Sequence[str], examples: Sequence[str] = (), count: int | None = None) -> Finding:
    """Return a finding with the severity that its name has, stated in one sentence or several.

    `count` is the number of examples unless given.
    """
    key = "label-tied-to-" if name.startswith("label-tied-to-") else name
    sentences = (fact,) if isinstance(fact, str) else tuple(fact)
    n = len(examples) if count is None else count
    return Finding(name, SEVERITIES[key], sentences, n, tuple(examples[:MAX_EXAMPLES]))


@dataclass(frozen=True)
class AuditOptions:
    """How an audit is made.

    Parameters
    ----------
    accept
        Names of blocking findings that the user overrides.
    workers
        Processes that read images, or None for one a processor.
    cluster
        Whose workers read them instead.
    seed
        For permutations and samples.
    progress
        Called as images are read.
    kept
        Folder of what was seen, until the audit is written: an audit that was stopped goes on there. None: nothing is.
    """

    accept: tuple[str, ...] = ()
    workers: int | None = None
    seed: int = 0
    progress: Progress = silent
    cluster: Cluster | None = None
    kept: Path | None = None


@dataclass(frozen=True)
class Audit:
    """The whole of an audit.

    Parameters
    ----------
    findings
        Blocking ones first.
    accepted
        Names of blocking findings that stand and are overridden, by the user or by the study's declaration.
    overview
        Counts for the reader, as in `audit.json`.
    sample_sheets
        For each label, image ids to look at.
    """

    findings: tuple[Finding, ...]
    accepted: tuple[str, ...]
    overview: Mapping[str, Json]
    sample_sheets: Mapping[str, tuple[str, ...]]

    def blocking(self, accepted: Sequence[str] = ()) -> list[Finding]:
        """Return the blocking findings that neither `accepted` nor the audit itself overrides."""
        known = {*self.accepted, *accepted}
        return [item for item in self.findings if item.severity == "blocking" and item.name not in known]

    def extended(self, findings: Sequence[Finding], accept: Sequence[str] = ()) -> "Audit":
        """Return this audit with more findings; those that block and stand in `accept` are overridden."""
        accepted = dict.fromkeys([*self.accepted, *overridden(findings, accept)])
        return replace(self, findings=in_order([*self.findings, *findings]), accepted=tuple(accepted))

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `audit.json`."""
        return {
            "findings": [item.to_dict() for item in self.findings],
            "accepted": list(self.accepted),
            "overview": self.overview,
            "sample_sheets": {label: list(images) for label, images in self.sample_sheets.items()},
        }


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings with the blocking ones first."""
    return tuple(sorted(findings, key=lambda item: ORDER.index(item.severity)))


def overridden(findings: Sequence[Finding], accept: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the blocking findings that stand in `accept`, each once."""
    names = (item.name for item in findings if item.severity == "blocking" and item.name in accept)
    return tuple(dict.fromkeys(names))


def listed_values(facts: Sequence[str], n_first: int) -> tuple[str, ...]:
    """Return the first facts as a value of a sentence, and how many more there are."""
    rest = len(facts) - n_first
    return (*facts[:n_first], Reason("and-more", n=rest)) if rest > 0 else tuple(facts)


def refuse_blocking(result: Audit, options: RunOptions, where: Path) -> None:
    """Raise `RefusedError` if a blocking finding stands that nobody has accepted; `where` the audit was written."""
    blocking = result.blocking(options.accept)
    if blocking:
        lines = [f"{finding.name}: {finding.message}" for finding in blocking]
        overridden = f"To go on all the same: {accepting(blocking)}"
        raise RefusedError("\n  ".join(["refused.", *lines, f"Details: {where / 'audit.json'}. {overridden}"]))


def refuse_masks(result: Audit) -> None:
    """Raise `InputError` if a mask does not fit its image: heat maps could not be scored by it after training."""
    for finding in result.findings:
        if finding.name == MASK_SHAPE:
            raise InputError("\n  ".join([finding.message, *finding.examples[1:]]))


def accepting(blocking: Sequence[Finding]) -> str:
    """Return the options that override blocking findings."""
    return " ".join(f"--accept {name}" for name in dict.fromkeys(finding.name for finding in blocking))
