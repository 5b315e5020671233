"""Heat maps of any method, by one call.

The *evidence* for a label is the same whatever method draws the map: what the positive part of the CAM adds to the
logit. It decides whether there is anything to be shown; a map of gradients looks much the same whether or not the net
has seen anything. Of a focus-map net it is the mean of the focus map, which costs nothing beside the forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from focusmap.basics import InputError
from focusmap.heatmaps import class_activation as cam
from focusmap.heatmaps.copies import AS_IT_IS, brought_back, copied, copies_of
from focusmap.heatmaps.methods import FOCUS, METHODS, OWN_OUTPUT, Net, Subject, choose_method, method_of, split_method
from focusmap.nets import Ensemble, LevelsNet, bring_home, follow_edges, on_finest, show


@dataclass(frozen=True)
class HeatMaps:
    """What a net says of N images and where it sees it.

    Parameters
    ----------
    logits
        ``(N, L)``, of all labels.
    maps
        ``(N, M, *grid)``, of the labels asked for, in the unit of the method; higher speaks more for the label. The
        grid is that of the last feature map or of the image, and covers the whole image in either case.
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
        A key of `METHODS` that the net has what it needs for. Followed by an ``@`` and keys of
        `focusmap.heatmaps.copies.COPIES`, its maps are means over copies of the image, on the image's own grid.
    labels
        Positions among the logits; None means all. Methods that run backward through the net cost as much a label.

    Raises
    ------
    InputError
        If there is no such method, the net lacks what it needs, or does not take copies of another size.

    >>> from focusmap.nets import Architecture, build_net
    >>> found = heat_maps(build_net(Architecture("small-residual", 1, 2)).eval(), torch.ones(1, 1, 28, 28), "gradcam")
    >>> found.logits.shape, found.maps.shape
    (torch.Size([1, 2]), torch.Size([1, 2, 7, 7]))
    """
    assert not net.training, "heat maps are of a net in eval mode"
    choose_method(method, net)
    if isinstance(net, Ensemble):
        return _mean_over(net, batch, method, labels)
    name, kinds = split_method(method)
    found = _of_image(net, batch, name, labels)
    return _mean_over_copies(found, net, batch, method, labels) if kinds else found


def _of_image(net: Net, batch: Tensor, method: str, labels: Sequence[int] | None) -> HeatMaps:
    if method == "cam" and isinstance(net, LevelsNet):
        # The same as by the gradient of its head, without enlarging and keeping the maps of all levels.
        answers, evidence = net.answer_and_evidence(batch)
        maps = evidence if labels is None else evidence[:, list(labels)]
        return HeatMaps(answers, maps, cam.positive_evidence(maps))
    features = net.features(batch).detach().requires_grad_()
    with torch.enable_grad():
        logits = net.classify(features)
    subject = Subject(net, batch, features, logits, range(logits.shape[1]) if labels is None else labels)
    draw = METHODS[method].draw
    if method in OWN_OUTPUT:
        maps = draw(subject).detach()
        return HeatMaps(logits.detach(), maps, maps.flatten(2).mean(dim=2))
    cams = METHODS["cam"].draw(subject)
    maps = cams if method == "cam" else draw(subject)
    return HeatMaps(logits.detach(), maps.detach(), cam.positive_evidence(cams))


def _mean_over_copies(found: HeatMaps, net: Net, batch: Tensor, method: str, labels: Sequence[int] | None) -> HeatMaps:
    """Return what was found, its maps averaged over copies of the images, on the images' grid."""
    (name, kinds), shape = split_method(method), batch.shape[2:]
    maps = []
    for copy in copies_of(kinds, len(shape)):
        drawn = found.maps if copy == AS_IT_IS else _maps_of_copy(net, copied(copy, batch), name, labels)
        share = drawn[0, 0].numel() / batch[0, 0].numel() if METHODS[name].unit.per_cell else 1.0
        maps.append(share * brought_back(copy, drawn, shape))
    mean = torch.stack(maps).mean(dim=0)
    return replace(found, maps=mean, evidence=mean.flatten(2).mean(dim=2) if name in OWN_OUTPUT else found.evidence)


def check_copies(net: Net | Ensemble, image: Tensor, name: str) -> None:
    """Raise `InputError` if a net cannot be shown the copies of an image that the method called `name` averages over.

    The image is ``(1, C, *spatial)``, of any content. Members of an ensemble take what the first one takes.
    """
    first: Net = next(iter(net.passes()))[0] if isinstance(net, Ensemble) else net
    with torch.inference_mode():
        for copy in copies_of(split_method(name)[1], image.ndim - 2):
            if copy.size != 1:
                _shown(first, copied(copy, image))


def _shown(net: Net, batch: Tensor) -> Tensor:
    try:
        return net.classify(net.features(batch))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _refused(batch, error) from None


def _maps_of_copy(net: Net, batch: Tensor, method: str, labels: Sequence[int] | None) -> Tensor:
    try:
        return _of_image(net, batch, method, labels).maps
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _refused(batch, error) from None


def _refused(batch: Tensor, error: Exception) -> InputError:
    fact, size = (str(error).splitlines() or [type(error).__name__])[0], " x ".join(map(str, batch.shape[2:]))
    return InputError(f"this net takes no images of {size} ({fact}); average over mirror or moves.")


def _mean_over(ensemble: Ensemble, batch: Tensor, method: str, labels: Sequence[int] | None) -> HeatMaps:
    found = []
    for net, view, gain, offset in ensemble.passes():
        one = heat_maps(net, show(view, batch), method, labels)
        # Focus maps are shares, whatever the unit of the logits.
        gains = torch.ones_like(one.logits[0]) if method_of(method) == FOCUS else gain.expand(one.logits.shape[1])
        drawn = gains if labels is None else gains[list(labels)]
        grid = [1] * (one.maps.ndim - 2)
        maps = drawn.reshape(-1, *grid) * bring_home(view, one.maps)
        found.append((gain * one.logits + offset, maps, drawn * one.evidence))
    logits, drawn_maps, evidence = zip(*found, strict=True)
    on_one_grid = on_finest(drawn_maps, per_cell=METHODS[method_of(method)].unit.per_cell)
    mean_logits, mean_maps, mean_evidence = (torch.stack(one).mean(dim=0) for one in (logits, on_one_grid, evidence))
    if method == "cam" and ensemble.is_over_sizes:
        mean_maps = follow_edges(mean_maps, batch)
        mean_evidence = cam.positive_evidence(mean_maps)
    return HeatMaps(mean_logits, mean_maps, mean_evidence)
