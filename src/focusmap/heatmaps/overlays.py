"""Maps in colour over their images, on a scale that all overlays of a label share."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np

from focusmap.basics import Progress, read_json, write_json
from focusmap.evaluation import IN_WORDS, Reference
from focusmap.figures import LONG, N_MONTAGE, N_STEPS, Overlay, SliceStrip, draw_overlay, montage, spread, write_strip
from focusmap.heatmaps.map_files import MapRow
from focusmap.heatmaps.methods import FOCUS, Unit, method_of, unit_of
from focusmap.images import Image, read_image, read_map, shown_stack

SCALE = "scale.json"
# Of the highest values of the maps with evidence: one extreme image shall not pale all others.
SCALE_PERCENTILE = 95


@dataclass(frozen=True)
class Drawing:
    """How the overlays of a folder are drawn.

    Parameters
    ----------
    out
        Folder of the maps and the overlays.
    method
        Of the maps.
    scale
        Label name to the value, as shown, at which its overlays' colours end.
    reference
        Masks or boxes to outline, or None.
    """

    out: Path
    method: str
    scale: Mapping[str, float]
    reference: Reference | None
    progress: Progress

    @property
    def unit(self) -> Unit:
        """The unit of the maps."""
        return unit_of(self.method)

    def absent(self, row: MapRow) -> str:
        """Return why a map shows nothing: focus maps are empty, whatever the evidence, where a label is not predicted.

        In the words that an overlay has room for.
        """
        is_blanked = method_of(self.method) == FOCUS and not row.predicted
        return "not predicted: no map" if is_blanked else "no evidence"

    def drawn_unit(self, row: MapRow) -> tuple[str, float]:
        """Return the unit in which a map is drawn, in words, and how much of it a value that is shown is.

        Values are shown, and scaled, in logits; of a continuous target they are drawn in its own unit.
        """
        if row.deviation is None or not self.unit.of_value:
            return self.unit.words, 1.0
        return self.unit.of_value, row.deviation


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

    A label without evidence in any image has none, unless `least` is above 0. The highest value of a case is that of
    the image that decided, however many images beside it did not.
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


def write_overlays(rows: Sequence[MapRow], drawing: Drawing) -> dict[str, tuple[int, int]]:
    """Draw the maps that were written, each image read once for all its labels; return the steps of volumes.

    Those are, by the name of a volume's files, how many slices are shown and which of them has most evidence.
    """
    done, steps = 0, cast(dict[str, tuple[int, int]], {})
    images = [list(of_item) for _, of_item in groupby(rows, key=lambda row: row.item)]
    # Compressing and resizing leave Python's lock to others.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for of_item, found in zip(images, pool.map(partial(_draw_image, drawing=drawing), images), strict=True):
            steps.update(found)
            done += len(of_item)
            drawing.progress("drawing overlays", done, len(rows))
    return steps


def _draw_image(rows: Sequence[MapRow], drawing: Drawing) -> dict[str, tuple[int, int]]:
    """Draw the maps of one image, which is read once for all its labels; return the steps of a volume."""
    image = read_image(rows[0].item.file)
    steps: dict[str, tuple[int, int]] = {}
    for row in rows:
        unit = drawing.drawn_unit(row)[1]
        heat_map = read_map(drawing.out / row.map) / row.unit * unit if row.has_evidence else None
        layers = _Layers(heat_map, _outline(row, drawing.reference, image.source_shape))
        end = drawing.scale.get(row.label, 0.0) * unit
        if row.is_volume:
            steps[row.name] = _draw_volume(row, image, layers, end, drawing)
        else:
            _draw(row, image.pixels if image.n_channels == 3 else image.pixels[0], layers, end, drawing)
    return steps


@dataclass(frozen=True)
class _Layers:
    """What lies over an image or volume, in its own grid: the map as shown, and the reference mask."""

    heat_map: np.ndarray | None
    outline: np.ndarray | None

    def through(self, arranged: Callable[[np.ndarray], np.ndarray]) -> "_Layers":
        return _Layers(*(None if layer is None else arranged(layer) for layer in (self.heat_map, self.outline)))


def _draw(row: MapRow, shown: np.ndarray, layers: _Layers, end: float, drawing: Drawing) -> None:
    long = 2 * LONG if row.is_volume else LONG
    unit, absent = drawing.drawn_unit(row)[0], drawing.absent(row)
    withheld = IN_WORDS.get(row.why, "")
    overlay = Overlay(shown, layers.heat_map, _caption(row), end, layers.outline, unit, long, absent, withheld)
    draw_overlay(drawing.out / row.overlay, overlay)


def _draw_volume(row: MapRow, image: Image, layers: _Layers, end: float, drawing: Drawing) -> tuple[int, int]:
    """Draw slices side by side, and all of them to step through; return their number and the strongest's place."""
    slices, view = shown_stack(image)
    stacked = layers.through(view.stack)
    strongest = len(slices) // 2
    if stacked.heat_map is not None:
        strongest = int(np.maximum(stacked.heat_map, 0).sum(axis=(1, 2)).argmax())
    few, many = (spread(len(slices), most, strongest) for most in (N_MONTAGE, N_STEPS))
    _draw(row, montage(slices[few]), stacked.through(lambda stack: montage(stack[few])), end, drawing)
    maps = None if stacked.heat_map is None or row.why else stacked.heat_map[many]
    write_strip(drawing.out / row.slices, SliceStrip(slices[many], maps, many, end))
    return len(many), many.index(strongest)


def _outline(row: MapRow, reference: Reference | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if reference is None or row.item.image_id not in reference.cohort.positions:
        return None
    return reference.mask(row.item.image_id, row.label, shape)


def _caption(row: MapRow) -> str:
    verdict = "predicted" if row.predicted else "not predicted"
    # The value of a continuous target is no probability that could be above an operating point.
    outcome = f"({verdict})" if row.deviation is None else "(in the target's unit)"
    case = f"{', '.join(filter(None, (row.item.case_id, row.item.view)))}: " if row.item.case_id else ""
    return f"{row.label} {row.probability:.2f} {outcome}   {case}{row.item.path}"
