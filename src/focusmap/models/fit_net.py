"""Nets, from a training: of single images and of tables; with their cards."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.files import Json, write_table
from focusmap.models.card import ModelCard
from focusmap.models.fit_rows import row_model
from focusmap.models.manifest import library_versions
from focusmap.models.rows import RowModel
from focusmap.reasons import reason_entries
from focusmap.study.covariates import Covariates, fit_covariates
from focusmap.study.options import RunOptions
from focusmap.study.task import UNLABELLED

if TYPE_CHECKING:
    from focusmap.models.net import Model
    from focusmap.models.training import Training
    from focusmap.nets.focus_net import FocusNet
    from focusmap.training.batches import Inputs, Labelled, TrainingData


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

    net: "FocusNet"
    inputs: "Inputs"
    architecture: dict[str, Json]
    covariates: Covariates = field(default_factory=lambda: Covariates(()))


def untrained_net(training: "Training") -> Untrained:
    """Return a net of single images."""
    from focusmap.nets.build import architecture_of, build_net

    assert training.store is not None
    recipe = training.recipe
    architecture = architecture_of(recipe, training.cohort.task)
    net = build_net(architecture, recipe.weights, recipe.seed)
    return Untrained(net, training.store, architecture.to_dict())


def untrained_table_net(training: "Training") -> Untrained:
    """Return a table net, with its encoding of the covariates."""
    from focusmap.nets.table_net import build_table_net

    covariates = fit_covariates(training.cohort, training.split.ids("train"))
    net = build_table_net(len(covariates.names), training.cohort.task.n_logits, training.recipe.seed)
    return Untrained(net, covariates.encode(training.cohort), {}, covariates)


def fit_net(training: "Training", options: RunOptions) -> "Model":
    """Return a net of single images."""
    from focusmap.models.net import Model

    made = untrained_net(training)
    train_net(made, training, options)
    return Model(made.net, net_card(made.net, training, made.architecture))


def fit_table_net(training: "Training", options: RunOptions) -> RowModel:
    """Return a table net, with its encoding of the covariates."""
    from focusmap.nets.heads import continuous_scales
    from focusmap.nets.table_net import NetAnswer

    made, task = untrained_table_net(training), training.cohort.task
    train_net(made, training, options)
    answer = NetAnswer(made.net, task, continuous_scales(task, labelled(training, "train").truth))
    return row_model(answer, training, covariates=made.covariates, n_inputs=len(made.covariates.names))


def train_net(made: Untrained, training: "Training", options: RunOptions) -> None:
    """Train a net in place; after each epoch a row of the history is on disk, and the state beside it."""
    from focusmap.nets.heads import undo_class_weights, undo_sampling
    from focusmap.training.loop import FitOptions, fit
    from focusmap.training.sampling import expected_draws, rarity_of

    recipe, run, task, net = training.recipe, training.run, training.cohort.task, made.net
    data = training_data(made, training)
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
        undo_sampling(net.head, task, data.train.truth, draws)
    elif recipe.class_weights:
        undo_class_weights(net.head, task, data.train.truth)


def training_data(made: Untrained, training: "Training") -> "TrainingData":
    """Return what a net is shown, and the truth of train and tune."""
    from focusmap.training.batches import TrainingData

    task = training.cohort.task
    return TrainingData(made.inputs, task, labelled(training, "train"), labelled(training, "tune"))


def net_card(net: "FocusNet", training: "Training", architecture: dict[str, Json]) -> ModelCard:
    """Return the card of a trained net of images; thresholds and temperatures are still to be fitted."""
    from focusmap.nets.heads import continuous_scales

    assert training.store is not None
    recipe, task = training.recipe, training.cohort.task
    facts: dict[str, Json] = {
        "n_parameters": sum(weights.numel() for weights in net.parameters()),
        "n_train": len(training.split.ids("train")),
        "seed": recipe.seed,
        "start": net.start.source,
        **reason_entries(net.start.reason, "start_reason"),
    }
    return ModelCard(
        task=task,
        architecture=architecture,
        preparation=training.store.preparation.to_dict(),
        thresholds={},
        threshold_for=recipe.threshold_for,
        temperatures={},
        scales=continuous_scales(task, labelled(training, "train").truth),
        probe={},
        versions=library_versions(),
        training=facts,
    )


def labelled(training: "Training", part: str) -> "Labelled":
    """Return the names and the truth of a part of the split."""
    from focusmap.training.batches import Labelled

    members = training.cohort.of(training.split.ids(part))
    # Without labels every image passes for usual: what is learnt is to bring its anomaly score to 0.
    truth = np.zeros_like(members.truth) if members.task == UNLABELLED else members.learnt
    return Labelled(tuple(members.image_ids), truth)
