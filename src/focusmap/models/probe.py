"""The linear probe: regressions on the frozen features of all levels of a pretrained backbone, as a net like any other.

How strongly it is held back is chosen on inner folds of train, by patient; tune and test have no part in it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap.models.fit_net import net_card
from focusmap.models.logistic import Basis, Linear, basis_of, logistic_path, ridge_path
from focusmap.study.cohort import Cohort
from focusmap.study.options import RunOptions
from focusmap.study.task import Target, Task, check_learnable

if TYPE_CHECKING:
    from focusmap.models.net import Model
    from focusmap.models.training import Training
    from focusmap.nets.levels import LevelsNet

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
N_INNER_FOLDS = 4
# Rows of so many pixels at once: on a processor small batches, whose maps stay in its cache, are several times faster.
PIXELS_AT_ONCE = 4 * 320**2


def fit_probe(training: "Training", options: RunOptions) -> "Model":
    """Return a net whose head is a regression on the frozen features of train.

    Raises
    ------
    InputError
        If no target has two different values on train.
    """
    import torch

    from focusmap.models.net import Model
    from focusmap.nets.build import architecture_of, build_net
    from focusmap.training.devices import choose_devices

    recipe, task = training.recipe, training.cohort.task
    rows = training.cohort.of(training.split.ids("train"))
    check_learnable(task, rows.learnt)
    architecture = architecture_of(recipe, task)
    net = build_net(architecture, recipe.weights, recipe.seed).to(choose_devices(options.devices).accelerator)
    card = net_card(net, training, architecture.to_dict())
    features = _measured(cast("LevelsNet", net), training, options)
    fitted = fit_head(task, features, _standardised(task, rows.learnt, card.scales), rows, recipe.seed)
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(fitted.weights.T))
        net.head.bias.copy_(torch.from_numpy(fitted.bias))
    return Model(net, card)


def fit_head(task: Task, features: np.ndarray, truth: np.ndarray, rows: Cohort, seed: int) -> Linear:
    """Return the regressions of all targets on features ``(N, D)``: logits ``(N, L)``, side by side.

    Parameters
    ----------
    task
        The targets, of truth ``(N, T)``; of a continuous one standardised, NaN unknown.
    rows
        The N rows, whose patients are kept on one side of each inner fold.
    """
    folds = _inner_folds(rows, seed)
    blocks = [
        _fit(targets, features, np.stack([truth[:, task.index(target.name)] for target in targets], axis=1), folds)
        for targets in _together(task)
    ]
    weights, bias = np.zeros((features.shape[1], task.n_logits)), np.zeros(task.n_logits)
    for targets, found in zip(_together(task), blocks, strict=True):
        columns = np.concatenate([np.arange(task.n_logits)[task.slice_of(target.name)] for target in targets])
        weights[:, columns], bias[columns] = found.weights, found.bias
    return Linear(weights, bias)


def _together(task: Task) -> list[list[Target]]:
    """Return the targets that one strength is chosen for: all binary ones, which may be rare, and each other alone."""
    binary = [target for target in task.targets if target.kind == "binary"]
    return [*([binary] if binary else []), *([target] for target in task.targets if target.kind != "binary")]


def _fit(targets: Sequence[Target], features: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> Linear:
    """Return the regression of one target, or of all binary ones, with the strength that inner folds prefer."""
    kind, known = targets[0].kind, ~np.isnan(truth).all(axis=1)
    features, truth, folds = features[known], truth[known], folds[known]
    losses = np.zeros(len(STRENGTHS))
    for fold in np.unique(folds):
        held = folds == fold
        path = _path(kind, targets[0], basis_of(features[~held]), truth[~held])
        losses += [_loss(kind, found(features[held]), truth[held]) for found in path]
    return _path(kind, targets[0], basis_of(features), truth)[int(losses.argmin())]


def _path(kind: str, target: Target, basis: Basis, truth: np.ndarray) -> list[Linear]:
    if kind == "continuous":
        return ridge_path(basis, truth, STRENGTHS)
    if kind == "binary":
        return logistic_path(basis, truth, STRENGTHS)
    return logistic_path(basis, np.eye(target.n_logits)[truth[:, 0].astype(int)], STRENGTHS, exclusive=True)


def _loss(kind: str, logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the sum of the losses of known truths ``(N, T)``."""
    if kind == "continuous":
        return float(np.nansum((logits - truth) ** 2))
    if kind == "binary":
        return float(np.nansum(np.logaddexp(0, logits) - truth * logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_class = shifted[np.arange(len(truth)), truth[:, 0].astype(int)]
    return float((np.log(np.exp(shifted).sum(axis=1)) - of_class).sum())


def _inner_folds(rows: Cohort, seed: int) -> np.ndarray:
    """Return ``(N,)``: the inner fold of each row, that of its patient."""
    _, patient = np.unique(rows.patient_ids.astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(patient.max() + 1)
    return np.asarray(order[patient] % N_INNER_FOLDS)


def _standardised(task: Task, truth: np.ndarray, scales: Mapping[str, list[float]]) -> np.ndarray:
    """Return truth ``(N, T)`` with continuous targets as a net learns them."""
    found = truth.copy()
    for name, (mean, deviation) in scales.items():
        found[:, task.index(name)] = (truth[:, task.index(name)] - mean) / deviation
    return found


def _measured(net: "LevelsNet", training: "Training", options: RunOptions) -> np.ndarray:
    """Return the features ``(N, D)`` of train; where the recipe mirrors, the mean of each image's and its mirror's."""
    import torch

    assert training.store is not None
    samples, preparation = training.samples("train"), training.store.preparation
    mirrored = training.recipe.augmentation.mirror
    found, device = [], net.head.weight.device
    n_images = max(1, PIXELS_AT_ONCE // int(np.prod(preparation.input_shape[1:])))
    net.eval()
    with torch.inference_mode():
        for batch in samples.batches([preparation], n_images):
            x = torch.from_numpy(batch.images(preparation).pixels).to(device, memory_format=torch.channels_last)
            features = net.measure(x)
            found.append(((features + net.measure(x.flip(3))) / 2 if mirrored else features).cpu().numpy())
            options.progress("looking at images with frozen features", samples.n_done, len(samples))
    return np.concatenate(found).astype(np.float64)
