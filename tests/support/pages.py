"""What pages of the documentation tell a reader to type."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(page, language):
    """Return the fenced blocks of a language in a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def commands(page):
    """Return the focusmap commands that stand in the page's shell blocks, in order."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("focusmap ")]
