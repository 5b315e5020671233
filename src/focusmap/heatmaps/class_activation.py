"""Maps of what is inside a net, from one forward pass: of the last feature map, and of a transformer's attention.

Of the last feature map only the head is differentiated, unless said otherwise.

With A (K, *grid) the last feature map of n cells, y_c the logit of label c and G = dy_c/dA, all sums over channels k:

- CAM: M = n sum_k G_k A_k, signed. Behind average pooling and one linear layer G_k = w_ck / n everywhere, so this is
  sum_k w_ck A_k (Zhou et al. 2016, eq. 2), and its mean plus the bias is the logit: a value says what the logit
  would be, but for the bias, if the whole image looked like this place. For any other head it is n times the signed
  HiResCAM.
- Grad-CAM: M = ReLU(sum_k mean(G_k) A_k) (Selvaraju et al. 2017, eq. 1 and 2).
- HiResCAM: M = ReLU(sum_k G_k A_k) (Draelos and Carin 2020, eq. 4).
- LayerCAM: M = ReLU(sum_k ReLU(G_k) A_k) (Jiang et al. 2021, eq. 6 and 7).
- Grad-CAM++: M = ReLU(sum_k v_k A_k), v_k = sum over cells of a_k ReLU(G_k), a_k = G_k^2 / (2 G_k^2 + G_k^3 sum(A_k))
  (Chattopadhay et al. 2018, eq. 5, 10 and 19).
- LayerCAM of all stages: the maximum over stages of tanh(2 M / max(M)), M the LayerCAM of the stage, each enlarged to
  the finest (Jiang et al. 2021, section III-C; here every stage is scaled, the last ones too). It differentiates the
  net from the finest stage on.
- Eigen-CAM: M = the features' projection on their first right singular vector (Muhammad and Yeasin 2020, eq. 2 and 3),
  the same for every label.

Behind average pooling and one linear layer these, too, are closed forms of w: Grad-CAM and HiResCAM are ReLU(CAM) / n,
LayerCAM is ReLU(sum_k ReLU(w_ck) A_k) / n, and Grad-CAM++ is ReLU(sum_k ReLU(w_ck) / (2 + w_ck mean(A_k)) A_k).

A is what comes after the backbone's last activation or normalisation, as `focusmap.nets.backbones` says. Features are
``(N, K, *grid)`` with any number of spatial dimensions, gradients of one label alike, a map ``(N, *grid)``.

With W_l the attention of layer l, averaged over heads, each layer passes on (W_l + I) / 2, half of it past the
attention; the product of all layers says how much of each patch is in each token at the end (eq. 1). The paper reads
the row of the class token. Our classifiers average the patches and leave that token out, so it is the mean row of the
patches here. **The map is the same for every label**: it says what the net looks at and not what for.

Nets are made with fused attention, which never holds its weights. They are not changed: while `AttentionRecorder`
is on, each call of the fused function leaves its weights, made again from its queries and keys, and does what it does.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from focusmap.basics import InputError
from focusmap.nets import on_grid

# In logit units: less than that changes the odds by less than 11 %.
NO_EVIDENCE_BELOW = 0.1
# How steeply a stage's map is drawn towards its maximum before the stages are fused.
FUSION_SCALE = 2


def class_activation(features: Tensor, gradients: Tensor) -> Tensor:
    """Return the CAM ``(N, *grid)``, signed, in logit units.

    >>> class_activation(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[0.5, 0.5]]])).tolist()
    [[3.0, 1.0]]
    """
    return (gradients * features).sum(dim=1) * features[0, 0].numel()


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Return the Grad-CAM ``(N, *grid)``, at least 0, in logit units per cell."""
    weights = gradients.mean(dim=_grid(features), keepdim=True)
    return (weights * features).sum(dim=1).clamp(min=0)


def hires_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Return the HiResCAM ``(N, *grid)``, at least 0, in logit units per cell."""
    return (gradients * features).sum(dim=1).clamp(min=0)


def layer_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Return the LayerCAM ``(N, *grid)``, at least 0, in logit units per cell.

    What features that speak against the label take off again is left out, so its sum may exceed the logit by far.
    """
    return (gradients.clamp(min=0) * features).sum(dim=1).clamp(min=0)


def fused(maps: Sequence[Tensor]) -> Tensor:
    """Return LayerCAMs ``(N, *grid)`` of several stages as one on the finest grid, from 0 to 0.97, without a unit.

    >>> fused([torch.tensor([[4.0, 2.0]]), torch.tensor([[0.0]])])
    tensor([[0.9640, 0.7616]])
    """
    finest = max((one.shape[1:] for one in maps), key=lambda grid: grid.numel())
    return torch.stack([on_grid(_scaled(one)[:, None], finest)[:, 0] for one in maps]).amax(dim=0)


def _scaled(maps: Tensor) -> Tensor:
    highest = maps.amax(dim=tuple(range(1, maps.ndim)), keepdim=True)
    return torch.tanh(FUSION_SCALE * maps / highest).where(highest > 0, 0.0)


def grad_cam_plus_plus(features: Tensor, gradients: Tensor) -> Tensor:
    """Return the Grad-CAM++ ``(N, *grid)``, at least 0, without a unit.

    The paper takes derivatives of exp(y), where y is piecewise linear in A. That gives every cell of a map the same
    factor exp(y), which overflows for large logits; it is left out. Where the denominator of a_k is 0, so is a_k.
    """
    squared = gradients.square()
    denominator = 2 * squared + gradients * squared * features.sum(dim=_grid(features), keepdim=True)
    shares = (squared / denominator).where(denominator != 0, 0.0)
    weights = (shares * gradients.clamp(min=0)).sum(dim=_grid(features), keepdim=True)
    return (weights * features).sum(dim=1).clamp(min=0)


def eigen_cam(features: Tensor) -> Tensor:
    """Return the Eigen-CAM ``(N, *grid)``, without a unit: where the features are strongest, for whatever label.

    A singular vector has no sign; this one's is such that the map's sum is not negative.

    >>> eigen_cam(torch.tensor([[[3.0, 0.0], [4.0, 0.0]]])).round(decimals=4).tolist()
    [[5.0, 0.0]]
    """
    matrix = features.flatten(2).transpose(1, 2)
    first: Tensor = torch.linalg.svd(matrix, full_matrices=False).Vh[:, 0]
    projected = (matrix @ first[:, :, None]).squeeze(2)
    signs = torch.where(projected.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return (projected * signs).reshape(len(features), *features.shape[2:])


def positive_evidence(cams: Tensor) -> Tensor:
    """Return ``(N, L)``: what the positive part of each CAM ``(N, L, *grid)`` adds to its logit, mean(max(M, 0)).

    >>> positive_evidence(torch.tensor([[[[-3.0, 4.0]]]])).tolist()
    [[2.0]]
    """
    return cams.clamp(min=0).mean(dim=_grid(cams))


def _grid(x: Tensor) -> tuple[int, ...]:
    """Return the spatial dimensions of ``(N, K, *grid)``."""
    return tuple(range(2, x.ndim))


def attention_rollout(features_of: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Return the share of each patch in the mean of the last patches, ``(N, *grid)``, at least 0, of sum 1 at most.

    Parameters
    ----------
    features_of
        From images to the last feature map ``(N, K, *grid)``, whose places are the patches; tokens that are no
        patches come before them.
    batch
        ``(N, C, *spatial)``.

    Raises
    ------
    InputError
        If the net has no attention, or not from every token to all in every layer.
    """
    with AttentionRecorder() as attention:
        features = features_of(batch)
    grid, n_patches = features.shape[2:], features[0, 0].numel()
    if not attention.layers or any(not _joins_all(weights, len(batch), n_patches) for weights in attention.layers):
        raise InputError(
            "attention roll-out needs a transformer in whose layers every patch attends to all, "
            "such as --model vit_tiny_patch16_224; for this net use cam."
        )
    return rolled_out(attention.layers)[:, -n_patches:, -n_patches:].mean(dim=1).reshape(-1, *grid)


def rolled_out(weights: Sequence[Tensor]) -> Tensor:
    """Return how much of each token is in each at the end, ``(N, T, T)``, of attentions ``(N, T, T)``, first to last.

    >>> rolled_out([torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])]).tolist()
    [[[0.5, 0.5], [0.0, 1.0]]]
    """
    whole = torch.eye(weights[0].shape[-1]).to(weights[0])
    return reduce(lambda before, layer: (layer + whole) / 2 @ before, weights, whole)


class AttentionRecorder(TorchFunctionMode):
    """While it is on, `layers` gathers the attention of each layer ``(N, T, T)``, averaged over heads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Tensor] = []

    def __torch_function__(
        self, function: Callable[..., Tensor], types: object, args: Sequence[Tensor] = (), kwargs: object = None
    ) -> Tensor:
        named = cast(dict[str, object], kwargs or {})
        if function is torch.nn.functional.scaled_dot_product_attention:
            query, key, _ = args
            assert not named.get("is_causal"), "nets for images look both ways"
            mask, scale = cast(Tensor | None, named.get("attn_mask")), cast(float | None, named.get("scale"))
            self.layers.append(_weights(query, key, mask, scale).mean(dim=1))
        return function(*args, **named)


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Return what `torch.nn.functional.scaled_dot_product_attention` multiplies the values by."""
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1)


def _joins_all(weights: Tensor, n: int, n_patches: int) -> bool:
    """Return whether a layer joins all patches of each of `n` images."""
    return weights.ndim == 3 and len(weights) == n and weights.shape[1] == weights.shape[2] >= n_patches
