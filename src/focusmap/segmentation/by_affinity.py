"""The method by affinity: what is sure of a map grows over what is alike, and teaches a U-Net; and its file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from focusmap.basics import Json
from focusmap.heatmaps import file_name
from focusmap.segmentation import learning, learnt_files, propagation, seeds, small_nets
from focusmap.study import Run, SegmentationRecipe
from focusmap.training import Checkpoint

N_FEATURES = 16
HALF = 0.5


@dataclass(frozen=True)
class Segmenter:
    """What draws the masks of a lesion.

    Parameters
    ----------
    thresholds
        Of each kind of map; the first is the one whose highest points a lesion grows from.
    features, distilled
        What voxels are like, and the U-Net that the grown regions taught.
    """

    thresholds: Mapping[str, seeds.SeedThresholds]
    features: small_nets.FeatureNet
    distilled: small_nets.UNet
    recipe: SegmentationRecipe

    @property
    def seed_method(self) -> str:
        """The heat map whose highest points a lesion grows from."""
        return next(iter(self.thresholds))


def learn_segmenter(
    labelled: learning.LabelledMaps,
    stands_out: np.ndarray,
    thresholds: Mapping[str, seeds.SeedThresholds],
    recipe: SegmentationRecipe,
    options: learning.LearningOptions,
) -> Segmenter:
    """Return what draws masks, learnt from maps and image-level labels alone.

    `stands_out` ``(N, *spatial) bool`` is where a map is above what is usual at that place, as `seeds.standing_out`
    has it; the first of the thresholds are those of the maps.
    """
    first = next(iter(thresholds.values()))
    net = _feature_net(labelled, first, recipe, options)
    regions = {i: refine(net, labelled.images[i], labelled.maps[i], first, recipe) for i in labelled.positives}
    marks = {
        i: teaching_marks(region, labelled.maps[i] >= first.middle, stands_out[i], recipe)
        for i, region in regions.items()
    }
    return Segmenter(thresholds, net, _distil(labelled, marks, recipe, options), recipe)


def _feature_net(
    labelled: learning.LabelledMaps,
    thresholds: seeds.SeedThresholds,
    recipe: SegmentationRecipe,
    options: learning.LearningOptions,
) -> small_nets.FeatureNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        dimensions = labelled.maps.ndim - 1
        net = small_nets.FeatureNet(labelled.images.shape[1], N_FEATURES, dimensions, recipe.features)
    marked = labelled.marked({i: seeds.seeds_of(labelled.maps[i], thresholds) for i in labelled.positives})
    doing = f"{options.doing}: what is alike"
    return learning.learn_features(net, marked, replace(options, doing=doing), recipe.pair_radius)


def _distil(
    labelled: learning.LabelledMaps,
    marks: Mapping[int, np.ndarray],
    recipe: SegmentationRecipe,
    options: learning.LearningOptions,
) -> small_nets.UNet:
    taught = replace(options, doing=f"{options.doing}: distilling")
    net = learning.learn_masks(labelled.marked(marks), taught)
    for _ in range(recipe.rounds - 1):
        drawn = {i: small_nets.predict_masks(net, labelled.images[i : i + 1])[0] for i in marks}
        marks = {i: banded(region, HALF, recipe.band) for i, region in drawn.items()}
        net = learning.learn_masks(labelled.marked(marks), taught)
    return net


def teaching_marks(
    region: np.ndarray, raw: np.ndarray, stands_out: np.ndarray, recipe: SegmentationRecipe
) -> np.ndarray:
    """Return what a U-Net is taught of a case with a lesion, ``(*spatial) int8``: 1 lesion, 0 background, -1 nothing.

    Parameters
    ----------
    region : (*spatial)
        As `refine` returns it. If it is empty there is a lesion all the same, so that nothing is taught.
    raw : (*spatial) bool
        The map, thresholded by itself.
    stands_out : (*spatial) bool
        Where the map is above what is usual at that place in cases without a lesion.
    """
    if not region.any():
        return np.full(region.shape, seeds.IGNORED, dtype=np.int8)
    return where_standing_out(where_agreed(banded(region, recipe.similarity, recipe.band), raw), stands_out)


def banded(region: np.ndarray, threshold: float, band: float) -> np.ndarray:
    """Return ``(*spatial) int8``: 1 from `threshold` + `band` on, 0 below `threshold` - `band`, -1 between.

    A region whose highest value is less than two bands above the threshold is a lesion from halfway up to it: a case
    whose voxels are little alike would have no mark of a lesion otherwise, and a net learn of it that there is none.

    >>> banded(np.array([0.2, 0.5, 0.9]), 0.5, 0.1).tolist()
    [0, -1, 1]
    >>> banded(np.array([0.2, 0.5, 0.54]), 0.5, 0.1).tolist()
    [0, -1, 1]
    """
    halfway = (threshold + float(region.max())) / 2
    marked = np.full(region.shape, seeds.IGNORED, dtype=np.int8)
    marked[region < threshold - band] = 0
    marked[region >= np.clip(halfway, threshold, threshold + band)] = 1
    return marked


def where_agreed(marked: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return marks that another region ``(*spatial) bool`` agrees with; the others become -1.

    The map and what grew from it err in different ways: where they differ, the images shall decide.

    >>> where_agreed(np.array([1, 1, 0, 0, -1]), np.array([True, False, True, False, True])).tolist()
    [1, -1, -1, 0, -1]
    """
    return np.where(marked == region, marked, np.int8(seeds.IGNORED))


def where_standing_out(marked: np.ndarray, stands_out: np.ndarray) -> np.ndarray:
    """Return marks of which those of a lesion stand where a map ``(*spatial) bool`` stands out; the others become -1.

    >>> where_standing_out(np.array([1, 1, 0, -1]), np.array([True, False, False, True])).tolist()
    [1, -1, 0, -1]
    """
    return np.where((marked == 1) & ~stands_out, np.int8(seeds.IGNORED), marked)


def refine(
    net: small_nets.FeatureNet,
    image: np.ndarray,
    heat_map: np.ndarray,
    thresholds: seeds.SeedThresholds,
    recipe: SegmentationRecipe,
) -> np.ndarray:
    """Return how much each voxel belongs to the lesion, ``(*spatial)`` between 0 and 1; 0 throughout of an empty map.

    The lesion grows from the highest points of the scaled map to all that is like them; then the walk carries it
    between voxels that are alike and near, and the edges of the image have their say.
    """
    if heat_map.max() <= 0:
        return np.zeros_like(heat_map)
    features = small_nets.features_of(net, image)
    points = propagation.highest_points(heat_map, recipe.points)
    region = propagation.grow(features, points, heat_map.ravel()[points])
    if recipe.walk_steps:
        region = propagation.walk(
            propagation.transitions(features, recipe.walk_radius, recipe.walk_beta), region, recipe.walk_steps
        )
    return propagation.EDGES[recipe.edges](propagation.Refining(image, region, seeds.seeds_of(heat_map, thresholds)))


def regions_of(segmenter: Segmenter, image: np.ndarray, heat_map: np.ndarray) -> dict[str, np.ndarray]:
    """Return the refined and the distilled region ``(*spatial)`` of an image and its map, as the net draws it.

    Each is a lesion from 1/2 on.
    """
    shown = seeds.scaled(heat_map)
    refined = refine(segmenter.features, image, shown, segmenter.thresholds[segmenter.seed_method], segmenter.recipe)
    return {
        # So that one threshold serves all: lambda becomes 1/2.
        "refined": seeds.centred(refined, segmenter.recipe.similarity),
        "distilled": small_nets.predict_masks(segmenter.distilled, image[None])[0],
    }


def learnt_file(run: Run, lesion: str) -> Path:
    """Return the file of a run that holds the `Segmenter` of a lesion."""
    return run.segmenters / f"{file_name(lesion)}.safetensors"


def save_segmenter(segmenter: Segmenter, made_for: Mapping[str, Json], path: Path) -> None:
    """Write what was learnt, and for what; as `focusmap.segmentation.learnt_files.write_learnt`."""
    facts: dict[str, Json] = {
        "channels": segmenter.features.unet.channels,
        "dimensions": segmenter.features.unet.dimensions,
        "is_pretrained": segmenter.distilled.is_pretrained,
        "cuts": learnt_files.cuts_of(segmenter.thresholds),
    }
    learnt_files.write_learnt(made_for, facts, _nets(segmenter.features, segmenter.distilled).state_dict(), path)


def load_segmenter(
    path: Path, made_for: Mapping[str, Json], recipe: SegmentationRecipe, device: torch.device
) -> Segmenter | None:
    """Return the saved segmenter, its nets on a device; as `focusmap.segmentation.learnt_files.read_learnt`."""

    def build(saved: Checkpoint) -> Segmenter:
        channels, dimensions = (cast(int, saved.facts[name]) for name in ("channels", "dimensions"))
        features = small_nets.FeatureNet(channels, N_FEATURES, dimensions, recipe.features)
        distilled = small_nets.UNet(channels, 1, dimensions, is_pretrained=bool(saved.facts["is_pretrained"]))
        nets = _nets(features, distilled)
        nets.load_state_dict(dict(saved.tensors))
        nets.to(device).eval()
        return Segmenter(learnt_files.thresholds_of(saved), features, distilled, recipe)

    return learnt_files.read_learnt(path, made_for, build)


def _nets(features: small_nets.FeatureNet, distilled: small_nets.UNet) -> torch.nn.ModuleDict:
    return torch.nn.ModuleDict({"features": features, "distilled": distilled})
