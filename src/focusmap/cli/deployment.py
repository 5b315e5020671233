"""Commands for a model in use: ``focusmap serve`` and ``corrections`` (the reading room), ``dicom`` (archives)."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import focusmap
from focusmap.basics import Setting, command_line, require
from focusmap.cli.groups import FORCE, RUN, Reading
from focusmap.dicom import DicomAction, DicomRequest
from focusmap.study import ESCAPE
from focusmap.verbs.requests import ServeRequest


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Options of ``focusmap serve``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap serve runs/first                                    http://127.0.0.1:8000, for this machine alone
      FOCUSMAP_TOKEN=TEXT focusmap serve runs/first --host 0.0.0.0   for all who open http://HOST:8000/?token=TEXT
      curl -F files=@film.png http://127.0.0.1:8000/api/predict    the same answer for a program"""

    run: Annotated[Path, RUN]
    request: ServeRequest = ServeRequest()
    reading: Reading = Reading()

    def __call__(self) -> None:
        """Run the command."""
        require("web")
        host = f"[{self.request.host}]" if ":" in self.request.host else self.request.host
        print(f"loading {self.run}", file=sys.stderr)
        focusmap.serve(self.run, self.request, lambda: print(f"page: http://{host}:{self.request.port}", flush=True))


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """Options of ``focusmap corrections``."""

    EXAMPLE: ClassVar[str] = "example: focusmap corrections runs/first --out corrected.csv"

    run: Annotated[Path, RUN]
    out: Annotated[Path, Setting("label file to write", "LABELS.csv")]
    escape: Annotated[bool, ESCAPE] = True
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        result = focusmap.corrections(self.run, self.out, escape=self.escape, force=self.force)
        unit = "image" if "image_id" in result.table else "row"
        print(f"label file: {result.labels} ({len(result.table)} {unit}{'s' * (len(result.table) != 1)})")
        if result.n_unknown_patients:
            what = "images" if unit == "image" else "cases"
            print(f"  patient not known: {result.n_unknown_patients} {what}, each taken as a patient of its own")
        images = ("--images", result.images) if "path" in result.table else ()
        print(f"next: {command_line('audit', result.labels, *images)}")


EXTRAS_OF: Mapping[DicomAction, tuple[str, ...]] = {
    "write": ("dicom",),
    "deidentify": (),
    "query": ("pacs",),
    "fetch": ("pacs",),
    "send": ("pacs",),
    "watch": ("dicom", "pacs"),
}


@dataclass(frozen=True, kw_only=True)
class Dicom:
    """Options of ``focusmap dicom``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap dicom write film.dcm --model runs/first --out answers     a report, masks, maps and overlays of one image
      focusmap dicom deidentify export --out shared                      a copy of a folder without who they are
      focusmap dicom watch --model runs/first --listen 11112 --send-to http://pacs:8042/dicom-web
      focusmap dicom watch --model runs/first --server URL --send-to URL --where ModalitiesInStudy=DX   looks itself"""

    action: Annotated[
        DicomAction, Setting("write, deidentify, query, fetch, send, watch", "ACTION", is_positional=True)
    ]
    request: DicomRequest = DicomRequest()
    reading: Reading = Reading()

    def __call__(self) -> None:
        """Run the command."""
        for extra in EXTRAS_OF[self.action]:
            require(extra)
        for line in focusmap.dicom(self.action, self.request):
            print(line, flush=True)
