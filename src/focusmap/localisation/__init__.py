"""Heat maps against reference masks: pointing game, energy, IoU and Dice, beside baselines that never saw the picture.

A map is scored as it is shown: what speaks against a label counts as none.
"""

from focusmap.localisation.baselines import BASELINES, centre_map, edges_map, mean_mask, random_map
from focusmap.localisation.measures import chance, dice_at, energy_pointing, iou_at, otsu_cut, pointing_hit
from focusmap.localisation.reference import Boxes, Reference, read_boxes, reference_of
from focusmap.localisation.scoring import Explained, ScoreOptions, score_maps, summarise

__all__ = [
    "BASELINES", "Boxes", "Explained", "Reference", "ScoreOptions", "centre_map", "chance", "dice_at", "edges_map",
    "energy_pointing", "iou_at", "mean_mask", "otsu_cut", "pointing_hit", "random_map", "read_boxes",
    "reference_of", "score_maps", "summarise",
]  # fmt: skip
