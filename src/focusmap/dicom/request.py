"""What ``focusmap dicom`` is asked for: the same for Python and the command line.

What starts must start fast: nothing here imports numpy or pydicom.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from focusmap.errors import InputError
from focusmap.settings import Setting, described, settle

DicomAction = Literal["write", "deidentify"]


@described
@dataclass(frozen=True)
class DicomRequest:
    """What is done with DICOM files, and with which model."""

    inputs: Annotated[
        tuple[Path, ...], Setting("DICOM files or folders of them", "FILE|FOLDER", is_positional=True)
    ] = ()
    model: Annotated[Path | None, Setting("write: folder of the run whose model answers", "RUN")] = None
    out: Annotated[Path | None, Setting("folder of the files that are written", "DIR")] = None
    kinds: Annotated[
        tuple[str, ...],
        Setting("write: sr, seg, map or sc; repeat for several (default: all)", "KIND", option="kind"),
        "Which objects are written: structured report, segmentation, parametric maps, secondary captures.",
    ] = ()
    codes: Annotated[
        Path | None,
        Setting('write: codes of findings, as {"LABEL": ["VALUE", "SCHEME", "MEANING"]}', "FILE.json"),
    ] = None

    def __post_init__(self) -> None:
        settle(self)
        for kind in self.kinds:
            if kind not in ("sr", "seg", "map", "sc"):
                raise InputError(f"--kind {kind!r} is not one of sr, seg, map, sc.")
