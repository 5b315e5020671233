"""One training: of a run, or of a fold of it; calibrated on tune, then applied to test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import pandas as pd

from focusmap import evaluation, images
from focusmap.basics import atomic_folder, write_table
from focusmap.evaluation import Predictions, write_predictions
from focusmap.models import choice, configure, ensemble, fit_nets, ladder, ood, predictor, preparing, probe, rungs
from focusmap.models.folder import save_model
from focusmap.models.neighbours import write_alike
from focusmap.models.predict import Predicted, predict
from focusmap.models.rows import fit_estimators
from focusmap.study import LADDER, Cohort, ModelName, Recipe, Run, RunOptions, Samples, Split, parse_model

if TYPE_CHECKING:
    from focusmap.models.net import Model


# Nets whose head is a regression on frozen features, of images and of volumes.
PROBES = ("-probe", "-slices")


@dataclass(frozen=True)
class Training:
    """One training to be done: a part of a run, and what it learns from.

    Parameters
    ----------
    run
        The run itself, or one of its folds.
    cohort, split, store, recipe
        As prepared; `split` is this training's own. A table model has no store.
    is_answering
        Whether the model will be applied to other images; a baseline will not.
    """

    run: Run
    cohort: Cohort
    split: Split
    store: "images.Store | None"
    recipe: Recipe
    is_answering: bool = True

    @property
    def model(self) -> ModelName:
        """What is trained."""
        return parse_model(self.recipe.model)

    def rung(self, name: str, recipe: Recipe, options: RunOptions) -> "Training":
        """Return the training of a rung of the ladder: the same cohort and split, in its own size."""
        assert self.store is not None
        if configure.preparation_for(recipe) == self.store.preparation:
            return replace(self, run=self.run.rung(name), recipe=recipe)
        # Folds share what is prepared.
        root = self.run.folder.parent.parent if rungs.fold_of(self.run) else self.run.folder
        store = preparing.store_for(self.cohort, recipe, Run(root).rung(name), replace(options, store=None))
        return replace(self, run=self.run.rung(name), recipe=recipe, store=store)

    def predict(self, model: predictor.Predictor, part: str) -> Predicted:
        """Return a model's predictions for a part of the split; those of a probe are made from its stored features."""
        if self.model.net.endswith(PROBES) and self.cohort.images is None:
            return probe.predict_from_features(cast("Model", model), self, part)
        samples = self.samples(part)
        if not all(map(samples.is_stored, model.preparations)):
            samples = Samples.from_files(samples.rows)
        return predict(model, samples)

    def predict_parts(self, model: predictor.Predictor) -> tuple[dict[str, Predictions], pd.DataFrame | None]:
        """Return a model's predictions for test and tune and, of cases, the attention on test, which is written too."""
        answers = {part: self.predict(model, part) for part in choice.PREDICTED if self.split.ids(part)}
        attention = answers["test"].attention if "test" in answers else None
        if attention is not None:
            write_table(self.run.attention, attention)
        return {part: answer.predictions for part, answer in answers.items()}, attention

    def rows(self, part: str) -> Cohort:
        """Return the rows of a part of the split."""
        return self.cohort.of(self.split.ids(part))

    def samples(self, part: str) -> Samples:
        """Return a part of the split, as a model is shown it."""
        rows = self.rows(part)
        return Samples.from_table(rows) if self.store is None else Samples.from_store(rows, self.store)


def train_in_steps(training: Training, options: RunOptions, clock: rungs.Clock) -> Iterator[bool]:
    """Train; whenever a model is done, yield whether the best one so far is another than before."""
    if training.recipe.model != LADDER:
        train_one(training, options)
        yield True
        return
    before: predictor.Predictor | None = None
    for rung in ladder.climb(training, options, train_calibrated, clock):
        if rung.model is not before:
            _write_answer(training, rung.model, rung.predictions)
            if rung.attention is not None:
                write_table(training.run.attention, rung.attention)
        yield rung.model is not before
        before = rung.model


def train_one(training: Training, options: RunOptions) -> None:
    """Train, calibrate on tune, and write model, history and predictions; the test part is only predicted."""
    trained = _train_nets(training, options)
    if options.follows:
        return
    model = _calibrated_on_tune(trained, training)
    predictions, _ = training.predict_parts(model)
    _write_answer(training, model, predictions)


def _write_answer(training: Training, model: predictor.Predictor, predictions: Mapping[str, Predictions]) -> None:
    """Put a model and its predictions in the place of those that a run, or one of its folds, had before."""
    run = training.run
    with atomic_folder(run.model) as folder:
        save_model(model, folder)
        if training.is_answering:
            ood.write_ood(training, folder)
            write_alike(training, folder)
    for part, of_part in predictions.items():
        write_predictions(of_part, run.predictions(part))


def _train_nets(training: Training, options: RunOptions) -> predictor.Predictor:
    """Return the model, or the ensemble over the recipe's seeds and views; not calibrated yet."""
    from focusmap.models.net import over_views
    from focusmap.nets import AS_IT_IS, views_within

    recipe = training.recipe
    views = views_within(recipe.augmentation) if recipe.tta else (AS_IT_IS,)
    if recipe.ensemble == 1:
        model = fit(training, options)
        return over_views(cast("Model", model), views) if recipe.tta else model
    members = [_calibrated_on_tune(fit(member, options), member) for member in seed_trainings(training)]
    return ensemble.combine(members, views, "seeds")


def seed_trainings(training: Training) -> list[Training]:
    """Return the trainings of an ensemble over seeds; none where there is one model."""
    recipe = training.recipe
    seeds = [recipe.seed + k for k in range(recipe.ensemble)] if recipe.ensemble > 1 else []
    return [
        replace(training, run=training.run.member(k), recipe=replace(recipe, seed=seed)) for k, seed in enumerate(seeds)
    ]


def train_calibrated(training: Training, options: RunOptions) -> predictor.Predictor:
    """Return the trained model, calibrated on tune; test is not looked at."""
    return _calibrated_on_tune(_train_nets(training, options), training)


def _calibrated_on_tune(model: predictor.Predictor, training: Training) -> predictor.Predictor:
    """Return the model with temperatures and thresholds, those of maps too, fitted on tune, and on nothing else."""
    tune = training.rows("tune")
    model = predictor.calibrated(model, training.predict(model, "tune").predictions.logits, tune.truth)
    net = with_focus(model)
    if net is None:
        return model
    from focusmap.models.map_thresholds import tune_focus_maps

    return tune_focus_maps(net, evaluation.reference_of(tune))


def with_focus(model: predictor.Predictor) -> "Model | None":
    """Return a net, or the ensemble of nets, of single images that has focus maps; None for any other model."""
    net = cast("Model", model) if ensemble.kind_of(model.card) == "net" else None
    return net if net is not None and net.net.has_focus else None


def fit(training: Training, options: RunOptions) -> predictor.Predictor:
    """Return the trained model; thresholds and temperatures are still to be fitted."""
    name = training.model
    if name.engine == "estimator":
        return fit_estimators(training, options)
    return (probe.fit_probe if name.net.endswith(PROBES) else fit_nets.fit_net)(training, options)
