"""Masks as files of a folder: each has a row of the index, and each lesion in it one of what it measures."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import INDEX, Json, Results, write_table
from focusmap.evaluation import SHOWN
from focusmap.evaluation.localisation import mask_scores
from focusmap.heatmaps import MapNames, file_name, write_binary
from focusmap.images import VolumePlacement, write_nifti
from focusmap.segmentation.cases import LesionCase
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.measuring import CELLS, IN_SHORT, UNKNOWN, in_short, measure_lesions

INDEX_COLUMNS = ["image_id", "path", "target", "probability", "mask", "area", "n_pixels", "predicted", "method",
                 "confidence", *IN_SHORT, "shown"]  # fmt: skip
ABOUT_MASKS = (INDEX, "lesions.csv", "scores.json", "scores.csv", "cautions.json", "examples.png", "failures.csv")
MASKS = Results("masks", "mask", lambda name: name in ("masks", *ABOUT_MASKS))
LESION_COLUMNS = ["image_id", "target", "lesion", *CELLS]


@dataclass
class MaskFiles:
    """The masks that a folder holds so far.

    Parameters
    ----------
    rows, lesions
        Of the index, one a mask, and one for each single lesion.
    """

    folder: Path
    names: MapNames = field(default_factory=MapNames)
    rows: list[dict[str, Json]] = field(default_factory=list)
    lesions: list[dict[str, Json]] = field(default_factory=list)

    def add(self, case: LesionCase, lesion: Lesion, region: np.ndarray, method: str, confidence: float | None) -> None:
        """Write the mask of one case, ``(*spatial) bool`` in its image's own grid, and note its rows."""
        n_pixels = int(np.count_nonzero(region))
        size = mask_scores.extent(n_pixels, case.spacing)
        self.rows.append({
            "image_id": case.item.image_id, "path": case.item.path, "target": lesion.name,
            "probability": case.probability, "mask": self._write(case, lesion, region),
            "area": UNKNOWN if size is None else size, "n_pixels": n_pixels, "predicted": case.predicted,
            "method": method, "confidence": "" if confidence is None else round(confidence, 4),
            **self._measure(case, lesion, region), "shown": case.why or SHOWN,
        })  # fmt: skip

    def write_tables(self) -> None:
        """Write ``index.csv`` and ``lesions.csv``."""
        write_table(self.folder / INDEX, pd.DataFrame(self.rows, columns=INDEX_COLUMNS), sealed=True)
        write_table(self.folder / "lesions.csv", pd.DataFrame(self.lesions, columns=LESION_COLUMNS))

    def _write(self, case: LesionCase, lesion: Lesion, region: np.ndarray) -> str:
        """Write a mask; return its name within the folder."""
        name = f"masks/{self.names.name(f'{file_name(case.item.image_id)}.{lesion.name}')}"
        if isinstance(case.placement, VolumePlacement):
            name += ".nii.gz"
            write_nifti(self.folder / name, region[np.newaxis].astype(np.uint8), case.placement.affine)
        else:
            name += ".png"
            write_binary(self.folder / name, region)
        return name

    def _measure(self, case: LesionCase, lesion: Lesion, region: np.ndarray) -> dict[str, Json]:
        """Note every lesion of a mask; return how many there are, and what the largest measures."""
        found = measure_lesions(region, case.spacing, case.affine)
        for k, one in enumerate(found, start=1):
            self.lesions.append({"image_id": case.item.image_id, "target": lesion.name, "lesion": k, **one.cells()})
        return in_short(found, region, case.spacing)
