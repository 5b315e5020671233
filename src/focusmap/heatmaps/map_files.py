"""The files of heat maps, one array per file under a name made from image and label, their index, their overlays.

Overlays are maps in colour over their images, on a scale that a label shares.
"""

import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path, PurePath
from typing import cast

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from focusmap.basics import IMAGE_SUFFIX, Progress, atomic, cut_to, read_json, write_json
from focusmap.evaluation import IN_WORDS, SHOWN, Reference, Why
from focusmap.figures import LONG, N_MONTAGE, N_STEPS, Overlay, SliceStrip, draw_overlay, montage, spread, write_strip
from focusmap.heatmaps.methods import FOCUS, Unit, method_of, unit_of
from focusmap.images import KEY, Image, read_image, read_map, shown_stack
from focusmap.study import Batch

INDEX_COLUMNS = [
    "image_id", "path", "target", "probability", "method", "map", "overlay", "has_evidence", "evidence", "predicted",
    "binary", "slices", "n_slices", "strongest", "shown",
]  # fmt: skip
CASE_COLUMNS = ["case_id", "view"]
# Image, label and suffix have 255 bytes with what a file is called while it is written.
LONGEST_NAME = 110
UNSAFE = re.compile(r"[^\w.=+-]+")


class MapNames:
    """Gives each image or label a file name of its own: equal names of different ones get a number."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def name(self, image_id: str) -> str:
        """Return a new name; call it once for each image or label.

        >>> names = MapNames()
        >>> names.name("images/0001.png"), names.name("images_0001"), names.name("/data/a/0001.png")
        ('images_0001', 'images_0001-2', '0001')
        """
        plain = file_name(image_id)
        self._given[plain.lower()] += 1
        n = self._given[plain.lower()]
        return plain if n == 1 else self.name(f"{plain}-{n}")


def file_name(text: str) -> str:
    """Return `text` as a part of a file name: folders joined by ``_``, no suffix of an image, at most 110 bytes.

    >>> file_name("a b/c:d.png"), file_name("label=benign")
    ('a_b_c_d', 'label=benign')
    """
    path = PurePath(text)
    relative = path.name if path.is_absolute() else text
    return cut_to(UNSAFE.sub("_", IMAGE_SUFFIX.sub("", relative)).strip("_."), LONGEST_NAME) or "_"


def write_map(path: Path, heat_map: np.ndarray) -> None:
    """Write ``(*spatial) float32`` as an ``.npz`` file with the key ``map``.

    At zlib's lowest level: twice as fast as `numpy.savez_compressed`, and as small.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{KEY}.npy", _npy_bytes(heat_map))


def write_binary(path: Path, region: np.ndarray) -> None:
    """Write ``(rows, columns) bool`` as a PNG of 0 and 255."""
    from PIL import Image

    with atomic(path) as temporary:
        Image.fromarray(region.astype(np.uint8) * 255).save(temporary, format="PNG")


def _npy_bytes(heat_map: np.ndarray) -> bytes:
    buffer = BytesIO()
    npy.write_array(buffer, np.ascontiguousarray(heat_map, dtype=np.float32), allow_pickle=False)
    return buffer.getvalue()


@dataclass(frozen=True)
class Item:
    """An image as the index names it: id, the path to show, the file; of a model of cases, its case and view."""

    image_id: str
    path: str
    file: Path
    case_id: str = ""
    view: str = ""


def items_of(batch: Batch) -> list[Item]:
    """Return how the images of a batch are named."""
    columns = [name for name in ("case_id", "view") if name in batch.table]
    names = batch.table[["image_id", "path", *columns]].itertuples(index=False)
    return [Item(image_id, path, file, *rest) for (image_id, path, *rest), file in zip(names, batch.files, strict=True)]


@dataclass(frozen=True)
class MapRow:
    """One map of one image.

    Parameters
    ----------
    evidence
        Its amount, as `Evidence` has it.
    highest
        Its highest value in the grid of the image, as shown.
    unit
        What one unit of the values that are shown is on the written map.
    name
        Of its files, without suffix.
    deviation
        Of a continuous target, what one logit is in its unit; None for other labels.
    is_volume
        True if they are NIfTI files.
    why
        Why it may not be shown; empty where it may be.
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
    why: Why = ""

    @property
    def sample(self) -> str:
        """What the model answers for: the image, or its case."""
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


def tabulate(rows: Sequence[MapRow], steps: Mapping[str, tuple[int, int]], method: str) -> pd.DataFrame:
    """Return the index, one row per map, its columns `INDEX_COLUMNS`; files are relative to its folder.

    Of images of cases `CASE_COLUMNS` are added.
    `steps` says by the name of a volume's files how many slices are shown, and which of them has most evidence.
    """
    records = [
        (row.item.image_id, row.item.path, row.label, row.probability, method, row.map, row.overlay, row.has_evidence,
         row.evidence, row.predicted, row.binary if method == FOCUS else "", row.slices if row.name in steps else "",
         *steps.get(row.name, ("", "")), row.why or SHOWN, row.item.case_id, row.item.view)
        for row in rows
    ]  # fmt: skip
    index = pd.DataFrame(records, columns=[*INDEX_COLUMNS, *CASE_COLUMNS])
    return index if (index["case_id"] != "").any() else index[INDEX_COLUMNS]


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
