"""Every image looked at once, by several processes or workers; what is found, and whether its mask fits it.

A summary says what the images or volumes of a study are like, as far as a recipe is chosen by it.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap.audit.findings import MASK_SHAPE, AuditOptions, Finding, finding, listed_values
from focusmap.audit.looks import N_PATCHES, SIDE, Look, Share, look_through
from focusmap.basics import Reason, UnreadableImageError, disk_errors, listed
from focusmap.images import MASK_REMEDY, mask_misfit, read_image, read_shape
from focusmap.scale import mapped
from focusmap.study import HEADER_PATIENT, Cohort, names_nobody, normal_id

if TYPE_CHECKING:
    from focusmap.audit.findings import Audit


SAMPLE = 8


@dataclass(frozen=True)
class ImageSummary:
    """What is known of a study's images or volumes as a whole.

    Parameters
    ----------
    shapes
        Of each that can be read; of volumes towards right, front and top, of some.
    n_channels
        The most that any has.
    voxels
        Size in mm of the voxels of each volume whose file says it, along the same axes.
    """

    shapes: Sequence[tuple[int, ...]]
    n_channels: int
    voxels: Sequence[tuple[float, ...]] = ()

    @property
    def dimensions(self) -> int:
        """Return 3 if most are volumes, else 2."""
        return 3 if 2 * sum(len(shape) == 3 for shape in self.shapes) > len(self.shapes) else 2


def look_at_sample(cohort: Cohort) -> ImageSummary:
    """Return what a few images or volumes are like; unreadable ones are left to the audit."""
    from focusmap.images import orientation, voxel_sizes

    shapes, voxels, n_channels = [], [], 1
    for position in np.linspace(0, len(cohort) - 1, min(SAMPLE, len(cohort))).astype(int):
        try:
            image = read_image(cohort.files[position])
        except UnreadableImageError:
            continue
        shape, axes = image.source_shape, orientation(image.affine)[0]
        shapes.append(tuple(shape[axis] for axis in axes) if len(shape) == 3 else shape)
        n_channels = max(n_channels, image.n_channels)
        if image.affine is not None:
            voxels.append(tuple(float(size) for size in voxel_sizes(image.affine)[list(axes)]))
    return ImageSummary(shapes, n_channels, voxels)


def image_summary_of(judged: "Audit", cohort: Cohort) -> ImageSummary | None:
    """Return the shape of every image as the audit saw it; of volumes, of those that a dry run looks at.

    None for a study without images.
    """
    if not cohort.has_images:
        return None
    images = cast(Mapping[str, Mapping[str, int]], judged.overview["images"])
    shapes = [tuple(map(int, size.split("x"))) for size, count in images["sizes"].items() for _ in range(count)]
    summary = ImageSummary(shapes, max([int(mode.split(", ")[1].split()[0]) for mode in images["modes"]], default=1))
    return summary if summary.dimensions == 2 else replace(look_at_sample(cohort), n_channels=summary.n_channels)


SHARE = 32
MOST_SEARCHED = 2000
POOL_SECONDS = 8.0


@dataclass(frozen=True)
class Images:
    """All images of a cohort, in table order.

    Parameters
    ----------
    looks
        One per image.
    thumbnails : (N, 32, 32) uint8
        Zero where an image is unreadable.
    formats
        File endings, lower case.
    """

    looks: tuple[Look, ...]
    thumbnails: np.ndarray
    formats: tuple[str, ...]

    @property
    def corners(self) -> np.ndarray:
        """``(N, 4, 4, 4) uint8`` of each look; zero where an image is unreadable."""
        blank = np.zeros((4, N_PATCHES, N_PATCHES), np.uint8)
        return np.stack([blank if look.corners is None else look.corners for look in self.looks])

    @property
    def readable(self) -> np.ndarray:
        """``(N,) bool``."""
        return np.array([not look.reason for look in self.looks], dtype=bool)


def look_at_all(files: Sequence[Path], options: AuditOptions) -> Images:
    """Return a look at each file, read in several processes where that pays for starting them."""
    looks: list[Look] = []
    for look in _looks(files, options):
        looks.append(look)
        options.progress("looking at images", len(looks), len(files))
    blank = np.zeros((SIDE, SIDE), np.uint8)
    thumbnails = [blank if look.thumbnail is None else look.thumbnail for look in looks]
    stacked = np.stack(thumbnails) if looks else np.zeros((0, SIDE, SIDE), np.uint8)
    return Images(tuple(looks), stacked, tuple(_format(file) for file in files))


def image_findings(images: Images, image_ids: Sequence[str]) -> list[Finding]:
    """Return findings on images that cannot be read or show nothing."""
    looks = list(zip(image_ids, images.looks, strict=True))
    unreadable = [f"{name}: {look.reason}" for name, look in looks if look.reason]
    findings = []
    if unreadable:
        names = [name for name, look in looks if look.reason]
        fact = Reason("cannot-be-read", n=len(unreadable), names=listed(names, 3, ", "))
        findings.append(finding("unreadable-image", fact, unreadable))
    noted = [f"{name}: {note}" for name, look in looks for note in look.notes]
    if noted:
        findings.append(finding("odd-pixels", Reason("read-with-a-note", n=len(noted), first=noted[0]), noted))
    marked = [name for name, look in looks if look.marks]
    if marked:
        kinds = Counter(kind for _, look in looks for kind in {mark.kind for mark in look.marks})
        fact = Reason(
            "marks-burnt-in",
            n=len(marked),
            of=min(len(images.looks), MOST_SEARCHED),
            **{kind: kinds[kind] for kind in ("text", "caliper", "marker")},
        )
        findings.append(finding("burnt-in-marks", fact, marked))
    empty = [name for name, look in looks if look.empty]
    if empty:
        findings.append(finding("constant-image", Reason("nearly-one-value", n=len(empty)), empty))
    return findings


def header_findings(cohort: Cohort, images: Images) -> list[Finding]:
    """Return the finding on patients and studies of DICOM headers that do not agree with the patient column.

    No value of a header is quoted: images stand for them.
    """
    if cohort.study.patients != "column" or cohort.study.patient_column == HEADER_PATIENT:
        return []
    column = cohort.patient_ids.astype(str)
    facts: list[str] = []
    n_compared, named = 0, str(cohort.study.patient_column)
    for what, place, code_of_one in (("patient", 0, "one-patient-by-header"), ("study", 1, "one-study-by-header")):
        owners = np.array([look.metadata.owner[place] for look in images.looks])
        known = np.flatnonzero([not names_nobody(text) for text in owners])
        if len(np.unique(owners[known])) < 2:
            continue
        n_compared += len(known)
        joined = _several(owners[known], column[known], known)
        parted = _several(column[known], owners[known], known) if what == "patient" else []
        for pairs, code in ((joined, code_of_one), (parted, "several-by-header")):
            facts += [Reason(code, a=cohort.image_ids[a], b=cohort.image_ids[b], column=named) for a, b in pairs]
    if facts:
        fact = Reason("headers-differ", n=len(facts), facts=listed_values(facts, 3))
        return [finding("header-patients-differ", fact, facts)]
    agreed = Reason("headers-agree", column=named)
    return [finding("header-patients-agree", agreed, count=n_compared)] if n_compared else []


def _several(groups: np.ndarray, names: np.ndarray, rows: np.ndarray) -> list[tuple[int, int]]:
    """Return for each group of two names or more the rows of two."""
    first: dict[str, int] = {}
    several: dict[str, tuple[int, int]] = {}
    for place, (group, name) in enumerate(zip(groups, names, strict=True)):
        other = first.setdefault(group, place)
        if normal_id(names[other]) != normal_id(name):
            several.setdefault(group, (int(rows[other]), int(rows[place])))
    return list(several.values())


def _looks(files: Sequence[Path], options: AuditOptions) -> Iterator[Look]:
    # Of many images as many are searched for marks as take a few seconds.
    every = -(-len(files) // MOST_SEARCHED)
    jobs = [(file.absolute(), position % every == 0) for position, file in enumerate(files)]
    shares: deque[Share] = deque(jobs[start : start + SHARE] for start in range(0, len(jobs), SHARE))
    kept = None if options.kept is None else options.kept.absolute()
    if kept is not None:
        with disk_errors(kept):
            # Not for other users: there are patients of headers among what is kept.
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.cluster is None:
        yield from _looks_here(shares, kept, options.workers or os.cpu_count() or 1)
    else:
        yield from chain.from_iterable(mapped(partial(_looked_through, kept=kept), shares, 1, options.cluster))


def _looks_here(shares: deque[Share], kept: Path | None, n_workers: int) -> Iterator[Look]:
    """Yield the looks of all shares, one after the other until a share shows that processes would be worth starting."""
    seconds = 0.0
    while shares and (n_workers == 1 or seconds * len(shares) <= POOL_SECONDS):
        started = time.monotonic()
        yield from look_through(shares.popleft(), kept)
        seconds = time.monotonic() - started
    if shares:
        # By spawn: a pool by fork can hang where a parent thread holds a lock.
        with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
            yield from chain.from_iterable(pool.map(partial(_looked_through, kept=kept), shares))


def _looked_through(share: Share, kept: Path | None) -> list[Look]:
    return list(look_through(share, kept))


def _format(file: Path) -> str:
    return "".join(file.suffixes[-2:]).lower() if file.suffix.lower() == ".gz" else file.suffix.lower()


def mask_findings(cohort: Cohort, images: Images) -> list[Finding]:
    """Return the finding on masks whose shape is not that of their image, or that cannot be read."""
    wrong = _misfits(cohort, images)
    if not wrong:
        return []
    return [finding(MASK_SHAPE, (Reason("masks-misfit", n=len(wrong), first=wrong[0]), MASK_REMEDY), wrong)]


def _misfits(cohort: Cohort, images: Images) -> list[str]:
    """Return what is wrong with each mask that does not fit; an image that cannot be read has its own finding."""
    misfits = (
        _misfit(cohort.study.images, name, image_id, look.size)
        for column in cohort.mask_columns
        for image_id, name, look in zip(cohort.image_ids, cohort.table[column], images.looks, strict=True)
        if name and not look.reason
    )
    return [wrong for wrong in misfits if wrong]


def _misfit(folder: Path, name: str, image_id: str, size: tuple[int, ...]) -> str:
    try:
        return mask_misfit(Path(name), read_shape(folder / name), image_id, size)
    except UnreadableImageError as error:
        return str(error).rstrip(".").replace(str(folder / name), name)
