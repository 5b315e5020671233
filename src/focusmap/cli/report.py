"""``focusmap report``: one page from the files of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import focusmap
from focusmap.cli.groups import LANGUAGE, RUN
from focusmap.reasons import Language
from focusmap.settings import Setting

EXAMPLE = "example: focusmap report runs/first --language zh --pdf"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Of which run a report is made, and how."""

    run: Annotated[Path, RUN]
    language: Annotated[Language, LANGUAGE] = "en"
    pdf: Annotated[bool, Setting("also write report.pdf (needs the optional part pdf)")] = False

    def __call__(self) -> None:
        """Run the command."""
        print(f"report: {focusmap.report(self.run, self.language, pdf=self.pdf)}")
