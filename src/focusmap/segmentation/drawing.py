"""Who draws the masks of a lesion: a method's name, what it learns on train and chooses on tune, and its regions.

A method learns from image-level labels alone; what it draws of a case are regions, one for each name that it knows: its
own, and what they are made of, such as a map that is cut by itself. All of them are scored side by side. A new method
is a function like `learn_by_likeness` and a line in `METHODS`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from focusmap.errors import DiskError
from focusmap.evaluation.localisation import mean_mask
from focusmap.evaluation.localisation.summary import resized
from focusmap.heatmaps.map_files import file_name
from focusmap.images.prepare import to_source
from focusmap.segmentation.cases import CAM, Job, LesionCase, Member, Seen, map_methods, see
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.seeds import SeedCuts, choose_cuts, choose_cuts_by_masks, noise_level, raised, scaled
from focusmap.segmentation.segmenter import (
    Learnt,
    centred,
    learn_from_regions,
    learn_segmenter,
    load_learnt,
    raw_cut,
    regions_of,
    save_learnt,
)
from focusmap.segmentation.small_nets import LearningOptions, UNet, predict_masks

Soft = dict[str, np.ndarray]
"""Name to region ``(*spatial)`` between 0 and 1 on the working grid; a lesion from 1/2 on."""
Draw = Callable[[LesionCase], Soft]
# What draws without asking the classifier whether there is a lesion.
UNGATED = "supervised"


@dataclass(frozen=True)
class Drawer:
    """What draws the masks of one lesion for one member.

    Parameters
    ----------
    draw
        All regions of a case.
    cuts
        Of each kind of map, as chosen.
    """

    draw: Draw
    cuts: Mapping[str, SeedCuts]


def learn_by_likeness(member: Member, lesion: Lesion, job: Job) -> Drawer:
    """Return what draws ``refined`` and ``distilled``: the map's seeds grow over what is alike, and teach a U-Net.

    No mask is opened, but where the job says that masks of tune choose the thresholds. What was learnt before for the
    same settings is taken from the run, and what is learnt now is left there.
    """
    made_for = job.identity(lesion)
    kept = member.run.segmenters / f"{file_name(lesion.name)}.safetensors"
    learnt = load_learnt(kept, made_for, job.recipe.segmentation, job.device)
    if learnt is None:
        learnt = _learn(member, lesion, job)
        # A run that is read-only is none the worse to draw with.
        with suppress(DiskError):
            save_learnt(learnt, made_for, kept)

    def draw(case: LesionCase) -> Soft:
        raw = {name: centred(scaled(case.maps[name]), raw_cut(cuts)) for name, cuts in learnt.cuts.items()}
        return {**raw, **regions_of(learnt.segmenter, case.image, case.maps[learnt.seed_method])}

    return Drawer(draw, learnt.cuts)


METHODS: dict[str, Callable[[Member, Lesion, Job], Drawer]] = {
    "refined": learn_by_likeness,
    "distilled": learn_by_likeness,
}
"""By the names of `focusmap.segmentation.DRAWN_BY`: what learns to draw these regions, perhaps with others."""


def learn_to_draw(method: str, member: Member, lesion: Lesion, job: Job) -> Drawer:
    """Return what a method draws with; where true masks exist, beside what its masks are held against."""
    drawer = METHODS[method](member, lesion, job)
    return _with_comparisons(drawer, member, lesion, job) if member.cohort.has_masks else drawer


def drawn_regions(case: LesionCase, drawer: Drawer) -> dict[str, np.ndarray]:
    """Return every region ``(*source_shape) bool`` by name; empty where the model says that there is no lesion."""
    soft = {
        name: region if case.predicted or name == UNGATED else np.zeros_like(region)
        for name, region in drawer.draw(case).items()
    }
    return {name: to_source(region, case.placement) >= 1 / 2 for name, region in soft.items()}


def _learn(member: Member, lesion: Lesion, job: Job) -> Learnt:
    recipe = job.recipe.segmentation
    train, tune = (see(member.view, cohort, lesion, job) for cohort in (member.train, member.tune))
    seen, methods = tune if tune.of(1) else train, map_methods(member.view)
    cuts = {name: _cuts_of(seen, lesion, name, job) for name in methods}
    first, options = methods[0], job.learning(lesion.name)
    segmenter = learn_segmenter(train.arrays(first), train.stands_out(first), cuts[first], recipe, options)
    return Learnt(segmenter, cuts)


def _cuts_of(seen: Seen, lesion: Lesion, method: str, job: Job) -> SeedCuts:
    recipe = job.recipe.segmentation
    if recipe.foreground:
        return SeedCuts(recipe.background, recipe.foreground)
    if job.tune_on_masks:
        pairs = [(scaled(case.maps[method]), seen.mask(i, lesion)) for i, case in enumerate(seen.cases)]
        marked = [(heat_map, mask) for heat_map, mask in pairs if mask is not None and mask.any()]
        if marked:
            return choose_cuts_by_masks([heat_map for heat_map, _ in marked], [mask for _, mask in marked])
    with_lesion, without = ([case.maps[method] for case in seen.of(known)] for known in (1, 0))
    return raised(choose_cuts([scaled(heat_map) for heat_map in with_lesion]), noise_level(with_lesion, without))


def _with_comparisons(drawer: Drawer, member: Member, lesion: Lesion, job: Job) -> Drawer:
    """Return the drawer with what its masks are held against.

    ``weak_unet`` learns from the masks of the raw class activation map; ``supervised``, the upper bound, and
    ``mean_mask``, where train has masks, from those.
    """
    train = see(member.view, member.train, lesion, job)
    arrays, options = train.arrays(CAM), job.learning(lesion.name)
    cut = raw_cut(drawer.cuts[CAM])
    weak = learn_from_regions(arrays, [heat_map >= cut for heat_map in arrays.maps], _doing(options, "on raw maps"))
    added: dict[str, Callable[[LesionCase], np.ndarray]] = {"weak_unet": partial(_answer, weak)}
    masks = [train.mask(i, lesion) for i in range(len(train.cases))]
    if any(mask is not None and mask.any() for mask in masks):
        supervised = learn_from_regions(arrays, masks, _doing(options, "on true masks"))
        added[UNGATED] = partial(_answer, supervised)
        added["mean_mask"] = _mean_mask([mask for mask in masks if mask is not None and mask.any()])

    def draw(case: LesionCase) -> Soft:
        return {**drawer.draw(case), **{name: one(case) for name, one in added.items()}}

    return replace(drawer, draw=draw)


def _answer(net: UNet, case: LesionCase) -> np.ndarray:
    return np.asarray(predict_masks(net, case.image[None])[0])


def _mean_mask(masks: Sequence[np.ndarray]) -> Callable[[LesionCase], np.ndarray]:
    mean = mean_mask(masks)
    assert mean is not None
    shown = scaled(resized(mean, masks[0].shape))
    region = centred(shown, choose_cuts_by_masks([shown] * len(masks), masks).foreground)
    return lambda _: region


def _doing(options: LearningOptions, what: str) -> LearningOptions:
    return replace(options, doing=f"{options.doing}: {what}")
