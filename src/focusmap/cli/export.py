"""``focusmap export``: a model for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import focusmap
from focusmap.cli.groups import FORCE
from focusmap.settings import Setting

EXAMPLE = """\
examples:
  focusmap export runs/first --format onnx --out deployed          model.onnx and export.json
  focusmap export runs/first --format openvino --out deployed      model.xml, model.bin and export.json"""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Which model is exported, as what, and whereto."""

    run: Annotated[Path, Setting("folder of the run, or of a model", "RUN", is_positional=True)]
    out: Annotated[Path, Setting("folder of the exported model", "DIR")]
    format: Annotated[Literal["onnx", "openvino"], Setting("format of the exported model")] = "onnx"
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        found = focusmap.export(self.run, self.format, self.out, force=self.force)
        off = ", ".join(f"{name} {value:.1e}" for name, value in found.differences.items())
        print(f"differs from torch by at most: {off}")
        print(f"inputs and outputs: {self.out / 'export.json'}")
        print(f"model: {found.file} ({found.file.stat().st_size / 1e6:.1f} MB)")
