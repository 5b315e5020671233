"""Nets, from a training, with their cards: of single images, of tables, and of cases.

A model of cases is one net of images and table, or two models whose answers are brought together (fused late).
"""

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from focusmap import nets
from focusmap.basics import Json, reason_entries, write_table
from focusmap.fitting import configure
from focusmap.fitting.fit_rows import row_model
from focusmap.fitting.training import Training
from focusmap.models.card import ModelCard
from focusmap.models.predictor import Predictor
from focusmap.models.rows import RowModel
from focusmap.study import PARTS, TABLE_NET, Covariates, Run, RunOptions, Samples, fit_covariates, views_of
from focusmap.study.task import UNLABELLED, Target

if TYPE_CHECKING:
    from focusmap.models.cases import CaseModel
    from focusmap.training import Inputs, Labelled, TrainingData


@dataclass(frozen=True)
class Untrained:
    """A net before its first epoch.

    Parameters
    ----------
    net
        With the weights that it starts from.
    inputs
        What it is shown.
    architecture
        What it was built from, for its card; empty for a net of tables.
    covariates
        How a row's cells are made numbers, where it is shown any.
    """

    net: "nets.FocusNet"
    inputs: "Inputs"
    architecture: dict[str, Json]
    covariates: Covariates = field(default_factory=lambda: Covariates(()))


LATE = ("late", "stacked")


def untrained_net(training: Training) -> Untrained:
    """Return the net of a training, of a table, of single images or of cases, and what it is shown.

    Raises
    ------
    InputError
        If an image has a view that train does not have, or a covariate cannot be used.
    """
    if training.model.shown == "table":
        return _untrained_table_net(training)
    if training.cohort.images is not None:
        return _untrained_case_net(training)
    assert training.store is not None
    recipe = training.recipe
    architecture = nets.architecture_of(recipe, training.cohort.task)
    net = nets.build_net(architecture, recipe.weights, recipe.seed)
    return Untrained(net, training.store, architecture.to_dict())


def _untrained_table_net(training: Training) -> Untrained:
    covariates = fit_covariates(training.cohort, training.split.ids("train"))
    net = nets.build_table_net(len(covariates.names), training.cohort.task.n_logits, training.recipe.seed)
    return Untrained(net, covariates.encode(training.cohort), {}, covariates)


def _untrained_case_net(training: Training) -> Untrained:
    """Return a net of cases, of their images alone or, unless that is fused late, with their table."""
    from focusmap.training import case_inputs

    assert training.store is not None
    recipe, split = training.recipe, training.split
    views = views_of(training.rows("train"))
    used = training.cohort.of([image_id for part in PARTS for image_id in split.ids(part)])
    with_table = training.model.with_table and recipe.fusion not in LATE
    covariates = fit_covariates(training.cohort, split.ids("train")) if with_table else Covariates(())
    inputs = case_inputs(used, training.store, views, covariates.encode(used).values if with_table else None)
    architecture = _architecture(training, views, len(covariates.names))
    net = nets.build_case_net(architecture, recipe.weights, recipe.seed)
    return Untrained(net, inputs, architecture.to_dict(), covariates)


def fit_net(training: Training, options: RunOptions) -> Predictor:
    """Return a trained net; of cases whose table is fused late, with the table's model beside it."""
    untrained = untrained_net(training)
    train_net(untrained, training, options)
    model = as_model(untrained, training)
    is_late = training.model.with_table and training.recipe.fusion in LATE
    return _fused_late(cast("CaseModel", model), training, options) if is_late else model


def as_model(untrained: Untrained, training: Training) -> Predictor:
    """Return a net, which is trained by now, with its card; thresholds and temperatures are still to be fitted."""
    net, covariates = untrained.net, untrained.covariates
    if training.model.shown == "table":
        task = training.cohort.task
        fitted = nets.FittedTableNet(net, task, nets.continuous_scales(task, labelled(training, "train").truth))
        return row_model(fitted, training, covariates=covariates, n_inputs=len(covariates.names))
    if training.cohort.images is not None:
        return _case_model(untrained, training)
    from focusmap.models.net import Model

    return Model(net, net_card(net, training, untrained.architecture))


def train_net(untrained: Untrained, training: Training, options: RunOptions) -> None:
    """Train a net in place; after each epoch a row of the history is on disk, and the state beside it."""
    from focusmap.training import FitOptions, expected_draws, fit, rarity_of

    recipe, run, task, net = training.recipe, training.run, training.cohort.task, untrained.net
    if untrained.architecture:
        options.say(f"first weights of {recipe.model}: {net.weights_origin.reason}")
    data = training_data(untrained, training)
    checkpoint = run.checkpoint / "last.safetensors"
    records = []
    settings = FitOptions(checkpoint, checkpoint.exists(), options.devices, options.n_nodes)
    for record in fit(net, data, recipe, settings):
        records.append(asdict(record))
        write_table(run.history, pd.DataFrame(records))
        options.progress(
            f"training {recipe.model} ({run.folder.name}, seed {recipe.seed})", len(records), recipe.epochs
        )
    if recipe.sampling != "all":
        draws = expected_draws(rarity_of(task, data.train.truth), recipe.sampling)
        nets.undo_sampling(net.head, task, data.train.truth, draws)
    elif recipe.class_weights:
        nets.undo_class_weights(net.head, task, data.train.truth)


def training_data(untrained: Untrained, training: Training) -> "TrainingData":
    """Return what a net is shown, and the truth of train and tune."""
    from focusmap.training import TrainingData

    task = training.cohort.task
    return TrainingData(untrained.inputs, task, labelled(training, "train"), labelled(training, "tune"))


def net_card(net: "nets.FocusNet", training: Training, architecture: dict[str, Json]) -> ModelCard:
    """Return the card of a trained net of images; thresholds and temperatures are still to be fitted."""
    card = training.card(architecture, sum(weights.numel() for weights in net.parameters()))
    start = {"start": net.weights_origin.source, **reason_entries(net.weights_origin.reason, "start_reason")}
    scales = nets.continuous_scales(card.task, labelled(training, "train").truth)
    return replace(card, scales=scales, training={**card.training, **start})


def labelled(training: Training, part: str) -> "Labelled":
    """Return the names and the truth of a part of the split."""
    from focusmap.training import Labelled

    members = training.rows(part)
    # Without labels every image passes for usual: what is learnt is to bring its anomaly score to 0.
    truth = np.zeros_like(members.truth) if members.task == UNLABELLED else members.learnt
    return Labelled(tuple(members.image_ids), truth)


def _case_model(untrained: Untrained, training: Training) -> "CaseModel":
    from focusmap.models.cases import NET, CaseModel

    recipe = training.recipe
    views = cast(list[str], untrained.architecture["views"])
    settings: dict[str, Json] = {"model": recipe.model, "views": ", ".join(filter(None, views)), "cases": recipe.cases}
    settings |= {"encoder": recipe.encoder, "fusion": recipe.fusion if training.model.with_table else None}
    card = net_card(untrained.net, training, {**settings, NET: untrained.architecture})
    return CaseModel(replace(card, covariates=untrained.covariates.to_list()), untrained.net)


def _architecture(training: Training, views: tuple[str, ...], n_covariates: int) -> "nets.CaseArchitecture":
    recipe = training.recipe
    return nets.CaseArchitecture(
        model=training.model.net,
        channels=recipe.channels,
        n_logits=training.cohort.task.n_logits,
        views=views,
        pooling="mean" if recipe.cases == "pictures" else recipe.cases,
        encoder=recipe.encoder,
        n_covariates=n_covariates,
        fusion="joint" if recipe.fusion in LATE else recipe.fusion,
    )


# Of the squared weights of a stack: tune is small, and two answers to one question are much alike.
STACK_PENALTY = 1.0


def _fused_late(of_images: "CaseModel", training: Training, options: RunOptions) -> "CaseModel":
    """Return a model of cases with a model of their table beside it, whose answers are weighed as the recipe says."""
    recipe = training.recipe
    rate = {"model": TABLE_NET, "learning_rate": configure.TABLE_RATE}
    of_table = replace(training, run=Run(training.run.folder / "table"), recipe=replace(recipe, **rate))  # type: ignore[arg-type]
    table = cast(RowModel, fit_net(of_table, options))
    even = {target.name: _even(target) for target in training.cohort.task.targets}
    both = _with_stack(of_images, even)
    n_parameters = sum(cast(int, model.card.training["n_parameters"]) for model in (of_images, table))
    facts = {**both.card.training, "n_parameters": n_parameters}
    both = replace(both, table=table, card=replace(both.card, covariates=table.card.covariates, training=facts))
    return _with_stack(both, _stack(both, training)) if recipe.fusion == "stacked" else both


def _with_stack(model: "CaseModel", stack: dict[str, Json]) -> "CaseModel":
    return replace(model, card=replace(model.card, architecture={**model.card.architecture, "stack": stack}))


def _even(target: Target) -> Json:
    """Return the weights of the mean of two answers ``(n, 2 n)``, and their bias ``(n,)``."""
    half = np.eye(target.n_logits) / 2
    return {"weights": np.hstack([half, half]).tolist(), "bias": [0.0] * target.n_logits}


def _stack(model: "CaseModel", training: Training) -> dict[str, Json]:
    """Return for each target how the two answers are weighed, by regression on tune; evenly where that is not known."""
    from focusmap.models.predict import encode

    assert training.store is not None
    assert model.table is not None
    tune = training.rows("tune")
    if not len(tune):
        return cast(dict[str, Json], model.card.architecture["stack"])
    alone = replace(model, table=None, card=replace(model.card, covariates=[]))
    encoded, tune = encode(model, Samples.from_store(tune, training.store))
    answers = [side.logits(encoded, tune)[0] for side in (alone, model.table)]
    stack = {}
    for position, target in enumerate(tune.task.targets):
        columns = tune.task.slice_of(target.name)
        both = np.concatenate([logits[:, columns] for logits in answers], axis=1)
        stack[target.name] = stack_of(target, both, tune.learnt[:, position])
    return stack


def stack_of(target: Target, answers: np.ndarray, truth: np.ndarray) -> Json:
    """Return ``weights`` ``(n, 2 n)`` and ``bias`` ``(n,)`` that make one answer of two, by regression.

    Parameters
    ----------
    target
        With n logits.
    answers
        ``(N, 2 n)``: those of the one model, then of the other.
    truth
        ``(N,)``, NaN unknown. Where it does not have all classes, or two values, the answer is the mean.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    known = ~np.isnan(truth)
    values = np.unique(truth[known])
    n_needed = target.n_logits if target.has_logit_per_class else 2
    if len(values) < n_needed or (target.kind == "binary" and not set(values) <= {0.0, 1.0}):
        return _even(target)
    if target.is_number:
        # What the mean of both leaves is fitted, so that a small tune part draws the weights to the mean, not to 0.
        residuals, penalty = truth[known] - answers[known].mean(axis=1), STACK_PENALTY * float(truth[known].var())
        ridge = Ridge(alpha=penalty).fit(answers[known], residuals)
        return {"weights": [(ridge.coef_ + 0.5).tolist()], "bias": [float(ridge.intercept_)]}
    fitted = LogisticRegression(C=1 / STACK_PENALTY, max_iter=1000).fit(answers[known], truth[known])
    weights, bias = fitted.coef_, fitted.intercept_
    if len(weights) < target.n_logits:
        # Two classes with a logit each: scikit-learn gives that of the second less that of the first.
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return {"weights": weights.tolist(), "bias": bias.tolist()}
