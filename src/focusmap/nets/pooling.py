"""From evidence at every place to one number per image, in any number of spatial dimensions.

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
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from focusmap.errors import InputError, suggest

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
