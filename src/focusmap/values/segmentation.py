"""How masks of lesions are drawn: the settings of `focusmap.segmentation`, as a recipe holds them."""

from dataclasses import dataclass
from typing import Literal

from focusmap.errors import InputError

Features = Literal["unit", "elu"]
Edges = Literal["none", "random-walker", "superpixels"]


@dataclass(frozen=True)
class SegmentationRecipe:
    """Settings of the way from a heat map to a mask.

    Parameters
    ----------
    foreground, background
        Where a map, its highest value 1, is cut into seeds of lesion and of background; 0 means chosen on tune, where
        Otsu's method parts the values of the maps in three.
    features
        What ends the net that gives each voxel a feature: ``unit`` length, or an ``elu``.
    points
        Share of a case's voxels, the highest of its map, that a lesion grows from.
    similarity
        Lambda: from how much on a voxel is like the points and joins them.
    walk_radius, walk_beta, walk_steps
        The random walk over similar voxels: how far a step goes, the exponent of the similarity, how many steps.
    edges
        What aligns the region with the picture's own edges.
    band
        Half of the width, about `similarity`, of the band that the distilled U-Net does not learn from.
    rounds
        How often a U-Net is trained, each on what the one before it drew.
    n_steps
        Steps of each training.
    max_cases
        Cases of train that are learnt from, those with a lesion first.
    """

    foreground: float = 0.0
    background: float = 0.0
    features: Features = "unit"
    points: float = 0.005
    similarity: float = 0.5
    walk_radius: float = 3.0
    walk_beta: float = 4.0
    walk_steps: int = 6
    edges: Edges = "none"
    band: float = 0.1
    rounds: int = 1
    n_steps: int = 300
    max_cases: int = 400

    def __post_init__(self) -> None:
        for name in ("points", "similarity"):
            _check(0 < getattr(self, name) < 1, f"{name} must lie between 0 and 1")
        _check(0 <= self.background <= 1 and 0 <= self.foreground <= 1, "seeds must lie between 0 and 1")
        both = bool(self.background) == bool(self.foreground)
        _check(both, "give both foreground and background, or neither")
        _check(self.background <= self.foreground, "background must not be above foreground")
        _check(0 <= self.band < min(self.similarity, 1 - self.similarity), "band must be smaller than similarity")
        _check(self.walk_radius >= 1, "walk_radius must be at least 1")
        _check(self.walk_beta > 0, "walk_beta must be above 0")
        _check(self.walk_steps >= 0, "walk_steps must not be negative")
        _check(min(self.rounds, self.max_cases) >= 1 and self.n_steps >= 2, "rounds, n_steps, max_cases are too few")


def _check(holds: bool, fact: str) -> None:
    if not holds:
        raise InputError(f"segmentation: {fact}.")
