"""The index of heat maps: a row a map, and the files that belong to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from focusmap.heatmaps import FOCUS
from focusmap.heatmaps.evidence import Item

INDEX_COLUMNS = [
    "image_id", "path", "target", "probability", "method", "map", "overlay", "has_evidence", "evidence", "predicted",
    "binary", "slices", "n_slices", "strongest",
]  # fmt: skip
CASE_COLUMNS = ["case_id", "view"]


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
