"""The recipes of the ladder's rungs: what of the user's settings each takes, and how many epochs fit into its time."""

import time
from dataclasses import dataclass, replace

import numpy as np

from focusmap.basics import read_json
from focusmap.fitting.choice import FINE_TUNED, FROM_SCRATCH, MEAN, PROBE
from focusmap.fitting.configure import ladder_settings, usual_net, usual_rate
from focusmap.fitting.fit_nets import training_data, untrained_net
from focusmap.fitting.training import Training
from focusmap.study import Cases, Recipe, Run, RunOptions, preparation_for, read_recipe, store_for

FINE_TUNING: dict[str, object] = {
    "warmup_epochs": 1,
    "learning_rate": 3e-4,
    "head_rate": 3.0,
    "layer_decay": 0.75,
    "frozen_stages": 3,
    "class_weights": False,
}
"""The stem and the first two blocks frozen, and rates that fall towards the input: what a few hundred images would only
distort is kept."""
OF_STAGES = ("layer_decay", "frozen_stages")
# Whichever is less: of thousands of images two epochs are many steps.
FEWEST_EPOCHS, FEWEST_STEPS = 4, 120
# Of the largest size; with less time a smaller one gains more.
ENOUGH_EPOCHS = 8
SLICES = "slices"
# Of the time that is left: steps are measured on quiet data, and the net is asked of tune and test when it is trained.
TRAINING_SHARE = 0.8


@dataclass
class Clock:
    """What is left of a budget for trainings.

    Parameters
    ----------
    ends
        Value of ``time.monotonic()`` when all is to be done.
    rest
        Seconds that maps and report take after the last training.
    n_left
        Trainings that share what is left, such as those of the folds that are not at this rung yet.
    """

    ends: float
    rest: float = 0.0
    n_left: int = 1

    def share(self) -> float:
        """Return the seconds of the next training."""
        return max(0.0, self.ends - time.monotonic() - self.rest) / self.n_left


def rung_training(name: str, training: Training, recipe: Recipe, options: RunOptions) -> Training:
    """Return the training of a rung of the ladder: the same cohort and split, in its own size."""
    assert training.store is not None
    run = training.run.rung(name)
    if preparation_for(recipe) == training.store.preparation:
        return replace(training, run=run, recipe=recipe, is_answering=False)
    # Folds share what is prepared.
    store = store_for(training.cohort, recipe, training.run.whole.rung(name), replace(options, store=None))
    return replace(training, run=run, recipe=recipe, store=store, is_answering=False)


def probe_recipe(recipe: Recipe, backbone: str) -> Recipe:
    """Return the recipe of the first rung: nothing is augmented, and the views are those that its features are of."""
    is_of_images = not recipe.shape and recipe.cases in ("auto", "pictures")
    mirrors = bool(recipe.augmentation.mirror and is_of_images)
    as_it_is = replace(recipe.augmentation, shift=0.0, scale=0.0, mirror=mirrors)
    model = f"{backbone}-{SLICES if recipe.shape else PROBE}"
    # What images of a case say is averaged view by view: weights among them would have to be learnt.
    cases: Cases = "mean" if recipe.cases in ("max", "attention") else recipe.cases
    return replace(recipe, model=model, ensemble=1, tta=mirrors, augmentation=as_it_is, cases=cases)


def fine_tuned_recipe(training: Training, seconds: float, options: RunOptions) -> Recipe | None:
    """Return the recipe of fine-tuning that fits into some seconds, as measured by a few steps; None where none does.

    Settings that the user gives count; the others are `FINE_TUNING`, at the first size for which the time suffices.
    """
    recipe, usual = training.recipe, Recipe()
    ladder, probe = ladder_settings(options.devices), read_recipe(training.run.rung(PROBE).recipe)
    most_epochs = min(ladder.most_epochs, recipe.epochs)
    # Nets of cases have one rate for all of their stages.
    settings = {
        name: value
        for name, value in FINE_TUNING.items()
        if getattr(recipe, name) == getattr(usual, name) and (training.cohort.images is None or name not in OF_STAGES)
    }
    ends, model = time.monotonic() + seconds, probe.model.removesuffix(f"-{PROBE}")
    sizes = list(dict.fromkeys(min(side, recipe.size) for side in ladder.fine_tuned_sizes))
    for size in sizes:
        sized = replace(recipe, model=model, size=size, **settings)  # type: ignore[arg-type]
        fitting = _within(sized, most_epochs, FINE_TUNED, training, ends - time.monotonic(), options)
        is_largest = size == sizes[0] and len(sizes) > 1
        if fitting is not None and (fitting.epochs >= min(most_epochs, ENOUGH_EPOCHS) or not is_largest):
            return fitting
    return None


def from_scratch_recipe(training: Training, seconds: float, options: RunOptions) -> Recipe | None:
    """Return the recipe of the usual net for volumes or small images, from random weights, as `fine_tuned_recipe`."""
    recipe = training.recipe
    if not recipe.shape:
        recipe = replace(recipe, size=own_size(training))
    model = usual_net(recipe)
    rate = recipe.learning_rate or usual_rate(model)
    recipe = replace(recipe, model=model, weights="none", scaling="image", learning_rate=rate)
    return _within(recipe, recipe.epochs, FROM_SCRATCH, training, seconds, options)


def _within(
    recipe: Recipe, most_epochs: int, name: str, training: Training, seconds: float, options: RunOptions
) -> Recipe | None:
    """Return a recipe with as many epochs as fit into some seconds, and an average over a tenth of the steps."""
    started = time.monotonic()
    per_epoch = _seconds_per_epoch(rung_training(name, training, recipe, options), options)
    seconds_left = TRAINING_SHARE * (seconds - (time.monotonic() - started))
    n_epochs = min(most_epochs, int(seconds_left / (per_epoch * recipe.ensemble))) if per_epoch else 0
    steps_per_epoch = -(-len(training.split.ids("train")) // recipe.batch_size)
    if n_epochs < min(most_epochs, FEWEST_EPOCHS, 1 + -(-FEWEST_STEPS // steps_per_epoch)):
        return None
    return replace(recipe, epochs=n_epochs, ema_decay=round(1 - 1 / max(2.0, 0.1 * n_epochs * steps_per_epoch), 4))


def few_epochs(run: Run) -> int | None:
    """Return for how many epochs a run's net was fine-tuned, where the budget did not suffice for more; else None."""
    chosen = read_json(run.ladder).get("chosen") if run.ladder.is_file() else None
    recipe = run.rung(FINE_TUNED).recipe
    if chosen not in (FINE_TUNED, MEAN) or not recipe.is_file():
        return None
    n_epochs, most_epochs = (read_recipe(file).epochs for file in (recipe, run.whole.recipe))
    return n_epochs if n_epochs < min(most_epochs, ENOUGH_EPOCHS) else None


def own_size(training: Training) -> int:
    """Return the longer side of a typical image's file, in pixels; at least what the smallest net takes."""
    assert training.store is not None
    return max(16, int(np.median(training.store.source_shapes.max(axis=1))))


def _seconds_per_epoch(training: Training, options: RunOptions) -> float | None:
    """Return what an epoch takes here, by a few steps; None where a batch does not fit into the memory."""
    from focusmap.training import training_seconds

    untrained, recipe = untrained_net(training), replace(training.recipe, epochs=1)
    return training_seconds(untrained.net, training_data(untrained, training), recipe, options.devices)
