"""The linear probe: regressions on the frozen features of all levels of a pretrained backbone, as a net like any other.

The strength of the penalty is chosen on inner folds of train, by patient; tune and test have no part in it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap import nets
from focusmap.basics import Progress, silent
from focusmap.fitting.fit_nets import as_model, untrained_net
from focusmap.fitting.frozen import stored_features
from focusmap.fitting.regularisation_path import Basis, basis_of, logistic_path, ridge_path
from focusmap.fitting.training import Training
from focusmap.models.predict import Predicted, encode, predictions_of
from focusmap.models.predictor import EncodedImages, Predictor, answer
from focusmap.models.scorers import Linear
from focusmap.study import Cohort, ModelName, RunOptions, Target, Task, check_learnable

if TYPE_CHECKING:
    from focusmap.models.net import Model

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
N_INNER_FOLDS = 4


def is_probe(model: ModelName) -> bool:
    """Return whether a model is a net whose head is a regression on frozen features, of images or of volumes."""
    return model.net.endswith(("-probe", "-slices"))


def fit_probe(training: Training, options: RunOptions) -> Predictor:
    """Return a net whose head is a regression on the frozen features of train: of images, or of the views of cases.

    Raises
    ------
    InputError
        If no target has two different values on train.
    """
    from focusmap.training import choose_devices

    recipe, rows = training.recipe, training.rows("train")
    check_learnable(rows.task, rows.learnt)
    untrained = untrained_net(training)
    net, model = untrained.net, as_model(untrained, training)
    options.say(f"first weights of {recipe.model}: {net.weights_origin.reason}")
    if rows.images is None:
        net.to(choose_devices(options.devices).accelerator)
        features = _features(cast("nets.LevelsNet", net), training, rows, options.progress)
    else:
        encoded, rows = encode(model, training.samples("train"))
        features = encoded.features
    _set_head(net, features, rows, model.card.scales, recipe.seed)
    return model


def _set_head(
    net: "nets.FocusNet", features: np.ndarray, rows: Cohort, scales: Mapping[str, list[float]], seed: int
) -> None:
    """Give a net the head that is fitted to features ``(N, D)`` of rows."""
    import torch

    truth = standardised(rows.task, rows.learnt, scales)
    fitted = fit_head(rows.task, features.astype(np.float64), truth, rows, seed)
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(fitted.weights))
        net.head.bias.copy_(torch.from_numpy(fitted.bias))


def fit_head(
    task: Task,
    features: np.ndarray,
    truth: np.ndarray,
    rows: Cohort,
    seed: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Linear:
    """Return the regressions of all targets on features ``(N, D)``: logits ``(N, L)``, side by side.

    Parameters
    ----------
    task
        The targets, of truth ``(N, T)``; of a continuous one standardised, NaN unknown.
    rows
        The N rows, whose patients are kept on one side of each inner fold.
    strengths
        Of the penalty; of several the inner folds choose.
    """
    folds = inner_folds(rows, seed)
    weights, bias = np.zeros((task.n_logits, features.shape[1])), np.zeros(task.n_logits)
    for targets in _target_groups(task):
        truths = truth[:, [task.index(target.name) for target in targets]]
        fitted = _fit(targets, features, truths, folds, strengths)
        columns = np.concatenate([np.arange(task.n_logits)[task.slice_of(target.name)] for target in targets])
        weights[columns], bias[columns] = fitted.weights, fitted.bias
    return Linear(weights, bias)


def _target_groups(task: Task) -> list[list[Target]]:
    """Return the targets that one strength is chosen for: all binary ones, which may be rare, and each other alone."""
    binary = [target for target in task.targets if target.kind == "binary"]
    return [*([binary] if binary else []), *([target] for target in task.targets if target.kind != "binary")]


def _fit(
    targets: Sequence[Target], features: np.ndarray, truth: np.ndarray, folds: np.ndarray, strengths: Sequence[float]
) -> Linear:
    """Return the regression of one target, or of all binary ones, with the strength that inner folds prefer."""
    known = ~np.isnan(truth).all(axis=1)
    features, truth = features[known], truth[known]
    path = _path(targets[0], basis_of(features), truth, strengths)
    if len(path) == 1:
        return path[0]
    losses = _held_out_losses(targets, features, truth, folds[known], strengths)
    return path[int(np.nansum(losses, axis=(1, 2)).argmin())]


def held_out_losses(task: Task, features: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the losses ``(N, T)`` of rows that regressions of the other folds have; NaN where a truth is unknown."""
    losses = np.full(truth.shape, np.nan)
    for targets in _target_groups(task):
        columns = [task.index(target.name) for target in targets]
        known = ~np.isnan(truth[:, columns]).all(axis=1)
        of_path = _held_out_losses(targets, features[known], truth[known][:, columns], folds[known])
        losses[np.ix_(known, columns)] = of_path[np.nansum(of_path, axis=(1, 2)).argmin()]
    return losses


def _held_out_losses(
    targets: Sequence[Target],
    features: np.ndarray,
    truth: np.ndarray,
    folds: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
) -> np.ndarray:
    """Return ``(S, N, T)``: by each strength, the loss of each row of a regression on the other folds."""
    kind, losses = targets[0].kind, np.zeros((len(strengths), *truth.shape))
    for fold in np.unique(folds):
        held_out = folds == fold
        path = _path(targets[0], basis_of(features[~held_out]), truth[~held_out], strengths)
        losses[:, held_out] = [_losses(kind, linear(features[held_out]), truth[held_out]) for linear in path]
    return losses


def _path(target: Target, basis: Basis, truth: np.ndarray, strengths: Sequence[float]) -> list[Linear]:
    if target.is_number:
        return ridge_path(basis, truth, strengths)
    if target.kind == "binary":
        return logistic_path(basis, truth, strengths)
    return logistic_path(basis, np.eye(target.n_logits)[truth[:, 0].astype(int)], strengths, exclusive=True)


def _losses(kind: str, logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the losses of truths ``(N, T)``; NaN where one is unknown."""
    if kind == "continuous":
        return np.asarray((logits - truth) ** 2)
    if kind == "binary":
        return np.asarray(np.logaddexp(0, logits) - truth * logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_class = shifted[np.arange(len(truth)), truth[:, 0].astype(int)]
    return np.asarray((np.log(np.exp(shifted).sum(axis=1)) - of_class)[:, None])


def inner_folds(rows: Cohort, seed: int) -> np.ndarray:
    """Return ``(N,)``: the inner fold of each row, that of its patient."""
    _, patient = np.unique(rows.patient_ids.astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(patient.max() + 1)
    return np.asarray(order[patient] % N_INNER_FOLDS)


def standardised(task: Task, truth: np.ndarray, scales: Mapping[str, list[float]]) -> np.ndarray:
    """Return truth ``(N, T)`` with continuous targets as a net learns them."""
    learnt = truth.copy()
    for name, (mean, deviation) in scales.items():
        learnt[:, task.index(name)] = (truth[:, task.index(name)] - mean) / deviation
    return learnt


def predict_from_features(model: "Model", training: Training, part: str) -> Predicted:
    """Return what a probe says of a part of the split, by the features that it was fitted among."""
    import torch

    rows, net = training.rows(part), cast("nets.LevelsNet", model.nets[0])
    with torch.inference_mode():
        logits = net.eval().decide(torch.from_numpy(_features(net, training, rows, silent)).to(net.head.weight))
    encoded = EncodedImages(model.to_units(logits.cpu().double().numpy()))
    return Predicted(rows, predictions_of(model, rows, *answer(model, encoded, rows)))


def _features(net: "nets.LevelsNet", training: Training, rows: Cohort, progress: Progress) -> np.ndarray:
    """Return the features ``(N, D) float32`` of rows; where the recipe mirrors, the mean of image and mirror image."""
    features = stored_features(net, training, rows, progress)
    if not training.recipe.augmentation.mirror:
        return features
    return np.asarray((features + stored_features(net, training, rows, progress, mirrored=True)) / 2)
