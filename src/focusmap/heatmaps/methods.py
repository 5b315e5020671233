"""Every heat map method by its name: what it draws, in which unit, and what a net needs for it.

``NAME@COPIES`` is the method NAME, its maps averaged over copies of the image: ``gradcam@mirror,sizes``.

Focus maps are no explanation made afterwards but the output of a net whose last layer is evidence at every place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from focusmap.basics import InputError, suggest
from focusmap.heatmaps import class_activation as cam
from focusmap.heatmaps import gradients, perturbation
from focusmap.heatmaps.class_activation import attention_rollout
from focusmap.heatmaps.copies import COPIES, check_kinds
from focusmap.heatmaps.gradients import Classifier, gradient_of, gradients_of, xrai
from focusmap.nets import Ensemble, FocusNet


class Net(Protocol):
    """What a heat map needs of a net: its logits are ``classify(features(x))``."""

    training: bool

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map ``(N, K, *grid)`` of images ``(N, C, *spatial)``."""

    def classify(self, features: Tensor) -> Tensor:
        """Return logits ``(N, L)``."""


@runtime_checkable
class Staged(Net, Protocol):
    """A net that also hands out the maps that its last one is made of."""

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return feature maps ``(N, K_i, *grid_i)`` of images, `features` last, of one pass."""


@dataclass(frozen=True)
class Unit:
    """What the numbers of a map mean.

    Parameters
    ----------
    words
        For the colour bar, of the value that is shown. Maps of the same words may share a scale.
    per_cell
        The map holds the share of one cell of its grid: what is shown is that times the number of cells, as if the
        whole image looked like this place.
    least
        The colours of a map never end below this value: less is not worth showing.
    of_value
        The words for a continuous target, which has no logit but a unit of its own; empty where `words` name no logit.
    """

    words: str
    per_cell: bool = False
    least: float = 0.0
    of_value: str = ""


EVIDENCE = Unit("evidence (logit units)", least=1.0, of_value="evidence (in the target's unit)")
EVIDENCE_PER_CELL = replace(EVIDENCE, per_cell=True)
EVIDENCE_FOR = Unit("evidence for (logit units)", True, EVIDENCE.least, "evidence for (in the target's unit)")
RELATIVE = Unit("relevance (no unit)")
SENSITIVITY = Unit("gradient (logits per deviation)", of_value="gradient (target's unit per deviation)")
LOSS = Unit("lost when hidden (logits)", least=EVIDENCE.least, of_value="lost when hidden (target's unit)")
SHARE = Unit("relevance (0 to 1)", least=1.0)
ERROR = Unit("squared error (variances of the image)", least=1.0)
ATTENTION = Unit("attention (1 is an even share)", per_cell=True)
FOCUS, ACAM, RECONSTRUCTION = "focus", "acam", "reconstruction"


@dataclass(frozen=True)
class Need:
    """What a net must have for a method: a property of `FocusNet`, and what to say where it is false."""

    property: str
    words: str


FOCUS_MAPS = Need("has_focus", "a net with evidence at every place, such as --model resnet18-fpn")
AXES = Need("has_axis_attention", "a net with attention along the axes, such as --model resnet18-acam")
ERRORS = Need("reconstructs", "an autoencoder (--model autoencoder)")
STAGES = Need("has_stages", "a net that hands out the maps of its stages, such as --model resnet18")
TOKENS = Need(
    "has_token_attention",
    "a transformer in whose layers every patch attends to all, such as --model vit_tiny_patch16_224",
)


@dataclass(frozen=True)
class Subject:
    """What is explained: images, their features with the head's graph behind the logits, and the labels asked for."""

    net: Net
    batch: Tensor
    features: Tensor
    logits: Tensor
    labels: Sequence[int]

    def whole(self, x: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of other images."""
        return self.net.classify(self.net.features(x))


@dataclass(frozen=True)
class Method:
    """One way to make heat maps ``(N, M, *grid)``, the unit that they have, and what it needs beyond a `Net`."""

    draw: Callable[[Subject], Tensor]
    unit: Unit
    need: Need | None = None


def _by_head(formula: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Subject], Tensor]:
    """Return a method that needs the features and, of each label, the gradients of the head."""

    def draw(subject: Subject) -> Tensor:
        of_labels = (gradient_of(subject.logits, label, subject.features) for label in subject.labels)
        return torch.stack([formula(subject.features, gradient) for gradient in of_labels], dim=1)

    return draw


def _by_net(method: Callable[[Classifier, Tensor, Sequence[int]], Tensor]) -> Callable[[Subject], Tensor]:
    """Return a method that runs the whole net again."""
    return lambda subject: method(subject.whole, subject.batch, subject.labels)


def _eigen_cam(subject: Subject) -> Tensor:
    return torch.stack([cam.eigen_cam(subject.features)] * len(subject.labels), dim=1)


def _score_cam(subject: Subject) -> Tensor:
    return perturbation.score_cam(subject.whole, subject.batch, subject.features, subject.labels)


def _ablation_cam(subject: Subject) -> Tensor:
    return perturbation.ablation_cam(subject.net.classify, subject.features, subject.labels)


_by_gradient = _by_head(cam.class_activation)


def _cam(subject: Subject) -> Tensor:
    """Return the CAM; of a net that attends along the axes, that of its features before the attention."""
    net = subject.net
    if isinstance(net, FocusNet) and net.has_axis_attention:
        return net.evidence(subject.features)[:, list(subject.labels)]
    return _by_gradient(subject)


def _acam(subject: Subject) -> Tensor:
    assert isinstance(subject.net, FocusNet), "attentional maps are those of a net with attention along the axes"
    return subject.net.attended_evidence(subject.features)[:, list(subject.labels)]


def _layer_cam_of_stages(subject: Subject) -> Tensor:
    assert isinstance(subject.net, Staged), "stages are those of a net that hands them out"
    with torch.enable_grad():
        stages = subject.net.stages(subject.batch.detach().requires_grad_())
        logits = subject.net.classify(stages[-1])
    of_labels = (gradients_of(logits, label, stages) for label in subject.labels)
    maps = (map(cam.layer_cam, stages, of_label) for of_label in of_labels)
    return torch.stack([cam.fused(list(of_label)) for of_label in maps], dim=1)


def _attention(subject: Subject) -> Tensor:
    return torch.stack([attention_rollout(subject.net.features, subject.batch)] * len(subject.labels), dim=1)


def _focus(subject: Subject) -> Tensor:
    assert isinstance(subject.net, FocusNet), "focus maps are those of a focus-map net"
    return subject.net.focus_maps(subject.features)[:, list(subject.labels)]


def _reconstruction(subject: Subject) -> Tensor:
    return subject.features[:, list(subject.labels)]


METHODS: dict[str, Method] = {
    FOCUS: Method(_focus, SHARE, FOCUS_MAPS),
    ACAM: Method(_acam, EVIDENCE, AXES),
    RECONSTRUCTION: Method(_reconstruction, ERROR, ERRORS),
    "cam": Method(_cam, EVIDENCE),
    "gradcam": Method(_by_head(cam.grad_cam), EVIDENCE_PER_CELL),
    "gradcam++": Method(_by_head(cam.grad_cam_plus_plus), RELATIVE),
    "hirescam": Method(_by_head(cam.hires_cam), EVIDENCE_PER_CELL),
    "layercam": Method(_by_head(cam.layer_cam), EVIDENCE_FOR),
    "layercam-stages": Method(_layer_cam_of_stages, RELATIVE, STAGES),
    "eigencam": Method(_eigen_cam, RELATIVE),
    "ablationcam": Method(_ablation_cam, RELATIVE),
    "scorecam": Method(_score_cam, RELATIVE),
    "gradients": Method(_by_net(gradients.saliency), SENSITIVITY),
    "smoothgrad": Method(_by_net(gradients.smooth_grad), SENSITIVITY),
    "guided-backprop": Method(_by_net(gradients.guided_backpropagation), RELATIVE),
    "integrated-gradients": Method(_by_net(gradients.integrated_gradients), EVIDENCE_PER_CELL),
    "xrai": Method(_by_net(xrai), EVIDENCE_PER_CELL),
    "occlusion": Method(_by_net(perturbation.occlusion), LOSS),
    "rollout": Method(_attention, ATTENTION, TOKENS),
}

# Their maps come out of the net, and evidence is their mean.
OWN_OUTPUT = (FOCUS, RECONSTRUCTION)


def check_method(name: str) -> str:
    """Return `name`, which is a method's, perhaps followed by an ``@`` and kinds of copies.

    Raises
    ------
    InputError
        If there is no such method or kind of copies; the message lists the known ones.
    """
    method, kinds = split_method(name)
    if method not in METHODS:
        raise InputError(f"heat map method {method!r} is not one of {', '.join(METHODS)}.{suggest(method, METHODS)}")
    check_kinds(kinds)
    return name


def is_method(name: str) -> bool:
    """Return whether a name is a method's, as `check_method` allows it."""
    method, kinds = split_method(name)
    return method in METHODS and set(kinds) <= set(COPIES)


def method_of(name: str) -> str:
    """Return the key of `METHODS` in the name of a method, without the copies.

    >>> method_of("gradcam@mirror,sizes")
    'gradcam'
    """
    return split_method(name)[0]


def unit_of(name: str) -> Unit:
    """Return the unit of the maps of a method."""
    return METHODS[method_of(name)].unit


def methods_of(net: Net | Ensemble) -> tuple[str, ...]:
    """Return the methods that a net can be explained by, first the maps that are its own output if it has any."""
    return tuple(name for name in METHODS if can_draw(net, name))


def can_draw(net: Net | Ensemble, name: str) -> bool:
    """Return whether a net has what the method called `name` needs.

    An autoencoder has its own maps alone: a score of whatever is unusual has no cause that a classifier's methods could
    show.
    """
    need = METHODS[method_of(name)].need
    if getattr(net, ERRORS.property, False):
        return need is ERRORS
    return need is None or bool(getattr(net, need.property, False))


def choose_method(name: str | None, net: Net | Ensemble) -> str:
    """Return the method called `name`; without a name, the maps that are a net's own output, or ``cam``.

    Raises
    ------
    InputError
        If there is no such method, or it is not for this net; the message says what to use instead.
    """
    if name is None:
        return methods_of(net)[0]
    if not can_draw(net, check_method(name)):
        method, usual = method_of(name), methods_of(net)[0]
        need = METHODS[method].need
        needed = "a classifier" if need is None else need.words
        raise InputError(f"heat map method {method!r} needs {needed}; for this one use {usual}.")
    return name


def split_method(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a method and the kinds of copies that its maps are averaged over."""
    method, _, kinds = name.partition("@")
    return method, tuple(filter(None, kinds.split(",")))
