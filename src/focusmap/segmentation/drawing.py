"""The masks of one lesion: what is learnt on train, what is chosen on tune, and what is drawn of each case.

Imports torch; the verb in `focusmap.verbs.segment` imports this module when it runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from focusmap.errors import DiskError
from focusmap.evaluation.localisation import Reference, mean_mask
from focusmap.evaluation.localisation.baselines import resized
from focusmap.files import Json
from focusmap.heatmaps.evidence import Item
from focusmap.heatmaps.map_files import file_name
from focusmap.images.prepare import mask_to_input, to_source
from focusmap.models.net import Model
from focusmap.progress import Progress
from focusmap.segmentation.distillation import predict_masks
from focusmap.segmentation.learning import LearningOptions
from focusmap.segmentation.lesions import Lesion, LesionCase, map_methods, read_cases
from focusmap.segmentation.saved import Learnt, load_learnt, save_learnt
from focusmap.segmentation.seeds import (
    SeedCuts,
    choose_cuts,
    choose_cuts_by_masks,
    noise_level,
    raised,
    scaled,
    standing_out,
)
from focusmap.segmentation.segmenter import Lesions, centred, learn_from_regions, learn_segmenter, raw_cut, regions_of
from focusmap.segmentation.unet import UNet
from focusmap.study.cohort import Cohort
from focusmap.study.recipe import Recipe
from focusmap.study.run import Run

Soft = dict[str, np.ndarray]
"""Method to region ``(*spatial)`` between 0 and 1 on the working grid; a lesion from 1/2 on."""
Draw = Callable[[LesionCase], Soft]
# Counted up when the same settings come to learn something else, so that a run's older nets are not taken for new ones.
LEARNING_VERSION = 3
# What draws without asking the classifier whether there is a lesion.
UNGATED = "supervised"


@dataclass(frozen=True)
class Member:
    """One model and its run, what it learnt from and was tuned on, and the cohort whose masks are drawn."""

    run: Run
    model: Model
    train: Cohort
    tune: Cohort
    cohort: Cohort

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.net.parameters()).device


@dataclass(frozen=True)
class Drawer:
    """What draws the masks of one lesion for one member.

    Parameters
    ----------
    draw
        All methods' regions of a case.
    cuts
        Of each kind of map, as chosen.
    """

    draw: Draw
    cuts: Mapping[str, SeedCuts]


@dataclass(frozen=True)
class Job:
    """How masks are learnt: the recipe, whether masks of tune choose the cuts, and who is told."""

    recipe: Recipe
    tune_on_masks: bool
    progress: Progress

    def identity(self, lesion: Lesion) -> dict[str, Json]:
        """Return what masks are learnt for: of one run, the same for the same."""
        settings: dict[str, Json] = {**asdict(self.recipe.segmentation), "seed": self.recipe.seed}
        # By its name, for two lesions may have one file name.
        what: dict[str, Json] = {"lesion": lesion.name, "negatives": list(lesion.negatives)}
        return {**settings, **what, "tune": self.tune_on_masks, "version": LEARNING_VERSION}

    def learning(self, member: Member, doing: str) -> LearningOptions:
        """Return how the small nets learn, where the model computes."""
        n_steps, seed = self.recipe.segmentation.n_steps, self.recipe.seed
        return LearningOptions(n_steps, seed=seed, device=member.device, doing=doing, progress=self.progress)


@dataclass(frozen=True)
class _Seen:
    """Cases of a cohort that could be read, and what is known of each: 1 with a lesion, 0 without, NaN unknown."""

    cases: Sequence[LesionCase]
    known: np.ndarray
    cohort: Cohort

    def of(self, truth: int) -> list[LesionCase]:
        """Return the cases that are known to have a lesion, 1, or none, 0."""
        return [case for case, known in zip(self.cases, self.known, strict=True) if known == truth]

    def arrays(self, method: str) -> Lesions:
        """Return pictures, scaled maps of a method and what is known, as small nets learn from them."""
        pictures = np.stack([case.picture for case in self.cases])
        return Lesions(pictures, np.stack([scaled(case.maps[method]) for case in self.cases]), self.known)

    def stands_out(self, method: str) -> np.ndarray:
        """Return ``(N, *spatial) bool``: where maps of a method say what those of cases without a lesion do not."""
        maps, without = ([case.maps[method] for case in cases] for cases in (self.cases, self.of(0)))
        return standing_out(maps, without)


def prepare_drawer(member: Member, lesion: Lesion, job: Job) -> Drawer:
    """Return what draws a lesion's masks, learnt from image-level labels alone: no mask is opened.

    But where the job says that masks of tune choose the cuts. What was learnt before for the same settings is taken
    from the run, and what is learnt now is left there.
    """
    made_for = job.identity(lesion)
    kept = member.run.segmenters / f"{file_name(lesion.name)}.safetensors"
    learnt = load_learnt(kept, made_for, job.recipe.segmentation, member.device)
    if learnt is None:
        learnt = _learn(member, lesion, job)
        # A run that is read-only is none the worse to draw with.
        with suppress(DiskError):
            save_learnt(learnt, made_for, kept)

    def draw(case: LesionCase) -> Soft:
        raw = {name: centred(scaled(case.maps[name]), raw_cut(cuts)) for name, cuts in learnt.cuts.items()}
        return {**raw, **regions_of(learnt.segmenter, case.picture, case.maps[learnt.seed_method])}

    return Drawer(draw, learnt.cuts)


def _learn(member: Member, lesion: Lesion, job: Job) -> Learnt:
    recipe = job.recipe.segmentation
    train, tune = (_see(member.model, cohort, lesion, job) for cohort in (member.train, member.tune))
    seen, methods = tune if tune.of(1) else train, map_methods(member.model)
    cuts = {name: _cuts_of(seen, lesion, name, job) for name in methods}
    first, options = methods[0], job.learning(member, lesion.name)
    segmenter = learn_segmenter(train.arrays(first), train.stands_out(first), cuts[first], recipe, options)
    return Learnt(segmenter, cuts)


def with_comparisons(drawer: Drawer, member: Member, lesion: Lesion, job: Job) -> Drawer:
    """Return the drawer with what its masks are held against.

    ``weak_unet`` learns from the masks of the raw class activation map; ``supervised``, the upper bound, and
    ``mean_mask``, where train has masks, from those.
    """
    train = _see(member.model, member.train, lesion, job)
    arrays, options = train.arrays("cam"), job.learning(member, lesion.name)
    cut = raw_cut(drawer.cuts["cam"])
    weak = learn_from_regions(arrays, [heat_map >= cut for heat_map in arrays.maps], _doing(options, "on raw maps"))
    added: dict[str, Callable[[LesionCase], np.ndarray]] = {"weak_unet": partial(_answer, weak)}
    masks = [_mask_on_grid(train, i, lesion) for i in range(len(train.cases))]
    if any(mask is not None and mask.any() for mask in masks):
        supervised = learn_from_regions(arrays, masks, _doing(options, "on true masks"))
        added[UNGATED] = partial(_answer, supervised)
        added["mean_mask"] = _mean_mask([mask for mask in masks if mask is not None and mask.any()])

    def draw(case: LesionCase) -> Soft:
        return {**drawer.draw(case), **{name: one(case) for name, one in added.items()}}

    return replace(drawer, draw=draw)


def drawn_regions(case: LesionCase, drawer: Drawer) -> dict[str, np.ndarray]:
    """Return every method's region ``(*source_shape) bool``; empty where the model says that there is no lesion."""
    soft = {
        name: region if case.predicted or name == UNGATED else np.zeros_like(region)
        for name, region in drawer.draw(case).items()
    }
    return {name: to_source(region, case.placement) >= 1 / 2 for name, region in soft.items()}


def cases_of(member: Member, lesion: Lesion, failures: list[tuple[str, str]]) -> Iterator[LesionCase]:
    """Yield the cases whose masks are to be drawn; note those that cannot be read."""
    return read_cases(member.model, _items(member.cohort), lesion, failures)


def true_mask(cohort: Cohort, image_id: str, lesion: Lesion, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the true mask ``(*shape) bool`` of a lesion: empty where it is known that there is none; None unknown.

    Raises
    ------
    InputError
        If a mask does not have the shape of its picture.
    """
    known = lesion.truth(cohort.task, cohort.truth[[cohort.positions[image_id]]])[0]
    if known == 0:
        return np.zeros(shape, dtype=bool)
    return Reference(cohort).mask(image_id, lesion.labels[0], shape)


def _see(model: Model, cohort: Cohort, lesion: Lesion, job: Job) -> _Seen:
    """Return the maps of what a cohort is learnt or tuned from: as many cases as the recipe takes."""
    cohort = _chosen(cohort, lesion, job.recipe.segmentation.max_cases, job.recipe.seed)
    # A picture that cannot be read is none to learn from; training has named it already.
    cases = list(read_cases(model, _items(cohort), lesion, failures=[]))
    rows = cohort.of([case.item.image_id for case in cases])
    return _Seen(cases, lesion.truth(rows.task, rows.truth), rows)


def _items(cohort: Cohort) -> list[Item]:
    return [Item(*row) for row in zip(cohort.image_ids, cohort.table["path"], cohort.files, strict=True)]


def _chosen(cohort: Cohort, lesion: Lesion, limit: int, seed: int) -> Cohort:
    """Return at most `limit` cases of what is known: all with a lesion if they are no more than half, others by lot."""
    known, rng = lesion.truth(cohort.task, cohort.truth), np.random.default_rng(seed)
    with_lesion, without = (rng.permutation(np.flatnonzero(known == value)) for value in (1, 0))
    n_without = min(len(without), max(limit // 2, limit - len(with_lesion)))
    return cohort.take(np.sort(np.concatenate([with_lesion[: limit - n_without], without[:n_without]])))


def _cuts_of(seen: _Seen, lesion: Lesion, method: str, job: Job) -> SeedCuts:
    recipe = job.recipe.segmentation
    if recipe.foreground:
        return SeedCuts(recipe.background, recipe.foreground)
    if job.tune_on_masks:
        pairs = [(scaled(case.maps[method]), _mask_on_grid(seen, i, lesion)) for i, case in enumerate(seen.cases)]
        marked = [(heat_map, mask) for heat_map, mask in pairs if mask is not None and mask.any()]
        if marked:
            return choose_cuts_by_masks([heat_map for heat_map, _ in marked], [mask for _, mask in marked])
    with_lesion, without = ([case.maps[method] for case in seen.of(known)] for known in (1, 0))
    return raised(choose_cuts([scaled(heat_map) for heat_map in with_lesion]), noise_level(with_lesion, without))


def _mask_on_grid(seen: _Seen, i: int, lesion: Lesion) -> np.ndarray | None:
    """Return the true mask of case i on the grid that masks are worked out on."""
    case = seen.cases[i]
    mask = true_mask(seen.cohort, case.item.image_id, lesion, case.placement.source_shape)
    if mask is None:
        return None
    whole = torch.from_numpy(mask_to_input(mask, case.placement).astype(np.float32))
    shrunk = F.interpolate(whole[None, None], case.picture.shape[1:], mode="area")[0, 0]
    return np.asarray(shrunk.numpy() >= 1 / 2)


def _answer(net: UNet, case: LesionCase) -> np.ndarray:
    return np.asarray(predict_masks(net, case.picture[None])[0])


def _mean_mask(masks: Sequence[np.ndarray]) -> Callable[[LesionCase], np.ndarray]:
    mean = mean_mask(masks)
    assert mean is not None
    shown = scaled(resized(mean, masks[0].shape))
    region = centred(shown, choose_cuts_by_masks([shown] * len(masks), masks).foreground)
    return lambda _: region


def _doing(options: LearningOptions, what: str) -> LearningOptions:
    return replace(options, doing=f"{options.doing}: {what}")
