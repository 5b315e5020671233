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
    pair_radius
        How far apart, in voxels, the two of a pair may lie that this net learns from; 0 means anywhere, in another case
        too. It is a setting for large volumes whose lesions are to be told from what lies about them.
    points
        Share of a case's voxels, the highest of its map, that a lesion grows from.
    similarity
        Lambda: from how much on a voxel is like the points and joins them.
    walk_radius, walk_beta, walk_steps
        The random walk over similar voxels: how far a step goes, the exponent of the similarity, how many steps.
    edges
        What aligns the region with the image's own edges.
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
    pair_radius: float = 0.0
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
            self._check(name, 0 < getattr(self, name) < 1, "must lie between 0 and 1")
        for name in ("background", "foreground"):
            self._check(name, 0 <= getattr(self, name) <= 1, "must lie between 0 and 1")
        if bool(self.background) != bool(self.foreground):
            raise InputError("segmentation: give both foreground and background, or neither.")
        ordered = self.background <= self.foreground
        self._check("background", ordered, f"must not be above foreground, {self.foreground:g}")
        room = min(self.similarity, 1 - self.similarity)
        within = f"must be at least 0 and below {room:g}, the smaller of similarity and 1 - similarity"
        self._check("band", 0 <= self.band < room, within)
        self._check("walk_beta", self.walk_beta > 0, "must be above 0")
        least = {"walk_radius": 1, "walk_steps": 0, "pair_radius": 0, "rounds": 1, "max_cases": 1, "n_steps": 2}
        for name, at_least in least.items():
            self._check(name, getattr(self, name) >= at_least, f"must be at least {at_least}")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(f"segmentation: {name} is {getattr(self, name):g}; it {rule}.")
