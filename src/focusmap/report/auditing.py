"""An audit made and written: ``audit.json``, the page, sheets of images, pairs, and crops of what is burnt in."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from focusmap.audit import (
    Audit,
    AuditOptions,
    Inspection,
    audit_against,
    audit_inspected,
    refuse_blocking,
    refuse_masks,
)
from focusmap.basics import FocusmapError, Json, Language, items, number, write_json
from focusmap.figures import Tile, write_sheet
from focusmap.images import middle_slice, read_image
from focusmap.report.audit_page import AuditImages, PairImage, render_audit
from focusmap.report.words import words_in
from focusmap.scale import write_unread
from focusmap.study import Cohort, Roster, RunOptions, Split, roster_of

SHOWN_PAIRS, SHOWN_CROPS, AROUND = 8, 24, 0.05
SHEET_PIXELS = 256
LOOKS = ".looks"


def audited(
    cohort: Cohort, out: Path, options: RunOptions, split: Split | None = None, against: Roster | None = None
) -> Audit:
    """Return the audit of a cohort and write it to the folder `out`.

    Without `split`, the declared one is judged; patients and images of `against` must not stand in the cohort.
    """
    settings = _settings(options, out)
    shared = audit_against(roster_of(cohort), against, settings) if against is not None else []
    inspection = Inspection(cohort, settings)
    result = audit_inspected(inspection, split).extended(shared, options.accept)
    write_audit(result, cohort, out, options.language)
    if options.cluster is not None:
        write_unread(out, inspection.unread)
    return result


def _settings(options: RunOptions, out: Path) -> AuditOptions:
    seed, kept = options.recipe.seed, out / LOOKS
    return AuditOptions(options.accept, options.workers, seed, options.progress, options.cluster, kept)


@dataclass(frozen=True)
class TrainingAudit:
    """The audit that comes before a training: of a cohort, written to the folder `out`, each image looked at once."""

    cohort: Cohort
    out: Path
    options: RunOptions

    @cached_property
    def _inspection(self) -> Inspection:
        return Inspection(self.cohort, _settings(self.options, self.out))

    def near_groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the ids of images that are to stand in one part; none where the user wants none."""
        return self._inspection.near_groups if self.options.group_near_duplicates else ()

    def judged(self, split: Split) -> Audit:
        """Return the audit with a split; `RefusedError` if a finding blocks, `InputError` if a mask does not fit."""
        result = audit_inspected(self._inspection, split)
        write_audit(result, self.cohort, self.out, self.options.language)
        refuse_blocking(result, self.options, self.out)
        refuse_masks(result)
        return result


def write_audit(audit: Audit, cohort: Cohort, out: Path, language: Language) -> Path:
    """Write the audit of a cohort to the folder `out`, which needs no looks any more; return the page."""
    write_json(out / "audit.json", audit.to_dict(), sealed=True)
    shutil.rmtree(out / LOOKS, ignore_errors=True)
    sheets = {}
    for n, (label, image_ids) in enumerate(audit.sample_sheets.items()):
        path = out / "audit" / f"sheet{n}.png"
        if _write_sheet(cohort, image_ids, path):
            sheets[label] = path
    path = out / "audit" / "marks.png"
    if tiles := list(_crops(audit, cohort)):
        write_sheet(path, tiles)
        sheets[words_in(language)("overview.marks")] = path
    images = AuditImages(sheets, _write_pairs(audit, cohort, out / "audit"))
    return render_audit(audit.to_dict(), images, out, language)


def _write_pairs(audit: Audit, cohort: Cohort, folder: Path) -> list[PairImage]:
    """Write the most alike images side by side."""
    duplicates = cast(dict[str, list[dict[str, object]]], audit.overview.get("duplicates", {}))
    written = []
    for n, pair in enumerate(duplicates.get("near", [])[:SHOWN_PAIRS]):
        image_pair = PairImage(str(pair["a"]), str(pair["b"]), float(str(pair["correlation"])), folder / f"pair{n}.png")
        if _write_sheet(cohort, (image_pair.a, image_pair.b), image_pair.path):
            written.append(image_pair)
    return written


def _write_sheet(cohort: Cohort, image_ids: Sequence[str], path: Path) -> bool:
    """Write a sheet of the images that can be read; return whether there was any."""
    tiles = list(_tiles(cohort, image_ids)) if cohort.has_images else []
    if tiles:
        write_sheet(path, tiles)
    return bool(tiles)


def _crops(audit: Audit, cohort: Cohort) -> Iterator[Tile]:
    """Yield what is burnt into images, one crop per image, with some of what lies around."""
    marks = cast(Sequence[dict[str, Json]], audit.overview.get("marks", ()))
    first = {str(mark["image_id"]): mark for mark in reversed(marks)}
    for image_id, mark in list(first.items())[::-1][:SHOWN_CROPS]:
        pixels = middle_slice(read_image(cohort.file(image_id)))
        rows, columns = pixels.shape[1:]
        top, left, bottom, right = (number(side) or 0.0 for side in items(mark["box"]))
        down = slice(int(max(top - AROUND, 0) * rows), int((bottom + AROUND) * rows) + 1)
        across = slice(int(max(left - AROUND, 0) * columns), int((right + AROUND) * columns) + 1)
        yield Tile(pixels[:, down, across], f"{image_id}: {mark['kind']}")


def _tiles(cohort: Cohort, image_ids: Sequence[str]) -> Iterable[Tile]:
    for image_id in image_ids:
        try:
            pixels = middle_slice(read_image(cohort.file(image_id), at_least=SHEET_PIXELS))
        except FocusmapError:
            continue  # the audit's own finding names it
        yield Tile(pixels, image_id)
