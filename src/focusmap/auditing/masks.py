"""Masks that do not lie on the grid of their pictures: known from headers, long before a score needs them."""

from collections.abc import Iterator

from focusmap.auditing.findings import Finding, finding, plural
from focusmap.auditing.images import Pictures
from focusmap.cohort.cohort import Cohort, mask_columns
from focusmap.errors import UnreadableImageError
from focusmap.imaging.readers import read_shape

MASK_SHAPE = "mask-shape"
REMEDY = "Write each mask in its picture's own grid, or empty its cell in the label file."


def mask_findings(cohort: Cohort, pictures: Pictures) -> list[Finding]:
    """Return the finding on masks whose shape is not that of their picture, or that cannot be read."""
    wrong = list(_misfits(cohort, pictures))
    if not wrong:
        return []
    fact = f"{plural(len(wrong), 'mask')} cannot be laid over the picture. The first: {wrong[0]}. {REMEDY}"
    return [finding(MASK_SHAPE, fact, wrong)]


def _misfits(cohort: Cohort, pictures: Pictures) -> Iterator[str]:
    for column in mask_columns(cohort.table):
        for image_id, name, look in zip(cohort.image_ids, cohort.table[column], pictures.looks, strict=True):
            if not name or look.reason:
                continue
            file = cohort.study.images / name
            try:
                shape = read_shape(file)
            except UnreadableImageError as error:
                yield str(error).rstrip(".")
                continue
            if shape != look.size:
                found, expected = " x ".join(map(str, shape)), " x ".join(map(str, look.size))
                yield f"{file}: the mask has {found} pixels, and {image_id} has {expected}"
