"""``focusmap audit``: look before you train."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import focusmap
from focusmap.cli.groups import LABELS, Study, watched
from focusmap.cli.show_study import print_study
from focusmap.settings import Only, Setting
from focusmap.study.options import RunOptions

if TYPE_CHECKING:
    from focusmap.audit import Audit as Findings
    from focusmap.study.cohort import Cohort
    from focusmap.study.external import Roster

EXAMPLE = "example: focusmap audit labels.csv --patient patient_id --group site --out audit"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Which label file is audited, against which other, and how."""

    labels: Annotated[Path, LABELS]
    against: Annotated[
        Path | None,
        Setting("another table, labelled or not: search it for the same patients and images", "OTHER.csv"),
    ] = None
    out: Annotated[Path | None, Setting("folder of audit.json and audit.html (default: LABELS_audit)", "DIR")] = None
    study: Study = Study()
    options: Annotated[RunOptions, Only("accept", "workers", "recipe.seed", "force", "language")]

    def __call__(self) -> None:
        """Run the command."""
        from focusmap.audit.findings import refuse_blocking
        from focusmap.files import table_name

        cohort = self.study.cohort(self.labels, self.options.recipe)
        print_study(cohort)
        if self.study.dry_run:
            return
        out = self.out or self.labels.with_name(f"{table_name(self.labels)}_audit")
        against = None if self.against is None else self._roster(cohort, self.against)
        result = focusmap.audit(cohort, out, watched(self.options), against=against)
        print_findings(result)
        print(f"audit: {out / 'audit.html'}")
        refuse_blocking(result, self.options, out)

    def _roster(self, cohort: "Cohort", file: Path) -> "Roster":
        """Return who stands in the other table, and say by what the two are compared."""
        from focusmap.audit import compared_by
        from focusmap.study.external import read_roster, roster_of

        other = read_roster(file, cohort.study, self.study.declaration.images)
        by = compared_by(roster_of(cohort), other)
        print(f"against     {file} ({len(other.image_ids)} rows), compared by {' and '.join(by) or 'nothing'}")
        return other


def print_findings(audit: "Findings") -> None:
    """Print the audit's findings, the blocking ones first; one that is overridden or answered blocks nothing."""
    if not audit.findings:
        print("no findings")
    for finding in audit.findings:
        severity = "accepted" if finding.name in audit.accepted else finding.severity
        print(f"{severity:<8}  {finding.name}: {finding.message}")
