"""Per kind of target: what its logits are trained towards. Unknown truth (NaN) never counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.study import Loss, TargetKind, Task, parse_target_weights

# A target that is learnt to the last digit would otherwise weigh without bound.
SMALLEST_LOSS = 1e-3


@dataclass(frozen=True)
class Focusing:
    """How much less an image counts that is already classified correctly.

    Parameters
    ----------
    positive, negative
        Exponents: a positive told with probability p counts (1 - p)^positive, a negative p^negative.
    margin
        Subtracted from a negative's probability first; a negative with a lower probability does not count.
    """

    positive: float = 0.0
    negative: float = 0.0
    margin: float = 0.0


LOSSES: dict[Loss, Focusing] = {
    "cross-entropy": Focusing(),
    # Lin et al. 2017, Focal loss for dense object detection, eq. 4.
    "focal": Focusing(2.0, 2.0),
    # Ridnik et al. 2021, Asymmetric loss for multi-label classification, eq. 4, 5 and 7.
    "asymmetric": Focusing(0.0, 4.0, 0.05),
    "absolute": Focusing(),
}


@dataclass(frozen=True)
class LossOptions:
    """How the loss is formed.

    Parameters
    ----------
    class_weights
        Weigh classes by their frequency.
    label_smoothing
        How far labels are drawn towards the middle, 0 to 1.
    loss
        Its kind.
    target_weights
        As in the recipe: ``equal``, ``uncertainty``, or ``NAME=WEIGHT,...``.
    """

    class_weights: bool = True
    label_smoothing: float = 0.0
    loss: Loss = "cross-entropy"
    target_weights: str = "equal"

    @property
    def focusing(self) -> Focusing:
        """How the kind of loss discounts images that are already classified correctly."""
        return LOSSES[self.loss]


@dataclass(frozen=True)
class LossParts:
    """A loss and what its binary labels' positives and negatives contribute to it; scalars.

    With balanced weights both parts are equal when the net has learned nothing yet.
    """

    total: Tensor
    positive: Tensor
    negative: Tensor

    def times(self, factor: Tensor | float) -> "LossParts":
        """Return each part times a factor."""
        return LossParts(self.total * factor, self.positive * factor, self.negative * factor)

    def plus(self, other: "LossParts") -> "LossParts":
        """Return the sum, part by part."""
        return LossParts(self.total + other.total, self.positive + other.positive, self.negative + other.negative)


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
        From logits ``(N, n)``, truth ``(N,)`` (known), weights and options to the loss of each image in two terms
        ``(N,)``: what it holds as a positive and as a negative. A kind without positives puts all in the first.
    shift
        From class weights to what they add to each logit ``(n,)`` of a trained net.
    """

    weigh: Callable[[np.ndarray, int], TargetWeights]
    terms: Callable[[Tensor, Tensor, TargetWeights, LossOptions], Terms]
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


def binary_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, options: LossOptions) -> Terms:
    """Return W+ y (1 - p)^g+ log(1 / p) and W- (1 - y) q^g- log(1 / (1 - q)), each ``(N,)``; y lies between 0 and 1.

    p is the sigmoid of the logit, q = max(p - margin, 0), g+ and g- the exponents: with none of them the cross-entropy,
    with g+ = g- the focal loss, with all the asymmetric loss (Ridnik et al. 2021, eq. 4 to 7).
    """
    z, focusing = logits[:, 0], options.focusing
    y = truth * (1 - options.label_smoothing) + options.label_smoothing / 2
    negative, positive = weights.classes
    q = (z.sigmoid() - focusing.margin).clamp(min=0)
    loss_of_negative = -torch.log1p(-q) if focusing.margin else nn.functional.softplus(z)
    return (
        positive * y * _focused(nn.functional.softplus(-z), z.neg().sigmoid(), focusing.positive),
        negative * (1 - y) * _focused(loss_of_negative, q, focusing.negative),
    )


def class_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, options: LossOptions) -> Terms:
    """Return the weighted cross-entropy of each image ``(N,)``, times (1 - p)^g for the focal loss, and zeros."""
    labels, smoothing = truth.long(), options.label_smoothing
    loss = nn.functional.cross_entropy(logits, labels, weights.classes, reduction="none", label_smoothing=smoothing)
    missing = 1 - logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    return _focused(loss, missing, options.focusing.positive), torch.zeros_like(loss)


def ordinal_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, options: LossOptions) -> Terms:
    """Return the weighted mean cross-entropy of the n - 1 cuts between neighbouring classes ``(N,)``, and zeros.

    Each cut asks whether the class lies above it (Frank and Hall 2001), and is answered by the softmax's sum over the
    classes above: a class further away costs more. It is a proper score, so that class weights are taken off as they
    are of the plain cross-entropy.
    """
    labels, n = truth.long(), logits.shape[1]
    log_p, ranks = logits.log_softmax(dim=1), torch.arange(n, device=logits.device)
    smoothed = options.label_smoothing * (n - 1 - ranks[:-1]) / n
    above = (labels[:, None] > ranks[:-1]) * (1 - options.label_smoothing) + smoothed
    log_above = torch.stack([log_p[:, cut + 1 :].logsumexp(dim=1) for cut in range(n - 1)], dim=1)
    log_below = torch.stack([log_p[:, : cut + 1].logsumexp(dim=1) for cut in range(n - 1)], dim=1)
    missing = 1 - log_p.gather(1, labels[:, None])[:, 0].exp()
    loss = -(above * log_above + (1 - above) * log_below).mean(dim=1) * weights.classes[labels]
    return _focused(loss, missing, options.focusing.positive), torch.zeros_like(loss)


def _focused(loss: Tensor, wrong: Tensor, exponent: float) -> Tensor:
    # Without an exponent the factor is left out: the gradient of wrong^0 is not a number at 0.
    return loss * wrong.pow(exponent) if exponent else loss


def continuous_terms(logits: Tensor, truth: Tensor, weights: TargetWeights, options: LossOptions) -> Terms:
    """Return the squared, or absolute, error of the standardised value ``(N,)``, and zeros."""
    error = logits[:, 0] - (truth - weights.mean) / weights.deviation
    loss = error.abs() if options.loss == "absolute" else error.square()
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
    "ordinal": Head(class_weights, ordinal_terms, class_shift),
    "continuous": Head(continuous_scale, continuous_terms, no_shift),
}


@dataclass(frozen=True)
class TaskLoss:
    """The loss of a task: the mean over all known truths, each worth the same unless targets have weights."""

    task: Task
    weights: tuple[TargetWeights, ...]
    options: LossOptions = LossOptions()

    def __call__(self, logits: Tensor, truth: Tensor, shares: Tensor | None = None) -> LossParts:
        """Return the loss of ``(N, L)`` logits against ``(N, T)`` truth, NaN unknown; 0 where all is unknown.

        With `shares` ``(N,)`` each image's loss is multiplied by its share, and the sum is divided as before.
        """
        shares = torch.ones_like(truth[:, 0]) if shares is None else shares
        total, positive, negative = (logits.sum() * 0 for _ in range(3))
        given = parse_target_weights(self.options.target_weights, self.task)
        for position, target in enumerate(self.task.targets):
            known = ~truth[:, position].isnan()
            first, second = HEADS[target.kind].terms(
                logits[known, self.task.slice_of(target.name)],
                truth[known, position],
                self.weights[position],
                self.options,
            )
            first, second = first * shares[known], second * shares[known]
            weight = uncertainty_weight(first + second) if given is None else given[position]
            total = total + weight * (first.sum() + second.sum())
            if target.kind == "binary":
                positive = positive + weight * first.sum().detach()
                negative = negative + weight * second.sum().detach()
        n_known = (~truth.isnan()).sum().clamp(min=1)
        return LossParts(total / n_known, positive / n_known, negative / n_known)

    def to(self, device: torch.device) -> "TaskLoss":
        """Return the same loss with its weights on `device`."""
        moved = tuple(replace(weights, classes=weights.classes.to(device)) for weights in self.weights)
        return replace(self, weights=moved)


def uncertainty_weight(loss: Tensor) -> Tensor:
    """Return 1 / (2 L) for the mean L of a target's loss ``(N,)``, without a gradient; 1/2 where there is none.

    The weight that learned uncertainties settle at: exp(-s) L + s / 2 is least at exp(-s) = 1 / (2 L) (Kendall et al.
    2018; in closed form, Kirchdorfer et al. 2024). So each target's loss falls by the
    same share, whatever its unit.
    """
    mean = loss.detach().mean() if len(loss) else loss.new_ones(())
    return 1 / (2 * mean.clamp(min=SMALLEST_LOSS))


def task_loss(task: Task, truth: np.ndarray, options: LossOptions = LossOptions()) -> TaskLoss:
    """Return the loss of `task`, weighted by the training truth ``(N, T)``, NaN unknown.

    Raises
    ------
    InputError
        If the asymmetric loss is asked for and a target has several classes.
    """
    check_loss(task, options.loss)
    weights = []
    for column, target in zip(truth.T, task.targets, strict=True):
        of_target = HEADS[target.kind].weigh(column[~np.isnan(column)], len(target.classes))
        if not options.class_weights:
            of_target = replace(of_target, classes=torch.ones_like(of_target.classes))
        weights.append(of_target)
    return TaskLoss(task, tuple(weights), options)


def check_loss(task: Task, loss: Loss) -> None:
    """Raise `InputError` if `loss` is not made for a target of `task`."""
    for target in task.targets:
        if loss == "asymmetric" and target.has_logit_per_class:
            raise InputError(f"loss 'asymmetric' is for binary targets; {target.name} is {target.kind}. Try 'focal'.")
    if loss == "absolute" and all(not target.is_number for target in task.targets):
        raise InputError("loss 'absolute' is for continuous targets, and there is none. Try 'cross-entropy'.")


def continuous_scales(task: Task, truth: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation on train of each continuous target, as the model card keeps them."""
    scales = {}
    for column, target in zip(truth.T, task.targets, strict=True):
        if target.is_number:
            scale = continuous_scale(column[~np.isnan(column)])
            scales[target.name] = [scale.mean, scale.deviation]
    return scales


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
    _take_off(head, task, [found.classes for found in task_loss(task, truth).weights])


def undo_sampling(head: nn.Linear, task: Task, truth: np.ndarray, draws: np.ndarray) -> None:
    """Move the biases of a head trained on images drawn unevenly, so that its logits are those of the shares on train.

    As `undo_class_weights`, the weight of a class being how often its images are drawn; exact for one target.

    Parameters
    ----------
    head
        Changed in place.
    task, truth
        As given to `task_loss`.
    draws
        ``(N,)``: how often each image is drawn an epoch, on average.
    """
    rates = [
        _mean_draws(column, draws, 2 if target.kind == "binary" else target.n_logits)
        for column, target in zip(truth.T, task.targets, strict=True)
    ]
    _take_off(head, task, rates)


def _mean_draws(truth: np.ndarray, draws: np.ndarray, n_classes: int) -> Tensor:
    known = ~np.isnan(truth)
    labels = np.clip(np.rint(truth[known]), 0, n_classes - 1).astype(np.int64)
    counts = np.bincount(labels, minlength=n_classes)
    means = np.bincount(labels, draws[known], minlength=n_classes) / np.maximum(counts, 1)
    # A class that train does not have has no say, and two that are drawn alike have none either.
    return torch.tensor(means if counts.all() or n_classes > 2 else np.ones(n_classes), dtype=torch.float32)


def _take_off(head: nn.Linear, task: Task, weights: Sequence[Tensor]) -> None:
    shifts = [HEADS[target.kind].shift(found) for found, target in zip(weights, task.targets, strict=True)]
    with torch.no_grad():
        head.bias.sub_(torch.cat(shifts).to(head.bias))
