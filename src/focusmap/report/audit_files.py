"""The audit as files: ``audit.json``, sheets of images to look at, and ``audit.html``."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from focusmap.errors import FocusmapError
from focusmap.figures.sheets import Tile, write_sheet
from focusmap.files import write_json
from focusmap.images.read import read_image
from focusmap.images.slices import middle_slice
from focusmap.reasons import Language
from focusmap.report.audit_page import AuditImages, PairImage, render_audit
from focusmap.study.cohort import Cohort
from focusmap.study.options import RunOptions
from focusmap.study.roster import Roster, roster_of
from focusmap.study.split import Split

if TYPE_CHECKING:
    from focusmap.audit import Audit

SHOWN_PAIRS = 8
SHEET_PIXELS = 256


def audited(
    cohort: Cohort, out: Path, options: RunOptions, split: Split | None = None, against: Roster | None = None
) -> "Audit":
    """Return the audit of a cohort and write it to the folder `out`.

    Parameters
    ----------
    split
        The split to be judged; without one, the declared split is.
    against
        Another table, whose patients and images must not stand in this one.
    """
    from focusmap.audit import AuditOptions, audit_against, audit_cohort

    settings = AuditOptions(options.accept, options.workers, options.recipe.seed, options.progress)
    shared = audit_against(roster_of(cohort), against, settings) if against is not None else []
    result = audit_cohort(cohort, split, settings).extended(shared, options.accept)
    write_audit(result, cohort, out, options.language)
    return result


def audited_for_training(cohort: Cohort, out: Path, options: RunOptions) -> "Callable[[Split], Audit]":
    """Return what audits a cohort with a split and writes that to `out`.

    It raises `RefusedError` if a blocking finding stands, and `InputError` if a mask does not fit its image.
    """
    from focusmap.audit.refusal import refuse_blocking, refuse_masks

    def judged(split: Split) -> "Audit":
        result = audited(cohort, out, options, split)
        refuse_blocking(result, options, out)
        refuse_masks(result)
        return result

    return judged


def write_audit(audit: "Audit", cohort: Cohort, out: Path, language: Language) -> Path:
    """Write the audit of a cohort to the folder `out`; return the page."""
    write_json(out / "audit.json", audit.to_dict())
    sheets = {}
    for number, (label, image_ids) in enumerate(audit.sample_sheets.items()):
        path = out / "audit" / f"sheet{number}.png"
        if _write_sheet(cohort, image_ids, path):
            sheets[label] = path
    images = AuditImages(sheets, _write_pairs(audit, cohort, out / "audit"))
    return render_audit(audit.to_dict(), images, out, language)


def _write_pairs(audit: "Audit", cohort: Cohort, folder: Path) -> list[PairImage]:
    """Write the most alike images side by side."""
    duplicates = cast(dict[str, list[dict[str, object]]], audit.overview.get("duplicates", {}))
    written = []
    for number, pair in enumerate(duplicates.get("near", [])[:SHOWN_PAIRS]):
        shown = PairImage(str(pair["a"]), str(pair["b"]), float(str(pair["correlation"])), folder / f"pair{number}.png")
        if _write_sheet(cohort, (shown.a, shown.b), shown.path):
            written.append(shown)
    return written


def _write_sheet(cohort: Cohort, image_ids: Sequence[str], path: Path) -> bool:
    """Write a sheet of the images that can be read; return whether there was any."""
    tiles = list(_tiles(cohort, image_ids)) if cohort.has_images else []
    if tiles:
        write_sheet(path, tiles)
    return bool(tiles)


def _tiles(cohort: Cohort, image_ids: Sequence[str]) -> Iterable[Tile]:
    for image_id in image_ids:
        try:
            pixels = middle_slice(read_image(cohort.file(image_id), at_least=SHEET_PIXELS))
        except FocusmapError:
            continue  # the audit's own finding names it
        yield Tile(pixels[0] if pixels.shape[0] == 1 else pixels, image_id)
