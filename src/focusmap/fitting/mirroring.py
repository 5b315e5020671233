"""Whether images may be mirrored, if the recipe leaves it open.

A mirrored chest film shows the heart on the right, which is a finding, and a label may name a side. So images are
mirrored only where two things hold. *Sides are alike*: a regression on frozen features of other patients' images hardly
tells an image from its mirror image. It sees no label, and any of the images. *Labels do not suffer*: on inner folds of
train, features that are the mean of image and mirror image lose no target, and predict no worse on the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from focusmap import nets
from focusmap.basics import Json, read_json, write_json
from focusmap.fitting.frozen import features_key, stored_features
from focusmap.fitting.probe import held_out_losses, inner_folds, standardised
from focusmap.fitting.regularisation_path import basis_of, logistic_path
from focusmap.fitting.training import Training
from focusmap.statistics import wilson
from focusmap.study import Recipe, RunOptions

# Chest films of adults: .78 to .95; breast ultrasound, fundus and tiles: .53 to .72 (docs/more-results.md).
TOLD_APART_BELOW = 0.75
N_LOOKED_AT = 300
# Of the regression, the strongest first: whichever tells most is believed.
STRENGTHS = (1e-4, 1e-3, 1e-2)
# Standard errors above which a target's loss is held to be larger with mirror images.
CLEARLY = 2.0
FILE = "sides"
WORDS = {
    "alike": "no label suffers",
    "labels-suffer": "with mirror images, inner folds of train are predicted worse",
    "sides-not-alike": f"images are mirrored only if the upper limit is below {100 * TOLD_APART_BELOW:.0f} %",
}


@dataclass(frozen=True)
class Sides:
    """In which share of images a mirror image is recognised as one, with the upper limit of its 95 % interval."""

    told_apart: float
    high: float
    n_images: int
    n_patients: int

    @property
    def are_alike(self) -> bool:
        """Whether so little that mirroring is worth a try."""
        return self.high < TOLD_APART_BELOW

    def __str__(self) -> str:
        shares = f"{100 * self.told_apart:.0f} % (upper limit {100 * self.high:.0f} %)"
        return f"an image is distinguished from its mirror image in {shares} of {self.n_images} images"


def decide_mirroring(training: Training, probe: Recipe, options: RunOptions) -> tuple[Recipe, dict[str, Json]]:
    """Return the training's recipe with mirroring decided, and what it was decided by, for ``ladder.json``.

    Parameters
    ----------
    training
        With a store of the images that the probe is shown. What its recipe says of mirroring stands, unless it is None.
    probe
        The recipe of the probe.
    """
    recipe = training.recipe
    is_of_images = not recipe.shape and training.cohort.images is None
    if recipe.augmentation.mirror is not None or not is_of_images:
        mirrors = bool(recipe.augmentation.mirror)
        reason = "not-looked-for" if recipe.augmentation.mirror is None else "given"
        by_recipe: dict[str, Json] = {"mirrored": mirrors, "reason": reason}
        return replace(recipe, augmentation=replace(recipe.augmentation, mirror=mirrors)), by_recipe
    net = _net(probe, training, options)
    sides = sides_of(net, training, options)
    is_on = sides.are_alike and _mirroring_helps(net, training, options)
    why = "sides-not-alike" if not sides.are_alike else "alike" if is_on else "labels-suffer"
    of_fold = f" (fold {training.run.fold})" if training.run.fold else ""
    options.say(f"mirroring is {'on' if is_on else 'off'}: {sides}; {WORDS[why]}{of_fold}")
    decided: dict[str, Json] = {"mirrored": is_on, "reason": why, **cast(dict[str, Json], vars(sides))}
    return replace(recipe, augmentation=replace(recipe.augmentation, mirror=is_on)), decided


def sides_of(net: "nets.LevelsNet", training: Training, options: RunOptions) -> Sides:
    """Return how often images of the cohort are told from their mirror images; found once, and kept in the store."""
    store = training.store
    assert store is not None
    file = store.folder / f"{FILE}-{features_key(net, mirrored=True)}.json"
    if not file.is_file():
        order = np.sort(np.random.default_rng(0).permutation(len(training.cohort))[:N_LOOKED_AT])
        rows = training.cohort.take(order)
        pair = (stored_features(net, training, rows, options.progress, mirrored=mirrored) for mirrored in (False, True))
        # Of the smaller size: in the larger one a regression tells letters and marks rather than organs.
        images, mirror_images = (_smallest(net, features) for features in pair)
        write_json(file, vars(told_apart(images, mirror_images, inner_folds(rows, 0), rows.patient_ids)))
    return Sides(**read_json(file))  # type: ignore[arg-type]


def told_apart(images: np.ndarray, mirror_images: np.ndarray, folds: np.ndarray, patients: np.ndarray) -> Sides:
    """Return how often images are told from their mirror images by features ``(N, D)`` of both.

    A regression on the difference of a pair says which is which; that of each fold knows the others alone. As many
    answers are taken to be independent as there are patients.
    """
    differences = (images - mirror_images).astype(np.float64)
    right = np.zeros((len(STRENGTHS), len(differences)))
    for fold in np.unique(folds):
        learnt, held_out = differences[folds != fold], differences[folds == fold]
        truth = np.repeat([1.0, 0.0], len(learnt))[:, None]
        path = logistic_path(basis_of(np.concatenate([learnt, -learnt])), truth, STRENGTHS)
        right[:, folds == fold] = [held_out @ linear.weights[0] > 0 for linear in path]
    share, n_patients = float(right.mean(axis=1).max()), len(np.unique(patients))
    return Sides(share, cast(float, wilson(round(share * n_patients), n_patients).high), len(images), n_patients)


def _smallest(net: "nets.LevelsNet", features: np.ndarray) -> np.ndarray:
    """Return the part ``(N, D / S)`` of features that is of the last of the S sizes."""
    by_statistic = features.reshape(len(features), 3, len(cast("tuple[float, ...]", net.backbone.sizes)), -1)
    return by_statistic[:, :, -1].reshape(len(features), -1)


def _mirroring_helps(net: "nets.LevelsNet", training: Training, options: RunOptions) -> bool:
    """Return whether mirror images make predictions of inner folds no worse, and those of no target clearly."""
    task, rows = training.cohort.task, training.rows("train")
    truth = standardised(task, rows.learnt, nets.continuous_scales(task, rows.learnt))
    folds = inner_folds(rows, training.recipe.seed)
    plain = stored_features(net, training, rows, options.progress).astype(np.float64)
    both = (plain + stored_features(net, training, rows, options.progress, mirrored=True)) / 2
    more = held_out_losses(task, both, truth, folds) - held_out_losses(task, plain, truth, folds)
    known = (~np.isnan(more)).sum(axis=0)
    errors = np.nanstd(more, axis=0) / np.sqrt(np.maximum(known, 1))
    return bool(np.nanmean(more) <= 0 and not (np.nanmean(more, axis=0) > CLEARLY * errors).any())


def _net(probe: Recipe, training: Training, options: RunOptions) -> "nets.LevelsNet":
    from focusmap.training import choose_devices

    net = nets.build_net(nets.architecture_of(probe, training.cohort.task), probe.weights, probe.seed)
    return cast("nets.LevelsNet", net.to(choose_devices(options.devices).accelerator))


def mirroring_of_folds(ladders: Sequence[Mapping[str, Json]]) -> Json:
    """Return what folds decided of mirroring as one entry: that of most folds, and in how many images are mirrored."""
    entries = [cast(Mapping[str, Json], ladder["mirror"]) for ladder in ladders if "mirror" in ladder]
    n_mirrored = sum(bool(entry["mirrored"]) for entry in entries)
    usual = next((entry for entry in entries if entry["mirrored"] == (2 * n_mirrored >= len(entries))), {})
    return {**usual, "n_folds": len(entries), "n_mirrored": n_mirrored}
