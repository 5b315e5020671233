"""Heat maps of images in the grids of their files: maps, overlays and an index, a batch at a time.

One way for nets of single images, models of cases and ensembles: each gives a `NetView`. Memory does not grow with the
number of images, but for the rows of the index. Maps are written first; overlays follow from the files, because their
colours end at a value that all overlays of a label share.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from focusmap.basics import INDEX, Progress, Results, read_table, silent, write_failures, write_table
from focusmap.evaluation import Reference, Showing
from focusmap.heatmaps import map_files, overlays
from focusmap.heatmaps.methods import FOCUS, Unit, is_method, unit_of
from focusmap.heatmaps.view import Evidence, NetView, evidence_in
from focusmap.images import AnyPlacement, VolumePlacement, to_source, write_nifti
from focusmap.study import EMPTY_CASE, Failure, Samples, Task, at_once

FOLDERS, FILES = ("maps", "overlays", "binaries"), ("map", "overlay", "binary", "slices")
ABOUT_MAPS = (
    INDEX, overlays.SCALE, "scores.json", "scores.csv", "scores.png", "failures.csv", "trust.json", "trust.html",
)  # fmt: skip
HEAT_MAPS = Results(
    "heat maps",
    "map",
    lambda name: name in (*FOLDERS, *ABOUT_MAPS) or is_method(name) or re.fullmatch(r"fold\d+", name) is not None,
)


@dataclass(frozen=True)
class ExplainOptions:
    """How images are explained.

    Parameters
    ----------
    method
        A name that `NetView.check` allows.
    targets
        Names of targets; empty means all.
    batch_size
        Images per forward pass.
    like
        Folder of maps of the same unit in whose colours overlays are drawn. A label that those have no scale for gets
        the 95th percentile of the highest values of these images' maps, but no less than the unit's least.
    reference
        Masks or boxes to outline, or None.
    showing
        What may be shown; of the rest overlays are grey and say why.
    seconds
        About how long it may take: no further image is begun when half of them are over, since writing what was found
        takes about as long. None: all images.
    progress
        Told of what is done.
    """

    method: str = "cam"
    targets: tuple[str, ...] = ()
    batch_size: int = 16
    like: Path | None = None
    reference: Reference | None = None
    showing: Showing = field(default_factory=Showing)
    seconds: float | None = None
    progress: Progress = silent


@dataclass(frozen=True)
class Explanation:
    """What `write_maps` wrote: the index, the scale of the overlays, and the images that cannot be read."""

    index: pd.DataFrame
    scale: Mapping[str, float]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Job:
    """Where the files go, and how it is done.

    Parameters
    ----------
    file_parts
        Each label's part of a file name.
    columns
        The labels' columns among the logits.
    thresholds
        Threshold at which the region of a label begins; empty for a method without.
    values
        The labels that are continuous targets.
    """

    out: Path
    file_parts: Mapping[str, str]
    columns: Sequence[int]
    thresholds: Mapping[str, float]
    values: frozenset[str]
    options: ExplainOptions

    @property
    def unit(self) -> Unit:
        """Of the maps."""
        return unit_of(self.options.method)


def write_maps(view: NetView, samples: Samples, out: Path, options: ExplainOptions = ExplainOptions()) -> Explanation:
    """Return the index of the heat maps of all images, and write maps, overlays, `index.csv` and `scale.json`.

    ``maps/NAME.LABEL.npz`` holds ``map``, ``(rows, columns) float32`` in the grid of the image's file and in the unit
    of the method; for a continuous target, in its own units in place of logits. A multiclass target has one map per
    class, under the label name ``TARGET=CLASS``. Beside a focus map lies its region, ``binaries/NAME.LABEL.png``: 255
    where the map reaches the label's threshold, 0 elsewhere. Of a volume both are ``.nii.gz`` with its affine, the
    region of 1 and 0.

    All maps of a label have one scale. Probabilities of a case's images are the case's, and they share its evidence:
    the image that decided is bright, and those that did not are pale.

    Parameters
    ----------
    view
        The model's; its nets are set to eval mode.
    samples
        Rows whose images are read from files. One that cannot be read is noted among the failures, and the others, of
        a case too, go on.
    out
        Folder, made where it is missing.

    Raises
    ------
    InputError
        If a target is not one of the model's.
    """
    return _write(view, samples, [_job_for(view, out, options.method, options)])[0]


def write_methods(
    view: NetView, samples: Samples, out: Path, methods: Sequence[str], options: ExplainOptions
) -> Explanation:
    """Return what the first of several methods wrote; each has a folder of its own under one index, unless it is alone.

    Each image is read once for all of them.
    """
    folders = [out] if len(methods) == 1 else [out / method for method in methods]
    jobs = [_job_for(view, *one, options) for one in zip(folders, methods, strict=True)]
    explanations = _write(view, samples, jobs)
    if len(methods) > 1:
        pool_indexes(folders, out)
        pool_scales(folders[:1], methods[0], out)
    return explanations[0]


def _write(view: NetView, samples: Samples, jobs: Sequence[_Job]) -> list[Explanation]:
    rows = _write_all(view, samples, jobs)
    failures = tuple(one for one in samples.failures if one.reason != EMPTY_CASE)
    return [_write_index(own, failures, job) for own, job in zip(rows, jobs, strict=True)]


def _write_index(rows: Sequence[map_files.MapRow], failures: tuple[Failure, ...], job: _Job) -> Explanation:
    options = job.options
    earlier_scale = {} if options.like is None else overlays.read_scale(options.like, options.method)
    scale = {
        **overlays.scale_of(rows, job.unit.least),
        **{k: v for k, v in earlier_scale.items() if k in job.file_parts},
    }
    steps = overlays.write_overlays(
        rows, overlays.Drawing(job.out, options.method, scale, options.reference, options.progress)
    )
    index = map_files.tabulate(rows, steps, options.method)
    write_table(job.out / INDEX, index, sealed=True)
    overlays.write_scale(job.out, options.method, scale)
    return Explanation(index, scale, failures)


def pool_indexes(folders: Sequence[Path], out: Path) -> None:
    """Write one index over the folders of maps that `out` holds."""
    tables = []
    for folder in folders:
        table = read_table(folder / INDEX)
        for column in FILES:
            table[column] = [f"{folder.name}/{path}" if path else "" for path in table[column]]
        tables.append(table)
    write_table(out / INDEX, pd.concat(tables, ignore_index=True), sealed=True)


def pool_scales(folders: Sequence[Path], method: str, out: Path) -> None:
    """Write the mean of the scales that the folders' overlays of a method have, for images to come."""
    means = pd.DataFrame([overlays.read_scale(folder, method) for folder in folders]).mean()
    overlays.write_scale(out, method, {str(label): float(value) for label, value in means.items()})


def overlay_answers(view: NetView, samples: Samples, out: Path, how: ExplainOptions) -> None:
    """Write the maps of samples that were predicted, by the usual method."""
    with HEAT_MAPS.filling(out) as place:
        found = write_methods(view, samples, place, [view.check(None)], how)
        if found.failures:
            write_failures([one.row for one in found.failures], place / "failures.csv")


def labels_of(task: Task, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the label names of the targets named, of all if none is; `InputError` for an unknown one."""
    return tuple(label for name in targets or task.names for label in task.target(name).label_names)


def _job_for(view: NetView, out: Path, method: str, options: ExplainOptions) -> _Job:
    card, parts = view.card, map_files.MapNames()
    labels = labels_of(card.task, options.targets)
    columns = [card.task.label_names.index(label) for label in labels]
    thresholds = {label: one.value for label, one in card.map_thresholds.items()} if method == FOCUS else {}
    values = frozenset(target.name for target in card.task.targets if target.is_number)
    return _Job(
        out,
        {label: parts.name(label) for label in labels},
        columns,
        thresholds,
        values,
        replace(options, method=method),
    )


def _write_all(view: NetView, samples: Samples, jobs: Sequence[_Job]) -> list[list[map_files.MapRow]]:
    """Write the maps of all images, batch by batch and of cases case by case, and return their rows, job by job."""
    names, first, rows = map_files.MapNames(), view.preparations[0], [[] for _ in jobs]  # type: ignore[var-annotated]
    started, seconds = time.monotonic(), jobs[0].options.seconds
    most = 1 if samples.rows.images is not None else at_once(first.input_shape[1:], jobs[0].options.batch_size)
    for batch in samples.batches(view.preparations, most):
        prepared, showing = batch.images(first), jobs[0].options.showing
        items = zip(map_files.items_of(batch), prepared.placements, strict=True)
        images = [
            _Named(item, placement, names.name(item.image_id), showing.is_unlike(prepared, i))
            for i, (item, placement) in enumerate(items)
        ]
        for job, own in zip(jobs, rows, strict=True):
            mapped = view.map_batch(batch, job.options.method, job.columns)
            evidence = evidence_in(mapped, view.card, job.options.method, job.columns)
            own += _write_images(images, evidence, job)
        jobs[0].options.progress("explaining", samples.n_done, len(samples))
        if seconds is not None and time.monotonic() - started > seconds / 2:
            break
    return rows


class _Named(NamedTuple):
    """An image of a batch: how the index names it, where it came from, its part of file names, whether it is unlike."""

    item: map_files.Item
    placement: AnyPlacement
    name: str
    is_unlike: bool


def _write_images(images: Sequence[_Named], evidence: Evidence, job: _Job) -> Iterator[map_files.MapRow]:
    """Write the maps of a batch, several images at once, since compressing leaves Python's lock to others."""

    def written(i: int) -> list[map_files.MapRow]:
        return list(_write_image(images[i], evidence.of_image(i), job))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for rows in pool.map(written, range(len(images))):
            yield from rows


def _write_image(image: _Named, evidence: Evidence, job: _Job) -> Iterator[map_files.MapRow]:
    maps = to_source(evidence.maps, image.placement)
    for k, (label, part) in enumerate(job.file_parts.items()):
        heat_map = maps[k]
        row = map_files.MapRow(
            item=image.item,
            label=label,
            probability=float(evidence.probabilities[k]),
            predicted=bool(evidence.predicted[k]),
            has_evidence=bool(evidence.has_evidence[k] and heat_map.max() > 0),
            evidence=float(evidence.amounts[k]),
            highest=float(heat_map.max() / evidence.units[k]),
            unit=float(evidence.units[k]),
            name=f"{image.name}.{part}",
            deviation=float(evidence.deviations[k]) if label in job.values else None,
            is_volume=isinstance(image.placement, VolumePlacement),
            why=job.options.showing.why_not(label, unlike=image.is_unlike),
        )
        region = heat_map >= job.thresholds[label] if label in job.thresholds else None
        _write_files(row, heat_map, region, image.placement, job.out)
        yield row


def _write_files(
    row: map_files.MapRow, heat_map: np.ndarray, region: np.ndarray | None, placement: AnyPlacement, out: Path
) -> None:
    if isinstance(placement, VolumePlacement):
        write_nifti(out / row.map, heat_map[np.newaxis], placement.affine)
        if region is not None:
            write_nifti(out / row.binary, region[np.newaxis].astype(np.uint8), placement.affine)
        return
    map_files.write_map(out / row.map, heat_map)
    if region is not None:
        map_files.write_binary(out / row.binary, region)
