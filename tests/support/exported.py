"""An exported model, asked by a program that has neither focusmap nor torch."""

import subprocess
import sys
from pathlib import Path

ALONE = """
import runpy, sys
for name in ("focusmap", "torch"):
    sys.modules[name] = None  # neither may be imported
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def ask_without_focusmap(example: Path, image: Path) -> dict[str, str]:
    """Return the lines that ``example.py`` prints of an image, by their first word."""
    command = [sys.executable, "-I", "-c", ALONE, str(example), str(image)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return dict(line.split(maxsplit=1) for line in told.stdout.splitlines())
