"""Heat maps of picture files in their own grid: maps, overlays and an index, a batch of pictures at a time.

Memory does not grow with the number of pictures, but for the rows of the index. Maps are written first; overlays
follow from the files, because their colours end at a value that all overlays of a label share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from focusmap.figures.overlays import Overlay, draw_overlay
from focusmap.heatmaps import FOCUS, Unit, unit_of
from focusmap.imaging.preparation import to_source
from focusmap.imaging.readers import read_image
from focusmap.inference.evidence import Evidence, Item, Picture, find_evidence, read_pictures
from focusmap.inference.map_files import MapNames, read_map, write_binary, write_map
from focusmap.inference.model import Model
from focusmap.localisation.reference import Reference
from focusmap.values.files import read_json, write_json, write_table
from focusmap.values.progress import Progress, silent

INDEX_COLUMNS = [
    "image_id", "path", "target", "probability", "method", "map", "overlay", "has_evidence", "evidence", "predicted",
    "binary",
]  # fmt: skip
SCALE = "scale.json"
# Of the highest values of the maps with evidence: one extreme picture shall not pale all others.
SCALE_PERCENTILE = 95


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
    """

    out: Path
    file_parts: Mapping[str, str]
    columns: Sequence[int]
    cuts: Mapping[str, float]
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
    where the map reaches the label's cut, 0 elsewhere.

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
    labels = labels_of(model, options.targets)
    failures: list[tuple[str, str]] = []
    parts = MapNames()
    columns = [model.task.label_names.index(label) for label in labels]
    cuts = {label: cut.cut for label, cut in model.card.cuts.items()} if options.method == FOCUS else {}
    job = _Job(out, {label: parts.name(label) for label in labels}, columns, cuts, options)
    rows = list(_write_maps(model, items, failures, job))
    scale = {**scale_of(rows, job.unit.least), **{k: v for k, v in (options.scale or {}).items() if k in labels}}
    _write_overlays(rows, scale, job)
    index = tabulate(rows, options.method)
    write_table(out / "index.csv", index)
    write_scale(out, options.method, scale)
    return Explanation(index, scale, tuple(failures))


def labels_of(model: Model, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the label names of the targets named, of all if none is; `InputError` for an unknown one."""
    return tuple(label for name in targets or model.task.names for label in model.task.target(name).label_names)


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

    A label without evidence in any picture has none, unless `least` is above 0.
    """
    highest: dict[str, list[float]] = {row.label: [] for row in rows}
    for row in rows:
        if row.has_evidence:
            highest[row.label].append(row.highest)
    return {
        label: max(float(np.percentile(values, SCALE_PERCENTILE)) if values else 0.0, least)
        for label, values in highest.items()
        if values or least > 0
    }


def tabulate(rows: Sequence[MapRow], method: str) -> pd.DataFrame:
    """Return the index, one row a map, its columns `INDEX_COLUMNS`; files are relative to its folder."""
    records = [
        (row.item.image_id, row.item.path, row.label, row.probability, method, f"maps/{row.name}.npz",
         f"overlays/{row.name}.png", row.has_evidence, row.evidence, row.predicted,
         f"binaries/{row.name}.png" if method == FOCUS else "")
        for row in rows
    ]  # fmt: skip
    return pd.DataFrame(records, columns=INDEX_COLUMNS)


def _write_maps(model: Model, items: Sequence[Item], failures: list[tuple[str, str]], job: _Job) -> Iterator[MapRow]:
    """Write the maps of all pictures that can be read, batch by batch, and yield their rows."""
    names, step = MapNames(), job.options.batch_size
    for start in range(0, len(items), step):
        pictures = list(read_pictures(items[start : start + step], model.preparation, failures))
        if pictures:
            evidence = find_evidence(model, pictures, job.options.method, job.columns)
            for i, picture in enumerate(pictures):
                name = names.name(picture.item.image_id)
                yield from _write_maps_of(picture, name, _take(evidence, i), job)
        job.options.progress("explaining", min(start + step, len(items)), len(items))


def _take(evidence: Evidence, i: int) -> Evidence:
    """Return the evidence of picture `i` alone, its arrays without the first axis."""
    return Evidence(
        evidence.probabilities[i], evidence.predicted[i], evidence.shown[i], evidence.amounts[i], evidence.maps[i],
        evidence.units,
    )  # fmt: skip


def _write_maps_of(picture: Picture, name: str, evidence: Evidence, job: _Job) -> Iterator[MapRow]:
    maps = to_source(evidence.maps, picture.placement, picture.pixels.shape[-1])
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
        )
        write_map(job.out / "maps" / f"{row.name}.npz", heat_map)
        if label in job.cuts:
            write_binary(job.out / "binaries" / f"{row.name}.png", heat_map >= job.cuts[label])
        yield row


def _write_overlays(rows: Sequence[MapRow], scale: Mapping[str, float], job: _Job) -> None:
    """Draw the maps that were written; each picture is read once for all its labels."""
    done = 0
    for item, of_item in groupby(rows, key=lambda row: row.item):
        picture = read_image(item.file).pixels
        for row in of_item:
            heat_map = read_map(job.out / "maps" / f"{row.name}.npz") / row.unit if row.has_evidence else None
            outline = _outline(row, job.options.reference, picture.shape[1:])
            shown = picture if len(picture) == 3 else picture[0]
            overlay = Overlay(shown, heat_map, _caption(row), scale.get(row.label, 0.0), outline, job.unit.words)
            draw_overlay(job.out / "overlays" / f"{row.name}.png", overlay)
            done += 1
        job.options.progress("drawing overlays", done, len(rows))


def _outline(row: MapRow, reference: Reference | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if reference is None or row.item.image_id not in reference.cohort.positions:
        return None
    return reference.mask(row.item.image_id, row.label, (shape[0], shape[1]))


def _caption(row: MapRow) -> str:
    verdict = "predicted" if row.predicted else "not predicted"
    return f"{row.label} {row.probability:.2f} ({verdict})   {row.item.path}"
