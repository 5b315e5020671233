"""Heat maps against reference masks: where the disease is, beside baselines that never saw the image.

A map is scored as it is shown: what speaks against a label counts as none.
"""

from focusmap.evaluation.localisation.measures import (
    MapOnMask,
    SortedMap,
    area_cut,
    best_cut,
    chance,
    dice_at,
    energy_pointing,
    iou_at,
    measure,
    otsu_cut,
    pixel_auprc,
    pointing_hit,
    rank_accuracy,
)
from focusmap.evaluation.localisation.reference import Boxes, Reference, read_boxes, reference_of
from focusmap.evaluation.localisation.scoring import Explained, FrozenCuts, score_maps
from focusmap.evaluation.localisation.summary import (
    BASELINES,
    Scored,
    ScoreOptions,
    centre_map,
    edges_map,
    mean_mask,
    random_map,
    summarise,
)

__all__ = [
    "BASELINES", "Boxes", "Explained", "FrozenCuts", "MapOnMask", "Reference", "ScoreOptions", "Scored", "SortedMap",
    "area_cut", "best_cut", "centre_map", "chance", "dice_at", "edges_map", "energy_pointing", "iou_at", "mean_mask",
    "measure", "otsu_cut", "pixel_auprc", "pointing_hit", "random_map", "rank_accuracy", "read_boxes", "reference_of",
    "score_maps", "summarise",
]  # fmt: skip
