"""Attention roll-out: which patches reach the answer of a transformer (Abnar and Zuidema 2020, section 3).

With W_l the attention of layer l, averaged over heads, each layer passes on (W_l + I) / 2, half of it past the
attention; the product of all layers says how much of each patch is in each token at the end (eq. 1). The paper reads
the row of the class token. Our classifiers average the patches and leave that token out, so it is the mean row of the
patches here. **The map is the same for every label**: it says what the net looks at and not what for.

Nets are made with fused attention, which never holds its weights. They are not changed: while `AttentionWeights`
is on, each call of the fused function leaves its weights, made again from its queries and keys, and does what it does.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from focusmap.errors import InputError


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
    with AttentionWeights() as seen:
        features = features_of(batch)
    grid, n_patches = features.shape[2:], features[0, 0].numel()
    if not seen.layers or any(not _joins_all(weights, len(batch), n_patches) for weights in seen.layers):
        raise InputError(
            "attention roll-out needs a transformer in whose layers every patch attends to all, "
            "such as --model vit_tiny_patch16_224; for this net use cam."
        )
    return rolled_out(seen.layers)[:, -n_patches:, -n_patches:].mean(dim=1).reshape(-1, *grid)


def rolled_out(weights: Sequence[Tensor]) -> Tensor:
    """Return how much of each token is in each at the end, ``(N, T, T)``, of attentions ``(N, T, T)``, first to last.

    >>> rolled_out([torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])]).tolist()
    [[[0.5, 0.5], [0.0, 1.0]]]
    """
    whole = torch.eye(weights[0].shape[-1]).to(weights[0])
    return reduce(lambda before, layer: (layer + whole) / 2 @ before, weights, whole)


class AttentionWeights(TorchFunctionMode):
    """While it is on, `layers` gathers the attention of each layer ``(N, T, T)``, averaged over heads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Tensor] = []

    def __torch_function__(
        self, function: Callable[..., Tensor], types: object, args: Sequence[Tensor] = (), kwargs: object = None
    ) -> Tensor:
        named = cast(dict[str, object], kwargs or {})
        if function is F.scaled_dot_product_attention:
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
