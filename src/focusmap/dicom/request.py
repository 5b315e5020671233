"""What ``focusmap dicom`` is asked for: the same for Python and the command line.

What starts must start fast: nothing here imports numpy or pydicom.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from focusmap.basics import InputError, Setting, normalise, with_parameters

DicomAction = Literal["write", "deidentify", "query", "fetch", "send", "watch"]
OBJECT_KINDS = ("sr", "seg", "map", "sc")
"""Structured report, segmentation, parametric maps, secondary captures."""


@with_parameters
@dataclass(frozen=True)
class DicomRequest:
    """What is done with DICOM files, and with which model."""

    inputs: Annotated[
        tuple[Path, ...], Setting("DICOM files or folders of them", "FILE|FOLDER", is_positional=True)
    ] = ()
    model: Annotated[Path | None, Setting("write, watch: folder of the run whose model answers", "RUN")] = None
    out: Annotated[Path | None, Setting("write, deidentify, fetch: folder of the files that are written", "DIR")] = None
    kinds: Annotated[
        tuple[str, ...],
        Setting("write, watch: sr, seg, map or sc; repeat for several (default: all)", "KIND", option="kind"),
        "Which objects are written: structured report, segmentation, parametric maps, secondary captures.",
    ] = ()
    codes: Annotated[
        Path | None,
        Setting('write, watch: codes of findings, as {"LABEL": ["VALUE", "SCHEME", "MEANING"]}', "FILE.json"),
    ] = None
    follow_links: Annotated[bool, Setting("read what symbolic links out of a folder lead to")] = False
    server: Annotated[
        str,
        Setting("query, fetch, send, watch: a DICOMweb service (account: FOCUSMAP_PACS_ACCOUNT)", "URL"),
        "Address of a DICOMweb service; ``FOCUSMAP_PACS_ACCOUNT`` holds ``NAME:PASSWORD`` where it asks for one.",
    ] = ""
    filters: Annotated[
        tuple[str, ...],
        Setting(
            "query, watch: what studies have, such as StudyDate=20240301-20240331; repeatable", "KEY=X", option="where"
        ),
    ] = ()
    study: Annotated[str, Setting("fetch: the StudyInstanceUID", "UID")] = ""
    send_to: Annotated[str, Setting("watch: DICOMweb service that objects are stored in", "URL")] = ""
    listen: Annotated[int, Setting("watch: port of C-STORE", "PORT")] = 11112
    host: Annotated[str, Setting("watch: address to listen on; others than this machine need --caller", "ADDRESS")] = (
        "127.0.0.1"
    )
    callers: Annotated[
        tuple[str, ...], Setting("watch: AE title that may send; repeatable", "TITLE", option="caller")
    ] = ()
    every: Annotated[
        float, Setting("watch: seconds between looks for new studies in --server (only those of --where)", "S")
    ] = 60.0
    quiet: Annotated[float, Setting("watch: seconds without a new image after which a study is complete", "S")] = 30.0
    queue: Annotated[Path | None, Setting("watch: folder of what is not done yet (default: RUN/queue)", "DIR")] = None

    def __post_init__(self) -> None:
        normalise(self)
        for kind in self.kinds:
            if kind not in OBJECT_KINDS:
                raise InputError(f"--kind {kind!r} is not one of {', '.join(OBJECT_KINDS)}.")
