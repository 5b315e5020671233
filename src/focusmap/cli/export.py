"""``focusmap export``: a model for other programs."""

import argparse
from pathlib import Path

EXAMPLE = """\
examples:
  focusmap export runs/first --format onnx --out deployed          model.onnx and export.json
  focusmap export runs/first --format openvino --out deployed      model.xml, model.bin and export.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, or of a model")
    parser.add_argument("--format", default="onnx", metavar="NAME", help="onnx (default) or openvino")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the exported model")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def execute(parsed: argparse.Namespace) -> None:
    """Run the command."""
    from focusmap import verbs

    found = verbs.export(parsed.run, parsed.format, parsed.out, force=parsed.force)
    off = ", ".join(f"{name} {value:.1e}" for name, value in found.differences.items())
    print(f"differs from torch by at most: {off}")
    print(f"what goes in and comes out: {parsed.out / 'export.json'}")
    print(f"model: {found.file} ({found.file.stat().st_size / 1e6:.1f} MB)")
