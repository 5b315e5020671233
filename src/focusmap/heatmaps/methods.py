"""Every heat map method behind one call.

`METHODS` says what each one draws and in which unit. The *evidence* for a label is the same whatever method draws the
map: what the positive part of the CAM adds to the logit. It decides whether there is anything to be shown; a map of
gradients looks much the same whether or not the net has seen anything.

Focus maps are no explanation made afterwards but the output of a net whose last layer is evidence at every place. They
cost nothing beside the forward pass, and evidence for a label is there the mean of its map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from focusmap.errors import InputError, suggest
from focusmap.heatmaps import class_activation as cam
from focusmap.heatmaps import gradients, perturbation
from focusmap.heatmaps.gradients import Classifier, gradient_of
from focusmap.nets.build import FocusNet
from focusmap.nets.ensemble import Ensemble
from focusmap.nets.views import bring_home, show


class Net(Protocol):
    """What a heat map needs of a net: its logits are ``classify(features(x))``."""

    training: bool

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map ``(N, K, *grid)`` of pictures ``(N, C, *spatial)``."""

    def classify(self, features: Tensor) -> Tensor:
        """Return logits ``(N, L)``."""


@dataclass(frozen=True)
class Unit:
    """What the numbers of a map mean.

    Parameters
    ----------
    words
        For the colour bar, of the value that is shown. Maps of the same words may share a scale.
    per_cell
        The map holds the share of one cell of its grid: what is shown is that times the number of cells, as if the
        whole picture looked like this place.
    least
        The colours of a map never end below this value: less is not worth showing.
    """

    words: str
    per_cell: bool = False
    least: float = 0.0


EVIDENCE = Unit("evidence (logit units)", least=1.0)
EVIDENCE_PER_CELL = Unit(EVIDENCE.words, per_cell=True, least=EVIDENCE.least)
EVIDENCE_FOR = Unit("evidence for (logit units)", per_cell=True, least=EVIDENCE.least)
RELATIVE = Unit("relevance (no unit)")
SENSITIVITY = Unit("gradient (logits per deviation)")
LOSS = Unit("lost when hidden (logits)", least=EVIDENCE.least)
SHARE = Unit("relevance (0 to 1)", least=1.0)
ERROR = Unit("squared error (variances of the picture)", least=1.0)
FOCUS, RECONSTRUCTION = "focus", "reconstruction"


@dataclass(frozen=True)
class Subject:
    """What is explained: pictures, their features with the head's graph behind the logits, and the labels asked for."""

    net: Net
    batch: Tensor
    features: Tensor
    logits: Tensor
    labels: Sequence[int]

    def whole(self, x: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of other pictures."""
        return self.net.classify(self.net.features(x))


@dataclass(frozen=True)
class Method:
    """One way to make heat maps ``(N, M, *grid)``, and the unit that they have."""

    draw: Callable[[Subject], Tensor]
    unit: Unit


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


def _focus(subject: Subject) -> Tensor:
    assert isinstance(subject.net, FocusNet), "focus maps are those of a focus-map net"
    return subject.net.focus_maps(subject.features)[:, list(subject.labels)]


def _reconstruction(subject: Subject) -> Tensor:
    return subject.features[:, list(subject.labels)]


METHODS: dict[str, Method] = {
    FOCUS: Method(_focus, SHARE),
    RECONSTRUCTION: Method(_reconstruction, ERROR),
    "cam": Method(_by_head(cam.class_activation), EVIDENCE),
    "gradcam": Method(_by_head(cam.grad_cam), EVIDENCE_PER_CELL),
    "gradcam++": Method(_by_head(cam.grad_cam_plus_plus), RELATIVE),
    "hirescam": Method(_by_head(cam.hires_cam), EVIDENCE_PER_CELL),
    "layercam": Method(_by_head(cam.layer_cam), EVIDENCE_FOR),
    "eigencam": Method(_eigen_cam, RELATIVE),
    "ablationcam": Method(_ablation_cam, RELATIVE),
    "scorecam": Method(_score_cam, RELATIVE),
    "gradients": Method(_by_net(gradients.saliency), SENSITIVITY),
    "smoothgrad": Method(_by_net(gradients.smooth_grad), SENSITIVITY),
    "guided-backprop": Method(_by_net(gradients.guided_backpropagation), RELATIVE),
    "integrated-gradients": Method(_by_net(gradients.integrated_gradients), EVIDENCE_PER_CELL),
    "occlusion": Method(_by_net(perturbation.occlusion), LOSS),
}


NEEDS = {
    FOCUS: "a net with evidence at every place, such as --model resnet18-fpn",
    RECONSTRUCTION: "an autoencoder (--model autoencoder)",
}


@dataclass(frozen=True)
class HeatMaps:
    """What a net says of N pictures and where it sees it.

    Parameters
    ----------
    logits
        ``(N, L)``, of all labels.
    maps
        ``(N, M, *grid)``, of the labels asked for, in the unit of the method; higher speaks more for the label. The
        grid is that of the last feature map or of the picture, and covers the whole picture in either case.
    evidence
        ``(N, M)``, in logit units: what the positive part of the CAM adds to each logit, whatever the method; the mean
        of a map that is the net's own output.
    """

    logits: Tensor
    maps: Tensor
    evidence: Tensor

    @property
    def has_evidence(self) -> Tensor:
        """``(N, M) bool``: false where a map would be noise stretched to full colour."""
        return self.evidence >= cam.NO_EVIDENCE_BELOW


def check_method(name: str) -> str:
    """Return `name`, which is a method's.

    Raises
    ------
    InputError
        If there is no such method; the message lists the known ones.
    """
    if name not in METHODS:
        raise InputError(f"heat map method {name!r} is not one of {', '.join(METHODS)}.{suggest(name, METHODS)}")
    return name


def methods_of(net: Net | Ensemble) -> tuple[str, ...]:
    """Return the methods that a net can be explained by, first of all the maps that are its own output if it has any.

    An autoencoder has no others: a score of whatever is unusual has no cause that a classifier's methods could show.
    """
    if isinstance(net, FocusNet | Ensemble) and net.reconstructs:
        return (RECONSTRUCTION,)
    has_focus = isinstance(net, FocusNet | Ensemble) and net.has_focus
    return tuple(name for name in METHODS if name != RECONSTRUCTION and (has_focus or name != FOCUS))


def choose_method(name: str | None, net: Net | Ensemble) -> str:
    """Return the method called `name`; without a name, the maps that are a net's own output, or ``cam``.

    Raises
    ------
    InputError
        If there is no such method, or it is not for this net; the message says what to use instead.
    """
    possible = methods_of(net)
    if name is None:
        return possible[0]
    if check_method(name) not in possible:
        needed = NEEDS.get(name, "a classifier")
        raise InputError(f"heat map method {name!r} needs {needed}; for this one use {possible[0]}.")
    return name


@torch.no_grad()
def heat_maps(net: Net | Ensemble, batch: Tensor, method: str = "cam", labels: Sequence[int] | None = None) -> HeatMaps:
    """Return logits of all labels, and maps and evidence of those asked for.

    Parameters
    ----------
    net
        In eval mode, so that its logits are those of prediction. Maps and evidence of an ensemble are the means over
        its members and views, each map brought back from its view; a place that a view does not show counts as 0.
    batch
        ``(N, C, *spatial) float``, prepared and standardised.
    method
        A key of `METHODS`; ``focus`` for a net that has focus maps.
    labels
        Positions among the logits; None means all. Methods that run backward through the net cost as much a label.

    Raises
    ------
    InputError
        If there is no such method, or the net has no focus maps.

    >>> from focusmap.nets.build import Architecture, build_net
    >>> found = heat_maps(build_net(Architecture("small-residual", 1, 2)).eval(), torch.ones(1, 1, 28, 28), "gradcam")
    >>> found.logits.shape, found.maps.shape
    (torch.Size([1, 2]), torch.Size([1, 2, 7, 7]))
    """
    assert not net.training, "heat maps are of a net in eval mode"
    draw = METHODS[choose_method(method, net)].draw
    if isinstance(net, Ensemble):
        return _mean_over(net, batch, method, labels)
    features = net.features(batch).detach().requires_grad_()
    with torch.enable_grad():
        logits = net.classify(features)
    subject = Subject(net, batch, features, logits, range(logits.shape[1]) if labels is None else labels)
    if method in NEEDS:
        maps = draw(subject).detach()
        return HeatMaps(logits.detach(), maps, maps.flatten(2).mean(dim=2))
    cams = METHODS["cam"].draw(subject)
    maps = cams if method == "cam" else draw(subject)
    return HeatMaps(logits.detach(), maps.detach(), cam.positive_evidence(cams))


def _mean_over(ensemble: Ensemble, batch: Tensor, method: str, labels: Sequence[int] | None) -> HeatMaps:
    found = []
    for net, view, gain, offset in ensemble.passes():
        one = heat_maps(net, show(view, batch), method, labels)
        # Focus maps are shares, whatever the unit of the logits.
        gains = torch.ones_like(one.logits[0]) if method == FOCUS else gain.expand(one.logits.shape[1])
        drawn = gains if labels is None else gains[list(labels)]
        grid = [1] * (one.maps.ndim - 2)
        maps = drawn.reshape(-1, *grid) * bring_home(view, one.maps)
        found.append((gain * one.logits + offset, maps, drawn * one.evidence))
    logits, maps, evidence = (torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True))
    return HeatMaps(logits, maps, evidence)
