"""Masks that do not lie on the grid of their images: known from headers, long before a score needs them."""

from pathlib import Path

from focusmap.audit.findings import MASK_SHAPE, Finding, finding, plural
from focusmap.audit.images import Images
from focusmap.errors import UnreadableImageError
from focusmap.images.read import MASK_REMEDY, mask_misfit, read_shape
from focusmap.study.cohort import Cohort


def mask_findings(cohort: Cohort, images: Images) -> list[Finding]:
    """Return the finding on masks whose shape is not that of their image, or that cannot be read."""
    wrong = _misfits(cohort, images)
    if not wrong:
        return []
    fact = f"{plural(len(wrong), 'mask')} cannot be laid over the image. The first: {wrong[0]}. {MASK_REMEDY}"
    return [finding(MASK_SHAPE, fact, wrong)]


def _misfits(cohort: Cohort, images: Images) -> list[str]:
    """Return what is wrong with each mask that does not fit; an image that cannot be read has its own finding."""
    told = (
        _misfit(cohort.study.images / name, image_id, look.size)
        for column in cohort.mask_columns
        for image_id, name, look in zip(cohort.image_ids, cohort.table[column], images.looks, strict=True)
        if name and not look.reason
    )
    return [wrong for wrong in told if wrong]


def _misfit(file: Path, image_id: str, size: tuple[int, ...]) -> str:
    try:
        return mask_misfit(file, read_shape(file), image_id, size)
    except UnreadableImageError as error:
        return str(error).rstrip(".")
