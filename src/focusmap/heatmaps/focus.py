"""Focus maps: the output of a net whose last layer is evidence at every place, not an explanation made afterwards."""

from typing import Literal

import torch
from torch import Tensor

from focusmap.errors import InputError, suggest
from focusmap.heatmaps.class_activation import METHODS, Method
from focusmap.nets.build import FocusNet

FOCUS: Literal["focus"] = "focus"
MapMethod = Method | Literal["focus"]
MAP_METHODS: tuple[MapMethod, ...] = (FOCUS, *METHODS)


def choose_method(name: str | None, net: FocusNet) -> MapMethod:
    """Return the method called `name`; without a name, ``focus`` for a net that has focus maps and ``cam`` for others.

    Raises
    ------
    InputError
        If there is no such method, or the net has no focus maps; the message says what to use instead.
    """
    if name is None:
        return FOCUS if net.focus is not None else "cam"
    method = check_map_method(name)
    if method == FOCUS and net.focus is None:
        raise InputError(
            "heat map method 'focus' needs a net with evidence at every place, such as --model resnet18-fpn; "
            f"for this one use {' or '.join(METHODS)}."
        )
    return method


def check_map_method(name: str) -> MapMethod:
    """Return `name` as a method; `InputError` that lists the known ones if there is none."""
    for method in MAP_METHODS:
        if name == method:
            return method
    raise InputError(f"heat map method {name!r} is not one of {', '.join(MAP_METHODS)}.{suggest(name, MAP_METHODS)}")


def focus_maps(net: FocusNet, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``(N, L)`` and focus maps ``(N, L, h, w)`` of all labels, from one forward pass.

    A map lies between 0 and 1, on the grid of the evidence: relevance, not a probability of disease.
    `focusmap.nets.focus` says what a value means.
    """
    assert not net.training, "focus maps are of a net in eval mode"
    with torch.inference_mode():
        return net.forward_with_focus(batch)
