"""The files of heat maps, one array per file under a name made from image and label, and their index."""

import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from focusmap.basics import IMAGE_SUFFIX, atomic, cut_to
from focusmap.evaluation import SHOWN, Why
from focusmap.heatmaps.methods import FOCUS
from focusmap.images import MAP_KEY
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
        archive.writestr(f"{MAP_KEY}.npy", _npy_bytes(heat_map))


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
