"""From evidence at every place to one number per image; and attention along each axis: which places have a say.

Both work in any number of spatial dimensions.

Each pooling gives a constant map its own value, and moves by b where every place moves by b: so a bias may be added
after it, and a place that says e says "an image that looks like this everywhere would have the logit e".

With e_p the evidence at place p of n:

- average: sum_p e_p / n. Every place gets the same gradient; maps spread over all that goes with the label.
- max: max_p e_p. One place gets all of it; maps shrink to the most telling spot (Oquab et al. 2015).
- lse: log(sum_p exp(r e_p) / n) / r, between the two: average for r -> 0, max for r -> infinity (Pinheiro and Collobert
  2015, eq. 1).
- topk: the mean of the k highest, k a share of n.
- attention: sum_p a_p e_p, a = softmax over places of w (tanh(V h_p) * sigmoid(U h_p)), h_p the features (Ilse et al.
  2018, eq. 9), one w a label.

After Wu et al. 2019 (Weakly supervised brain lesion segmentation via attentional representation learning, section 2.1).
With F (K, *spatial) the features and C = w F the class activation map of a label, for each axis D of n_D positions:

    g_d = w_att . mean of F over the other axes at position d,   s = softmax over d of g,   C'_D(d) = s_d C(d)

and the axes' maps are combined by learned weights v_D: C' = sum_D v_D n_D C'_D. The weights are positive and of sum 1,
and n_D makes an attention that prefers no position leave the map as it is. So C' = a C with an attention a of mean 1,
which begins as 1 everywhere: training starts from the plain net. There is one w_att and one v for each label.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from focusmap.basics import InputError, suggest

AVERAGE = "average"
FIRST_SHARPNESS = 1.0
ATTENTION_WIDTH = 64


@dataclass(frozen=True)
class PoolingOptions:
    """How evidence becomes a logit.

    Parameters
    ----------
    name
        A key of `POOLINGS`.
    sharpness
        r of ``lse``; 0 means learned, one r a net, from 1 on.
    top_share
        Share of the places that ``topk`` averages; at least one place.
    """

    name: str = AVERAGE
    sharpness: float = 1.0
    top_share: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in POOLINGS:
            raise InputError(
                f"pooling {self.name!r} is not one of {', '.join(POOLINGS)}.{suggest(self.name, POOLINGS)}"
            )


class Average(nn.Module):
    """The mean over all places."""

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        del features
        return evidence.flatten(2).mean(dim=2)


class Maximum(nn.Module):
    """The highest place."""

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        del features
        return evidence.flatten(2).amax(dim=2)


class LogSumExp(nn.Module):
    """The log of the mean of exp(r e), divided by r; r is fixed, or learned where `sharpness` is 0.

    >>> pooled = LogSumExp(1.0)(torch.tensor([[[[0.0, math.log(3)]]]]), torch.empty(0))
    >>> round(float(pooled.exp()), 4)
    2.0
    """

    def __init__(self, sharpness: float = 0.0) -> None:
        super().__init__()
        # The logarithm is what is learned: r stays positive.
        log_r = torch.tensor([math.log(sharpness or FIRST_SHARPNESS)])
        if sharpness:
            self.register_buffer("log_r", log_r)
        else:
            self.log_r = nn.Parameter(log_r)

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        del features
        flat, r = evidence.flatten(2), self.log_r.exp()
        return (torch.logsumexp(r * flat, dim=2) - math.log(flat.shape[2])) / r


class TopShare(nn.Module):
    """The mean over the highest places, a share of all."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        del features
        flat = evidence.flatten(2)
        k = max(1, round(self.share * flat.shape[2]))
        return flat.topk(k, dim=2).values.mean(dim=2)


class GatedAttention(nn.Module):
    """The mean weighted by a learned attention, one per label."""

    def __init__(self, n_features: int, n_labels: int) -> None:
        super().__init__()
        self.content = nn.Linear(n_features, ATTENTION_WIDTH)
        self.gate = nn.Linear(n_features, ATTENTION_WIDTH)
        self.score = nn.Linear(ATTENTION_WIDTH, n_labels, bias=False)

    def attention(self, features: Tensor) -> Tensor:
        """Return ``(N, L, *spatial)``, at least 0, of sum 1 over the places."""
        h = features.movedim(1, -1)
        scores = self.score(torch.tanh(self.content(h)) * torch.sigmoid(self.gate(h))).movedim(-1, 1).float()
        return torch.softmax(scores.flatten(2), dim=2).view_as(scores)

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        return (self.attention(features) * evidence).flatten(2).sum(dim=2)


Builder = Callable[[PoolingOptions, int, int], nn.Module]
POOLINGS: dict[str, Builder] = {
    AVERAGE: lambda *_: Average(),
    "max": lambda *_: Maximum(),
    "lse": lambda options, *_: LogSumExp(options.sharpness),
    "topk": lambda options, *_: TopShare(options.top_share),
    "attention": lambda _, n_features, n_labels: GatedAttention(n_features, n_labels),
}


def build_pooling(options: PoolingOptions, n_features: int, n_labels: int) -> nn.Module:
    """Return the pooling that `options` name, for K features and L labels."""
    return POOLINGS[options.name](options, n_features, n_labels)


class AxisAttention(nn.Module):
    """Evidence times its attention along the axes, then pooled.

    Parameters
    ----------
    pooling
        From ``focusmap.nets.pooling``; the paper's is the average.
    n_features, n_labels, dimensions
        K, L and the number of spatial axes.
    """

    def __init__(self, pooling: nn.Module, n_features: int, n_labels: int, dimensions: int = 2) -> None:
        super().__init__()
        self.pooling = pooling
        self.scores = nn.ModuleList(nn.Linear(n_features, n_labels, bias=False) for _ in range(dimensions))
        self.axis_logits = nn.Parameter(torch.zeros(n_labels, dimensions))
        for score in self.scores:
            nn.init.zeros_(score.get_parameter("weight"))

    def attention(self, features: Tensor) -> Tensor:
        """Return a, ``(N, L, *spatial)``, at least 0 and of mean 1 over places, for features ``(N, K, *spatial)``."""
        spatial = range(2, features.ndim)
        shares = self.axis_logits.float().softmax(dim=1)
        total = features.new_zeros(())
        for axis, score, share in zip(spatial, self.scores, shares.T, strict=True):
            other_axes = [other for other in spatial if other != axis]
            pooled = features.mean(dim=other_axes) if other_axes else features
            s = score(pooled.transpose(1, 2)).float().softmax(dim=1).transpose(1, 2)
            along = [side if dim == axis else 1 for dim, side in enumerate(features.shape)][2:]
            total = total + (share[:, None] * features.shape[axis] * s).view(*s.shape[:2], *along)
        return total

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        pooled: Tensor = self.pooling(self.attention(features) * evidence, features)
        return pooled
