"""Heat maps of picture files in their own grid: maps, overlays and an index, a batch of pictures at a time.

Memory does not grow with the number of pictures, but for the rows of the index. Maps are written first; overlays
follow from the files, because their colours end at a value that all overlays of a label share.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import pandas as pd

from focusmap.cohort.cases import pictures_of, with_pictures
from focusmap.cohort.cohort import Cohort
from focusmap.figures.overlays import LONG, Overlay, draw_overlay
from focusmap.figures.slices import N_MONTAGE, N_STEPS, SliceStrip, montage, spread, write_strip
from focusmap.heatmaps import FOCUS, Unit, unit_of
from focusmap.imaging.preparation import to_source
from focusmap.imaging.readers import read_image
from focusmap.imaging.readers.nifti import write_nifti
from focusmap.imaging.slices import shown_stack
from focusmap.imaging.volumes import VolumePlacement
from focusmap.inference.cases import CaseModel
from focusmap.inference.evidence import Evidence, Item, Picture, find_case_evidence, find_evidence, read_pictures
from focusmap.inference.map_files import MapNames, read_map, write_binary, write_map
from focusmap.inference.model import Model
from focusmap.localisation.reference import Reference
from focusmap.training.batches import at_once
from focusmap.values.files import read_json, write_json, write_table
from focusmap.values.image import Image
from focusmap.values.model_card import ModelCard
from focusmap.values.progress import Progress, silent
from focusmap.values.task import Task

INDEX_COLUMNS = [
    "image_id", "path", "target", "probability", "method", "map", "overlay", "has_evidence", "evidence", "predicted",
    "binary", "slices", "n_slices", "strongest",
]  # fmt: skip
CASE_COLUMNS = ["case_id", "view"]
SCALE = "scale.json"
# Of the highest values of the maps with evidence: one extreme picture shall not pale all others.
SCALE_PERCENTILE = 95

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
class MapRow:
    """One map of one picture.

    Parameters
    ----------
    evidence
        Its amount, as `Evidence` has it.
    highest
        Its highest value in the grid of the picture, as shown.
    unit
        What one unit of the values that are shown is on the written map.
    name
        Of its files, without suffix.
    deviation
        Of a continuous target, what one logit is in its unit; None for other labels.
    is_volume
        True if they are NIfTI files.
    """

    item: Item
    label: str
    probability: float
    predicted: bool
    has_evidence: bool
    evidence: float
    highest: float
    unit: float
    name: str
    deviation: float | None = None
    is_volume: bool = False

    @property
    def sample(self) -> str:
        """What the model answers for: the picture, or its case."""
        return self.item.case_id or self.item.image_id

    @property
    def map(self) -> str:
        """The file of the map, in the folder of the index."""
        return f"maps/{self.name}{'.nii.gz' if self.is_volume else '.npz'}"

    @property
    def binary(self) -> str:
        """The file of the region."""
        return f"binaries/{self.name}{'.nii.gz' if self.is_volume else '.png'}"

    @property
    def overlay(self) -> str:
        """The file of the overlay."""
        return f"overlays/{self.name}.png"

    @property
    def slices(self) -> str:
        """The file of a volume's slices under each other."""
        return f"overlays/{self.name}.slices.png"


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

    def drawn_unit(self, row: MapRow) -> tuple[str, float]:
        """Return the unit in which a map is drawn, in words, and how much of it a value that is shown is.

        Values are shown, and scaled, in logits; of a continuous target they are drawn in its own unit.
        """
        if row.deviation is None or not self.unit.of_value:
            return self.unit.words, 1.0
        return self.unit.of_value, row.deviation


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
    steps = _write_overlays(rows, scale, job)
    index = tabulate(rows, steps, job.options.method)
    write_table(job.out / "index.csv", index)
    write_scale(job.out, job.options.method, scale)
    return Explanation(index, scale, tuple(failures))


def labels_of(task: Task, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the label names of the targets named, of all if none is; `InputError` for an unknown one."""
    return tuple(label for name in targets or task.names for label in task.target(name).label_names)


def read_scale(folder: Path, method: str) -> dict[str, float]:
    """Return the scale of the overlays in `folder`; empty where there are none, or none in the unit of `method`."""
    path = folder / SCALE
    match read_json(path) if path.is_file() else None:
        case {"unit": unit, "ends": dict(ends)} if unit == unit_of(method).words:
            return cast(dict[str, float], ends)
    return {}


def write_scale(folder: Path, method: str, ends: Mapping[str, float]) -> None:
    """Write where the colours of each label's overlays end, so that later overlays may be compared with these."""
    write_json(folder / SCALE, {"unit": unit_of(method).words, "ends": dict(ends)})


def scale_of(rows: Sequence[MapRow], least: float) -> dict[str, float]:
    """Return the value at which the colours of a label's overlays end, no less than `least`.

    A label without evidence in any picture has none, unless `least` is above 0. The highest value of a case is that of
    the picture that decided, however many pictures beside it did not.
    """
    highest: dict[str, dict[str, float]] = {row.label: {} for row in rows}
    for row in rows:
        if row.has_evidence:
            own = highest[row.label]
            own[row.sample] = max(own.get(row.sample, 0.0), row.highest)
    return {
        label: max(float(np.percentile(list(values.values()), SCALE_PERCENTILE)) if values else 0.0, least)
        for label, values in highest.items()
        if values or least > 0
    }


def tabulate(rows: Sequence[MapRow], steps: Mapping[str, tuple[int, int]], method: str) -> pd.DataFrame:
    """Return the index, one row a map, its columns `INDEX_COLUMNS`; files are relative to its folder.

    Of pictures of cases `CASE_COLUMNS` are added.
    `steps` says by the name of a volume's files how many slices are shown, and which of them has most evidence.
    """
    records = [
        (row.item.image_id, row.item.path, row.label, row.probability, method, row.map, row.overlay, row.has_evidence,
         row.evidence, row.predicted, row.binary if method == FOCUS else "", row.slices if row.name in steps else "",
         *steps.get(row.name, ("", "")), row.item.case_id, row.item.view)
        for row in rows
    ]  # fmt: skip
    index = pd.DataFrame(records, columns=[*INDEX_COLUMNS, *CASE_COLUMNS])
    return index if (index["case_id"] != "").any() else index[INDEX_COLUMNS]


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
        evidence.probabilities[i], evidence.predicted[i], evidence.shown[i], evidence.amounts[i], evidence.maps[i],
        evidence.units, evidence.deviations,
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
            has_evidence=bool(evidence.shown[k] and heat_map.max() > 0),
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


def _write_overlays(rows: Sequence[MapRow], scale: Mapping[str, float], job: _Job) -> dict[str, tuple[int, int]]:
    """Draw the maps that were written, each picture read once for all its labels; return the steps of volumes."""
    done, steps = 0, {}
    for item, of_item in groupby(rows, key=lambda row: row.item):
        image = read_image(item.file)
        for row in of_item:
            factor = job.drawn_unit(row)[1]
            heat_map = read_map(job.out / row.map) / row.unit * factor if row.has_evidence else None
            outline, end = _outline(row, job.options.reference, image.source_shape), scale.get(row.label, 0.0) * factor
            layers = _Layers(heat_map, outline)
            if row.is_volume:
                steps[row.name] = _draw_volume(row, image, layers, end, job)
            else:
                shown = image.pixels if image.n_channels == 3 else image.pixels[0]
                _draw(row, shown, layers, end, job)
            done += 1
        job.options.progress("drawing overlays", done, len(rows))
    return steps


@dataclass(frozen=True)
class _Layers:
    """What lies over a picture or volume, in its own grid: the map as shown, and the reference mask."""

    heat_map: np.ndarray | None
    outline: np.ndarray | None

    def through(self, arranged: Callable[[np.ndarray], np.ndarray]) -> "_Layers":
        return _Layers(*(None if layer is None else arranged(layer) for layer in (self.heat_map, self.outline)))


def _draw(row: MapRow, shown: np.ndarray, layers: _Layers, end: float, job: _Job) -> None:
    long = 2 * LONG if row.is_volume else LONG
    unit = job.drawn_unit(row)[0]
    overlay = Overlay(shown, layers.heat_map, _caption(row), end, layers.outline, unit, long)
    draw_overlay(job.out / row.overlay, overlay)


def _draw_volume(row: MapRow, image: Image, layers: _Layers, end: float, job: _Job) -> tuple[int, int]:
    """Draw slices side by side, and all of them to step through; return their number and the strongest's place."""
    slices, view = shown_stack(image)
    stacked = layers.through(view.stack)
    strongest = len(slices) // 2
    if stacked.heat_map is not None:
        strongest = int(np.maximum(stacked.heat_map, 0).sum(axis=(1, 2)).argmax())
    few, many = (spread(len(slices), most, strongest) for most in (N_MONTAGE, N_STEPS))
    _draw(row, montage(slices[few]), stacked.through(lambda stack: montage(stack[few])), end, job)
    maps = None if stacked.heat_map is None else stacked.heat_map[many]
    write_strip(job.out / row.slices, SliceStrip(slices[many], maps, many, end))
    return len(many), many.index(strongest)


def _outline(row: MapRow, reference: Reference | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if reference is None or row.item.image_id not in reference.cohort.positions:
        return None
    return reference.mask(row.item.image_id, row.label, shape)


def _caption(row: MapRow) -> str:
    verdict = "predicted" if row.predicted else "not predicted"
    # The value of a continuous target is no probability that could be above an operating point.
    said = f"({verdict})" if row.deviation is None else "(in the target's unit)"
    case = f"{', '.join(filter(None, (row.item.case_id, row.item.view)))}: " if row.item.case_id else ""
    return f"{row.label} {row.probability:.2f} {said}   {case}{row.item.path}"
