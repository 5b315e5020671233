"""Where an audit stops what comes after it, and how that is overridden."""

from collections.abc import Sequence
from pathlib import Path

from focusmap.audit.findings import MASK_SHAPE, Audit, Finding
from focusmap.errors import InputError, RefusedError
from focusmap.study.options import RunOptions


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
