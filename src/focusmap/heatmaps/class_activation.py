"""Class activation maps of all labels from one forward pass.

With A (K, h, w) the last feature map, y_c = b_c + sum_k w_ck mean(A_k) the logit of label c:

- CAM: M_c = sum_k w_ck A_k (Zhou et al. 2016, eq. 2).
- Grad-CAM: alpha_ck = mean over space of dy_c/dA_k, M_c = ReLU(sum_k alpha_ck A_k) (Selvaraju et al. 2017, eq. 1
  and 2). Behind average pooling and one linear layer dy_c/dA_k = w_ck / (h w) everywhere, so no backward pass is
  needed, and Grad-CAM is ReLU(CAM) / (h w). Of a focus-map net the layers behind A are gone through backwards.

Both are kept on an absolute scale. CAM is in logit units: its mean over space plus the bias is the logit, so a
value says what the logit would be, but for the bias, if the whole picture looked like this place.

A is what comes after the backbone's last activation or normalisation, as `focusmap.nets.backbones` says.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from focusmap.errors import InputError, suggest
from focusmap.nets.build import FocusNet

Method = Literal["cam", "gradcam"]
METHODS: tuple[Method, ...] = get_args(Method)

# In logit units: less than that changes the odds by less than 11 %.
NO_EVIDENCE_BELOW = 0.1


def check_method(name: str) -> Method:
    """Return `name` as a method.

    Raises
    ------
    InputError
        If there is no such method; the message lists the known ones.
    """
    for method in METHODS:
        if name == method:
            return method
    raise InputError(f"heat map method {name!r} is not one of {', '.join(METHODS)}.{suggest(name, METHODS)}")


def class_activation_maps(net: FocusNet, batch: Tensor, method: Method = "cam") -> tuple[Tensor, Tensor]:
    """Return logits and maps of all labels, from one forward pass without gradients.

    Parameters
    ----------
    net
        In eval mode, so that its logits are those of prediction.
    batch
        ``(N, C, H, W) float``, prepared and standardised.
    method
        ``cam``: signed, in logit units. ``gradcam``: at least 0, in logit units per cell of the feature map.

    Returns
    -------
    logits
        ``(N, L)``.
    maps
        ``(N, L, h, w)`` on the grid of the feature map; higher speaks more for the label.
    """
    assert not net.training, "heat maps are of a net in eval mode"
    with torch.inference_mode():
        logits, maps = net.forward_with_maps(batch)
        if method == "gradcam":
            maps = maps.clamp(min=0) / maps[0, 0].numel()
    if method == "gradcam" and net.focus is not None:
        maps = _grad_cam_of_head(net, batch)
    return logits, maps


def _grad_cam_of_head(net: FocusNet, batch: Tensor) -> Tensor:
    """Return Grad-CAM ``(N, L, h, w)`` with the gradient of the pooling, one backward pass of the head a label."""
    with torch.no_grad():
        features = net.features(batch)
    features.requires_grad_()
    maps = []
    for logits in net.classify(features).sum(dim=0):
        (gradient,) = torch.autograd.grad(logits, features, retain_graph=True)
        alpha = gradient.flatten(2).mean(dim=2)
        maps.append(torch.einsum("nk,nk...->n...", alpha, features.detach()))
    return torch.stack(maps, dim=1).clamp(min=0)


def positive_evidence(maps: Tensor, method: Method = "cam") -> Tensor:
    """Return ``(N, L)``: what the positive part of a map adds to its logit, mean(max(M, 0)) of the CAM.

    The same for both methods, since Grad-CAM is that part, divided by the number of cells.

    >>> positive_evidence(torch.tensor([[[[-3.0, 4.0]]]])).tolist()
    [[2.0]]
    """
    positive = maps.clamp(min=0)
    return positive.sum(dim=(-2, -1)) if method == "gradcam" else positive.mean(dim=(-2, -1))


def has_evidence(maps: Tensor, method: Method = "cam") -> Tensor:
    """Return ``(N, L) bool``: false where the positive evidence is below `NO_EVIDENCE_BELOW` logit units.

    Such a map would be noise stretched to full colour; it is shown as "no evidence".

    >>> has_evidence(torch.tensor([[[[-3.0, 0.1]], [[-3.0, 0.4]]]])).tolist()
    [[False, True]]
    """
    return positive_evidence(maps, method) >= NO_EVIDENCE_BELOW
