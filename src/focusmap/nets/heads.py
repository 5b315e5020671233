"""Per kind of target: what its logits are trained towards. Unknown truth (NaN) never counts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.values.task import TargetKind, Task


@dataclass(frozen=True)
class LossOptions:
    """How the loss is formed: weigh classes by their frequency, and how far labels are smoothed (0 to 1)."""

    class_weights: bool = True
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class LossParts:
    """A loss and what its binary labels' positives and negatives contribute to it; scalars.

    With balanced weights both parts are equal when the net has learned nothing yet.
    """

    total: Tensor
    positive: Tensor
    negative: Tensor


@dataclass(frozen=True)
class TargetWeights:
    """What the loss of one target needs to know of the training truth.

    Parameters
    ----------
    classes
        ``(n,)`` weights of the classes; binary: (negative, positive). Empty for a continuous target.
    mean, deviation
        Of a continuous target on train; 0 and 1 otherwise.
    """

    classes: Tensor
    mean: float = 0.0
    deviation: float = 1.0


Terms = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Head:
    """How targets of one kind are trained.

    Parameters
    ----------
    weigh
        From the ``(N,)`` known truth on train and the number of classes to the weights.
    terms
        From logits ``(N, n)``, truth ``(N,)`` (known), weights and label smoothing to the loss of each image in
        two terms ``(N,)``: what it holds as a positive and as a negative. A kind without positives puts all
        in the first.
    shift
        From class weights to what they add to each logit ``(n,)`` of a trained net.
    """

    weigh: Callable[[np.ndarray, int], TargetWeights]
    terms: Callable[[Tensor, Tensor, TargetWeights, float], Terms]
    shift: Callable[[Tensor], Tensor]


def binary_weights(truth: np.ndarray, n_classes: int = 2) -> TargetWeights:
    """Return W- = share of positives and W+ = share of negatives (Rajpurkar et al. 2017, CheXNet, eq. 1).

    A label with one class only on train has nothing to balance: both weights are 1/2.

    >>> binary_weights(np.array([1.0, 0.0, 0.0, 0.0])).classes.tolist()
    [0.25, 0.75]
    """
    del n_classes
    share = float(truth.mean()) if len(truth) else 0.5
    return TargetWeights(torch.tensor([share, 1 - share] if 0 < share < 1 else [0.5, 0.5]))


def class_weights(truth: np.ndarray, n_classes: int) -> TargetWeights:
    """Return N / (C n_c) for the C classes present, so that the mean over the training images is 1; else 0.

    >>> class_weights(np.array([0.0, 0.0, 0.0, 1.0]), 2).classes.tolist()
    [0.6666666865348816, 2.0]
    """
    counts = np.bincount(truth.astype(np.int64), minlength=n_classes)
    present = counts > 0
    weights = np.where(present, len(truth) / (max(present.sum(), 1) * np.maximum(counts, 1)), 0.0)
    return TargetWeights(torch.tensor(weights, dtype=torch.float32))


def continuous_scale(truth: np.ndarray, n_classes: int = 0) -> TargetWeights:
    """Return mean and standard deviation; a constant target has deviation 1.

    >>> scale = continuous_scale(np.array([1.0, 3.0]))
    >>> scale.mean, scale.deviation
    (2.0, 1.0)
    """
    del n_classes
    mean, deviation = (float(truth.mean()), float(truth.std())) if len(truth) else (0.0, 1.0)
    return TargetWeights(torch.empty(0), mean, deviation or 1.0)


def binary_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, smoothing: float) -> Terms:
    """Return W+ y log(1 + e^-z) and W- (1 - y) log(1 + e^z), each ``(N,)``; y may lie between 0 and 1."""
    z = logits[:, 0]
    y = truth * (1 - smoothing) + smoothing / 2
    negative, positive = weights.classes
    return positive * y * F.softplus(-z), negative * (1 - y) * F.softplus(z)


def class_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, smoothing: float) -> Terms:
    """Return the weighted cross-entropy of each image ``(N,)``, and zeros."""
    loss = F.cross_entropy(logits, truth.long(), weights.classes, reduction="none", label_smoothing=smoothing)
    return loss, torch.zeros_like(loss)


def continuous_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, smoothing: float) -> Terms:
    """Return the squared error of the standardised value ``(N,)``, and zeros."""
    del smoothing
    loss = (logits[:, 0] - (truth - weights.mean) / weights.deviation).square()
    return loss, torch.zeros_like(loss)


def binary_shift(classes: Tensor) -> Tensor:
    """Return log(W+ / W-), ``(1,)``."""
    shift: Tensor = classes[1:].log() - classes[:1].log()
    return shift


def class_shift(classes: Tensor) -> Tensor:
    """Return log w_c, ``(n,)``; 0 for a class that train does not have, whose logit no weight has raised."""
    return torch.where(classes > 0, classes, torch.ones_like(classes)).log()


def no_shift(classes: Tensor) -> Tensor:
    """Return 0, ``(1,)``."""
    del classes
    return torch.zeros(1)


CLASSES = Head(class_weights, class_terms, class_shift)
HEADS: dict[TargetKind, Head] = {
    "binary": Head(binary_weights, binary_terms, binary_shift),
    "multiclass": CLASSES,
    "ordinal": CLASSES,
    "continuous": Head(continuous_scale, continuous_terms, no_shift),
}


@dataclass(frozen=True)
class TaskLoss:
    """The loss of a task: the mean over all known truths, each worth the same."""

    task: Task
    weights: tuple[TargetWeights, ...]
    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, truth: Tensor) -> LossParts:
        """Return the loss of ``(N, L)`` logits against ``(N, T)`` truth, NaN unknown; 0 where all is unknown."""
        total, positive, negative = (logits.sum() * 0 for _ in range(3))
        for position, target in enumerate(self.task.targets):
            known = ~truth[:, position].isnan()
            first, second = HEADS[target.kind].terms(
                logits[known, self.task.slice_of(target.name)],
                truth[known, position],
                self.weights[position],
                self.label_smoothing,
            )
            total = total + first.sum() + second.sum()
            if target.kind == "binary":
                positive, negative = positive + first.sum().detach(), negative + second.sum().detach()
        n_known = (~truth.isnan()).sum().clamp(min=1)
        return LossParts(total / n_known, positive / n_known, negative / n_known)

    def to(self, device: torch.device) -> "TaskLoss":
        """Return the same loss with its weights on `device`."""
        moved = tuple(replace(weights, classes=weights.classes.to(device)) for weights in self.weights)
        return replace(self, weights=moved)


def task_loss(task: Task, truth: np.ndarray, options: LossOptions = LossOptions()) -> TaskLoss:
    """Return the loss of `task`, weighted by the training truth ``(N, T)``, NaN unknown."""
    weights = []
    for column, target in zip(truth.T, task.targets, strict=True):
        found = HEADS[target.kind].weigh(column[~np.isnan(column)], len(target.classes))
        if not options.class_weights:
            found = replace(found, classes=torch.ones_like(found.classes))
        weights.append(found)
    return TaskLoss(task, tuple(weights), options.label_smoothing)


def continuous_scales(task: Task, truth: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation on train of each continuous target, as the model card keeps them."""
    found = {}
    for column, target in zip(truth.T, task.targets, strict=True):
        if target.kind == "continuous":
            scale = continuous_scale(column[~np.isnan(column)])
            found[target.name] = [scale.mean, scale.deviation]
    return found


def undo_class_weights(head: nn.Linear, task: Task, truth: np.ndarray) -> None:
    """Move the biases of a head trained with class weights, so that its logits are those of the shares on train.

    A net trained with weights w_c learns softmax(z)_c proportional to w_c P(c | x), so log w_c is taken off each
    logit (Saerens et al. 2002, Neural Computation 14, eq. 4, with the prior that the weights make even); off a
    binary target's one logit, log(W+ / W-). Rankings within a binary target, and heat maps, stay as they are.

    Parameters
    ----------
    head
        Changed in place: ``(K)`` features to ``(L)`` logits.
    task, truth
        As given to `task_loss`.
    """
    weights = task_loss(task, truth).weights
    shifts = [HEADS[target.kind].shift(found.classes) for found, target in zip(weights, task.targets, strict=True)]
    with torch.no_grad():
        head.bias.sub_(torch.cat(shifts).to(head.bias))
