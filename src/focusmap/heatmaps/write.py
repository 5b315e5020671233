"""Heat maps of picture files in their own grid: maps, overlays and an index, a batch of pictures at a time.

Memory does not grow with the number of pictures, but for the rows of the index. Maps are written first; overlays
follow from the files, because their colours end at a value that all overlays of a label share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import pandas as pd

from focusmap.evaluation.localisation.reference import Reference
from focusmap.files import write_table
from focusmap.heatmaps import FOCUS, Unit, unit_of
from focusmap.heatmaps.evidence import Evidence, Item, Picture, find_case_evidence, find_evidence, read_pictures
from focusmap.heatmaps.map_files import MapNames, write_binary, write_map
from focusmap.heatmaps.map_rows import MapRow, tabulate
from focusmap.heatmaps.overlays import Drawing, scale_of, write_overlays, write_scale
from focusmap.images.nifti import write_nifti
from focusmap.images.prepare import to_source
from focusmap.images.volumes import VolumePlacement
from focusmap.models.card import ModelCard
from focusmap.models.cases import CaseModel
from focusmap.models.net import Model
from focusmap.progress import Progress, silent
from focusmap.study.cases import pictures_of, with_pictures
from focusmap.study.cohort import Cohort
from focusmap.study.samples import at_once
from focusmap.study.task import Task

Failures: TypeAlias = list[tuple[str, str]]
"""(image_id, reason) of pictures that cannot be read."""
Seen: TypeAlias = Iterator[tuple[list[Picture], Evidence]]
"""Some pictures at a time, with what a model sees in them."""


@dataclass(frozen=True)
class ExplainOptions:
    """How pictures are explained.

    Parameters
    ----------
    method
        A name that `focusmap.heatmaps.choose_method` allows for the model's net.
    targets
        Names of targets; empty means all.
    batch_size
        Pictures a forward pass.
    scale
        Label name to the value, as shown, at which its overlays' colours end. A label without one gets the 95th
        percentile of the highest values of these pictures' maps, but no less than the unit's least.
    reference
        Masks or boxes to outline, or None.
    progress
        Told of what is done.
    """

    method: str = "cam"
    targets: tuple[str, ...] = ()
    batch_size: int = 16
    scale: Mapping[str, float] | None = None
    reference: Reference | None = None
    progress: Progress = silent


@dataclass(frozen=True)
class Explanation:
    """What `explain` wrote: the index, the scale of the overlays, and (image_id, reason) of unreadable pictures."""

    index: pd.DataFrame
    scale: Mapping[str, float]
    failures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Job:
    """Where the files go, and how it is done.

    Parameters
    ----------
    file_parts
        Each label's part of a file name.
    columns
        The labels' columns among the logits.
    cuts
        Where the maps of each label are cut into regions; empty for a method without.
    values
        The labels that are continuous targets.
    """

    out: Path
    file_parts: Mapping[str, str]
    columns: Sequence[int]
    cuts: Mapping[str, float]
    values: frozenset[str]
    options: ExplainOptions

    @property
    def unit(self) -> Unit:
        """Of the maps."""
        return unit_of(self.options.method)


def explain(model: Model, items: Sequence[Item], out: Path, options: ExplainOptions = ExplainOptions()) -> Explanation:
    """Return the index of the heat maps of all pictures, and write maps, overlays, `index.csv` and `scale.json`.

    ``maps/NAME.LABEL.npz`` holds ``map``, ``(rows, columns) float32`` in the grid of the picture's file and in the unit
    of the method; for a continuous target, in its own units in place of logits. A multiclass target has one map a
    class, under the label name ``TARGET=CLASS``. Beside a focus map lies its region, ``binaries/NAME.LABEL.png``: 255
    where the map reaches the label's cut, 0 elsewhere. Of a volume both are ``.nii.gz`` with its affine, the region of
    1 and 0.

    Parameters
    ----------
    model
        Its net is set to eval mode.
    items
        The pictures. One that cannot be read is noted among the failures, and the others go on.
    out
        Folder, made where it is missing.

    Raises
    ------
    InputError
        If a target is not one of the model's.
    """
    failures: Failures = []
    job = _job_for(model.card, out, options)
    return _write(job, _see_pictures(model, items, failures, job), failures)


def explain_cases(
    model: CaseModel, cases: Cohort, out: Path, options: ExplainOptions = ExplainOptions()
) -> Explanation:
    """Return the index of the heat maps of all pictures of a cohort's cases; files and errors as for `explain`.

    Probabilities are the case's. All maps of a label have one scale, and the pictures of a case share its evidence: the
    picture that decided is bright, and those that did not are pale. A picture that cannot be read is left out of its
    case.
    """
    failures: Failures = []
    job = _job_for(model.card, out, options)
    return _write(job, _see_cases(model, cases, failures, job), failures)


def _job_for(card: ModelCard, out: Path, options: ExplainOptions) -> _Job:
    labels, parts = labels_of(card.task, options.targets), MapNames()
    columns = [card.task.label_names.index(label) for label in labels]
    cuts = {label: cut.cut for label, cut in card.cuts.items()} if options.method == FOCUS else {}
    values = frozenset(target.name for target in card.task.targets if target.kind == "continuous")
    return _Job(out, {label: parts.name(label) for label in labels}, columns, cuts, values, options)


def _write(job: _Job, seen: Seen, failures: Failures) -> Explanation:
    rows, given = list(_write_maps(seen, job)), job.options.scale or {}
    scale = {**scale_of(rows, job.unit.least), **{k: v for k, v in given.items() if k in job.file_parts}}
    drawing = Drawing(job.out, job.options.method, scale, job.options.reference, job.options.progress)
    steps = write_overlays(rows, drawing)
    index = tabulate(rows, steps, job.options.method)
    write_table(job.out / "index.csv", index)
    write_scale(job.out, job.options.method, scale)
    return Explanation(index, scale, tuple(failures))


def labels_of(task: Task, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the label names of the targets named, of all if none is; `InputError` for an unknown one."""
    return tuple(label for name in targets or task.names for label in task.target(name).label_names)


def _see_pictures(model: Model, items: Sequence[Item], failures: Failures, job: _Job) -> Seen:
    """Yield the pictures that can be read, batch by batch, with what the model sees in them."""
    step = at_once(model.preparation.input_shape[1:], job.options.batch_size)
    for start in range(0, len(items), step):
        pictures = list(read_pictures(items[start : start + step], model.preparation, failures))
        if pictures:
            yield pictures, find_evidence(model, pictures, job.options.method, job.columns)
        job.options.progress("explaining", min(start + step, len(items)), len(items))


def _see_cases(model: CaseModel, cases: Cohort, failures: Failures, job: _Job) -> Seen:
    """Yield the pictures that can be read, case by case, with what the model sees in them."""
    for position, own in pictures_of(cases).groupby("position"):
        done = cast(int, position) + 1
        case = replace(cases.take([done - 1]), pictures=own)
        pictures = list(read_pictures(_items_of(case), model.preparation, failures))
        if pictures:
            readable = with_pictures(case, [picture.item.image_id for picture in pictures])
            yield pictures, find_case_evidence(model, readable, pictures, job.options.method, job.columns)
        job.options.progress("explaining", done, len(cases))


def _items_of(case: Cohort) -> list[Item]:
    named, folder = pictures_of(case)[["image_id", "path", "case_id", "view"]], case.study.images
    return [Item(image_id, path, folder / path, *rest) for image_id, path, *rest in named.itertuples(index=False)]


def _write_maps(seen: Seen, job: _Job) -> Iterator[MapRow]:
    """Write the maps of all pictures that were seen, and yield their rows."""
    names = MapNames()
    for pictures, evidence in seen:
        for i, picture in enumerate(pictures):
            name = names.name(picture.item.image_id)
            yield from _write_maps_of(picture, name, _take(evidence, i), job)


def _take(evidence: Evidence, i: int) -> Evidence:
    """Return the evidence of picture `i` alone, its arrays without the first axis."""
    return Evidence(
        evidence.probabilities[i], evidence.predicted[i], evidence.has_evidence[i], evidence.amounts[i],
        evidence.maps[i], evidence.units, evidence.deviations,
    )  # fmt: skip


def _write_maps_of(picture: Picture, name: str, evidence: Evidence, job: _Job) -> Iterator[MapRow]:
    maps = to_source(evidence.maps, picture.placement)
    for k, (label, part) in enumerate(job.file_parts.items()):
        heat_map = maps[k]
        row = MapRow(
            item=picture.item,
            label=label,
            probability=float(evidence.probabilities[k]),
            predicted=bool(evidence.predicted[k]),
            has_evidence=bool(evidence.has_evidence[k] and heat_map.max() > 0),
            evidence=float(evidence.amounts[k]),
            highest=float(heat_map.max() / evidence.units[k]),
            unit=float(evidence.units[k]),
            name=f"{name}.{part}",
            deviation=float(evidence.deviations[k]) if label in job.values else None,
            is_volume=isinstance(picture.placement, VolumePlacement),
        )
        region = heat_map >= job.cuts[label] if label in job.cuts else None
        _write_files(row, heat_map, region, picture, job.out)
        yield row


def _write_files(row: MapRow, heat_map: np.ndarray, region: np.ndarray | None, picture: Picture, out: Path) -> None:
    if isinstance(picture.placement, VolumePlacement):
        affine = picture.placement.affine
        write_nifti(out / row.map, heat_map[np.newaxis], affine)
        if region is not None:
            write_nifti(out / row.binary, region[np.newaxis].astype(np.uint8), affine)
        return
    write_map(out / row.map, heat_map)
    if region is not None:
        write_binary(out / row.binary, region)
