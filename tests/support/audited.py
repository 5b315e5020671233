"""Small cohorts on disk and their audits, for the audit's tests."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from focusmap.audit import Audit, AuditOptions, Finding, Inspection, audit_inspected
from focusmap.study import Cohort, Declaration, Split, read_cohort


def textures(n: int, seed: int = 0, size: int = 48) -> np.ndarray:
    """``(n, size, size) uint8`` smooth random images, no two alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 8, 8)).astype(np.float32)
    grown = np.stack([cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC) for field in coarse])
    return np.clip(128 + 40 * grown, 0, 255).astype(np.uint8)


def write_cohort(folder: Path, table: pd.DataFrame, images: Sequence[np.ndarray], **said: object) -> Cohort:
    """Write images under the table's paths, and the table; return the cohort."""
    for path, image in zip(table["path"], images, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / path), image)
    table.to_csv(folder / "labels.csv", index=False)
    return read_cohort(folder / "labels.csv", Declaration(**said))  # type: ignore[arg-type]


def read_table_only(folder: Path, table: pd.DataFrame, **said: object) -> Cohort:
    """Write a table without images and return its cohort."""
    table.to_csv(folder / "labels.csv", index=False)
    return read_cohort(folder / "labels.csv", Declaration(**said))  # type: ignore[arg-type]


def audit_cohort(cohort: Cohort, split: Split | None = None, options: AuditOptions | None = None) -> Audit:
    """Look at a cohort and audit it, and its split."""
    return audit_inspected(Inspection(cohort, options or AuditOptions()), split)


def found(audit: Audit, name: str) -> Finding | None:
    """The finding of that name, or None."""
    return next((item for item in audit.findings if item.name == name), None)


def must_find(audit: Audit, name: str) -> Finding:
    """The finding of that name, which must be there."""
    item = found(audit, name)
    assert item is not None, [finding.name for finding in audit.findings]
    return item
