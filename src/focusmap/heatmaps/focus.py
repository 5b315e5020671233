"""Focus maps: the output of a net whose last layer is evidence at every place, not an explanation made afterwards."""

from collections.abc import Sequence

import torch

from focusmap.errors import InputError, suggest
from focusmap.heatmaps.methods import METHODS, HeatMaps, Unit
from focusmap.nets.build import FocusNet
from focusmap.nets.ensemble import Ensemble
from focusmap.nets.views import bring_home, show

FOCUS = "focus"
RELEVANCE = Unit("relevance (0 to 1)", least=1.0)


def unit_of(method: str) -> Unit:
    """Return what the numbers of a method's maps mean."""
    return RELEVANCE if method == FOCUS else METHODS[method].unit


def check_map_method(name: str) -> str:
    """Return `name`, which is ``focus`` or another method's; `InputError` that lists the known ones if it is none."""
    known = (FOCUS, *METHODS)
    if name not in known:
        raise InputError(f"heat map method {name!r} is not one of {', '.join(known)}.{suggest(name, known)}")
    return name


def choose_method(name: str | None, *, has_focus: bool) -> str:
    """Return the method called `name`; without a name, ``focus`` for a model that has focus maps, ``cam`` for others.

    Raises
    ------
    InputError
        If there is no such method, or the model has no focus maps; the message says what to use instead.
    """
    if name is None:
        return FOCUS if has_focus else "cam"
    if check_map_method(name) == FOCUS and not has_focus:
        raise InputError(
            "heat map method 'focus' needs a net with evidence at every place, such as --model resnet18-fpn; "
            "for this one use cam."
        )
    return name


@torch.no_grad()
def focus_maps(net: FocusNet | Ensemble, batch: torch.Tensor, labels: Sequence[int]) -> HeatMaps:
    """Return logits of all labels, and focus maps of those asked for, from one forward pass.

    A map ``(N, M, h, w)`` lies between 0 and 1, on the grid of the evidence: relevance, not a probability of disease.
    `focusmap.nets.focus` says what a value means. Those of an ensemble are the means over its members and views. The
    evidence for a label is the mean of its map.
    """
    assert not net.training, "focus maps are of a net in eval mode"
    logits, maps = _mean_over(net, batch) if isinstance(net, Ensemble) else net.forward_with_focus(batch)
    maps = maps[:, list(labels)]
    return HeatMaps(logits, maps, maps.flatten(2).mean(dim=2))


def _mean_over(ensemble: Ensemble, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = []
    for net, view, gain, offset in ensemble.passes():
        logits, maps = net.forward_with_focus(show(view, batch))
        found.append((gain * logits + offset, bring_home(view, maps)))
    logits, maps = (torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True))
    return logits, maps
