"""The methods that draw masks of a lesion: what each learns on train, chooses on tune, and draws.

A method learns from image-level labels alone. It draws several regions per image, by name: its own, and those it is
made from, such as the map at a threshold. All of them are scored side by side. A new method is a function like
`learn_by_affinity` and a line in `METHODS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from focusmap.evaluation import PICTURE_ONLY, mean_mask, resized
from focusmap.images import to_source
from focusmap.segmentation import by_affinity, by_vote, cases, learning, lesions, seeds, small_nets

DRAWN_BY = ("vote", "distilled", "refined")
"""Whose masks can be written; `METHODS` says who learns to draw them."""
AUTO = "auto"
"""In place of one of them: which, image-level labels say."""

Soft = dict[str, np.ndarray]
"""Name to region ``(*spatial)`` between 0 and 1 on the working grid; a lesion from 1/2 on."""
Drawing = tuple[Soft, dict[str, float]]
"""Regions, and by the same names how confident each that knows it is: an agreement between 0 and 1."""
Draw = Callable[[cases.LesionCase], Drawing]
# What draws without asking the classifier whether there is a lesion.
UNGATED = "supervised"


@dataclass(frozen=True)
class Drawer:
    """What draws the masks of one lesion for one member.

    Parameters
    ----------
    draw
        All regions of a case.
    thresholds
        Of each kind of map, as chosen.
    evidence, errors
        Of methods that know it: the AUROC on the tuning set of how much of a lesion they find, with its standard error.
    gate
        Probability from which on a mask is drawn even where the model does not say that there is a lesion.
    usual
        The method whose masks are written, unless image labels speak for another.
    """

    draw: Draw
    thresholds: Mapping[str, seeds.SeedThresholds]
    gate: float = by_vote.NO_GATE
    usual: str = by_vote.VOTE
    evidence: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)


def learn_by_affinity(member: cases.Member, lesion: lesions.Lesion, job: cases.Job) -> Drawer:
    """Return what draws ``refined`` and ``distilled``: the map's seeds grow over what is alike, and teach a U-Net.

    No mask is opened, but where the job says that masks of tune choose the thresholds. What was learnt before for the
    same settings is taken from the run, and what is learnt now is left there.
    """
    kept, made_for = by_affinity.learnt_file(member.run, lesion.name), job.identity(lesion)
    recipe = job.recipe.segmentation
    segmenter = by_affinity.load_segmenter(kept, made_for, recipe, job.device)
    if segmenter is None:
        train, tune = (cases.read_labelled(member.view, cohort, lesion, job) for cohort in (member.train, member.tune))
        thresholds = choose_thresholds(member, train, tune, lesion, job)
        first = next(iter(thresholds))
        segmenter = by_affinity.learn_segmenter(
            train.arrays(first), train.stands_out(first), thresholds, recipe, job.learning(lesion.name)
        )
        by_affinity.save_segmenter(segmenter, made_for, kept)

    def draw(case: cases.LesionCase) -> Drawing:
        grown = by_affinity.regions_of(segmenter, case.image, case.maps[segmenter.seed_method])
        return {**thresholded_maps(case, segmenter.thresholds), **grown}, {}

    return Drawer(draw, segmenter.thresholds)


def thresholded_maps(case: cases.LesionCase, thresholds: Mapping[str, seeds.SeedThresholds]) -> Soft:
    """Return a case's heat maps by method, scaled so that the middle threshold of each is 1/2: regions of their own."""
    return {name: seeds.centred(seeds.scaled(case.maps[name]), own.middle) for name, own in thresholds.items()}


def learn_by_vote(member: cases.Member, lesion: lesions.Lesion, job: cases.Job) -> Drawer:
    """Return what draws ``regions``, ``vote`` and ``distilled``: a vote among the regions that images propose.

    No mask is opened, but where the job says that masks of tune choose the thresholds of raw maps. As
    `learn_by_affinity`, it is learnt once for a run.
    """
    kept, made_for = by_vote.learnt_file(member.run, lesion.name), job.identity(lesion)
    segmenter = by_vote.load_segmenter(kept, made_for, job)
    if segmenter is None:
        train, tune = (cases.read_labelled(member.view, cohort, lesion, job) for cohort in (member.train, member.tune))
        segmenter = by_vote.learn_segmenter(
            train, tune, choose_thresholds(member, train, tune, lesion, job), lesion, job
        )
        by_vote.save_segmenter(segmenter, made_for, kept)

    def draw(case: cases.LesionCase) -> Drawing:
        regions, confidences = segmenter.draw(case)
        return {**thresholded_maps(case, segmenter.thresholds), **regions}, confidences

    usual = by_vote.DISTILLED if segmenter.distilled.is_pretrained else by_vote.VOTE
    return Drawer(draw, segmenter.thresholds, segmenter.gate, usual, segmenter.evidence, segmenter.errors)


METHODS: dict[str, Callable[[cases.Member, lesions.Lesion, cases.Job], Drawer]] = {
    AUTO: learn_by_vote,
    by_vote.VOTE: learn_by_vote,
    by_vote.DISTILLED: learn_by_vote,
    "refined": learn_by_affinity,
}
"""By the names of `DRAWN_BY`: what learns to draw these regions, perhaps with others."""


def best_by_labels(drawers: Sequence[Drawer]) -> str:
    """Return the method whose masks are written where none is named: those of the U-Net, or of the vote that taught it.

    A U-Net from random weights is less sure than the vote, one from pretrained weights draws better (docs/results.md).
    The other has to tell images with a lesion from those without better than the usual one, by more than a standard
    error, on average over what draws: image-level labels say so, no mask does.
    """
    usual = drawers[0].usual
    other = by_vote.VOTE if usual == by_vote.DISTILLED else by_vote.DISTILLED
    gains = [one.evidence[other] - one.evidence[usual] - one.errors[usual] for one in drawers]
    return other if np.mean(gains) > 0 else usual


def learn_to_draw(method: str, member: cases.Member, lesion: lesions.Lesion, job: cases.Job) -> Drawer:
    """Return what a method draws with; where true masks exist, beside what its masks are held against."""
    drawer = METHODS[method](member, lesion, job)
    return _with_comparisons(drawer, member, lesion, job) if member.cohort.has_masks else drawer


def drawn_regions(case: cases.LesionCase, drawer: Drawer) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return every region ``(*source_shape) bool`` and confidences by name.

    Regions are empty, and there are no confidences, where the model says that there is no lesion and its probability
    is below the drawer's gate.
    """
    drawn, confidences = drawer.draw(case)
    is_drawn = case.predicted or case.probability >= drawer.gate
    soft = {name: region if is_drawn or name == UNGATED else np.zeros_like(region) for name, region in drawn.items()}
    regions = {name: to_source(region, case.placement) >= 1 / 2 for name, region in soft.items()}
    return regions, confidences if is_drawn else {}


def choose_thresholds(
    member: cases.Member, train: cases.LabelledCases, tune: cases.LabelledCases, lesion: lesions.Lesion, job: cases.Job
) -> dict[str, seeds.SeedThresholds]:
    """Return the thresholds of each kind of heat map, chosen on the tuning set, or on train if it has no lesion."""
    labelled = tune if tune.of(1) else train
    return {name: _thresholds_of(labelled, lesion, name, job) for name in cases.map_methods(member.view)}


def _thresholds_of(
    labelled: cases.LabelledCases, lesion: lesions.Lesion, method: str, job: cases.Job
) -> seeds.SeedThresholds:
    recipe = job.recipe.segmentation
    if recipe.foreground:
        return seeds.SeedThresholds(recipe.background, recipe.foreground)
    if job.tune_on_masks:
        pairs = [(seeds.scaled(case.maps[method]), labelled.mask(i, lesion)) for i, case in enumerate(labelled.cases)]
        marked = [(heat_map, mask) for heat_map, mask in pairs if mask is not None and mask.any()]
        if marked:
            return seeds.seed_thresholds_by_masks([heat_map for heat_map, _ in marked], [mask for _, mask in marked])
    with_lesion, without = ([case.maps[method] for case in labelled.of(known)] for known in (1, 0))
    return seeds.raised(
        seeds.seed_thresholds([seeds.scaled(heat_map) for heat_map in with_lesion]),
        seeds.noise_level(with_lesion, without),
    )


def _with_comparisons(drawer: Drawer, member: cases.Member, lesion: lesions.Lesion, job: cases.Job) -> Drawer:
    """Return the drawer with what its masks are held against.

    ``picture_only`` is the most contrasting region of the image; ``weak_unet`` learns from the masks of the raw class
    activation map; ``supervised``, the upper bound, and ``mean_mask``, where train has masks, from those.
    """
    train = cases.read_labelled(member.view, member.train, lesion, job)
    arrays, options = train.arrays(cases.CAM), job.learning(lesion.name)
    threshold = drawer.thresholds[cases.CAM].middle
    raw = arrays.marked({i: heat_map >= threshold for i, heat_map in enumerate(arrays.maps)})
    weak = learning.learn_masks(raw, _doing(options, "on raw maps"))
    added: dict[str, Callable[[cases.LesionCase], np.ndarray]] = {
        PICTURE_ONLY: _most_contrasting,
        "weak_unet": partial(_answer, weak),
    }
    masks = {i: mask for i in range(len(train.cases)) if (mask := train.mask(i, lesion)) is not None}
    if marking := [mask for mask in masks.values() if mask.any()]:
        supervised = learning.learn_masks(arrays.marked(masks), _doing(options, "on true masks"))
        added[UNGATED] = partial(_answer, supervised)
        added["mean_mask"] = mean_mask_drawer(marking)

    def draw(case: cases.LesionCase) -> Drawing:
        regions, confidences = drawer.draw(case)
        return {**regions, **{name: one(case) for name, one in added.items()}}, confidences

    return replace(drawer, draw=draw)


def _most_contrasting(case: cases.LesionCase) -> np.ndarray:
    regions = case.candidates().regions
    region = regions.mask(int(regions.contrast.argmax())) if len(regions) else np.zeros(regions.shape)
    return case.placed(region)


def _answer(net: small_nets.UNet, case: cases.LesionCase) -> np.ndarray:
    return np.asarray(small_nets.predict_masks(net, case.image[None])[0])


def mean_mask_drawer(masks: Sequence[np.ndarray]) -> Callable[[cases.LesionCase], np.ndarray]:
    """Return what draws the same region in every case: the mean of true masks at the threshold of the highest Dice."""
    mean = mean_mask(masks)
    assert mean is not None
    shown = seeds.scaled(resized(mean, masks[0].shape))
    region = seeds.centred(shown, seeds.seed_thresholds_by_masks([shown] * len(masks), masks).foreground)
    return lambda _: region


def _doing(options: learning.LearningOptions, what: str) -> learning.LearningOptions:
    return replace(options, doing=f"{options.doing}: {what}")
