"""Attention along each spatial axis, in any number of dimensions: which rows, columns and planes have a say.

After Wu et al. 2019 (Weakly supervised brain lesion segmentation via attentional representation learning, section 2.1).
With F (K, *spatial) the features and C = w F the class activation map of a label, for each axis D of n_D positions:

    g_d = w_att . mean of F over the other axes at position d,   s = softmax over d of g,   C'_D(d) = s_d C(d)

and the axes' maps are combined by learned weights v_D: C' = sum_D v_D n_D C'_D. The weights are positive and of sum 1,
and n_D makes an attention that prefers no position leave the map as it is. So C' = a C with an attention a of mean 1,
which begins as 1 everywhere: training starts from the plain net. There is one w_att and one v for each label.
"""

import torch
from torch import Tensor, nn


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
            others = [other for other in spatial if other != axis]
            pooled = features.mean(dim=others) if others else features
            s = score(pooled.transpose(1, 2)).float().softmax(dim=1).transpose(1, 2)
            along = [side if dim == axis else 1 for dim, side in enumerate(features.shape)][2:]
            total = total + (share[:, None] * features.shape[axis] * s).view(*s.shape[:2], *along)
        return total

    def forward(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L)`` from evidence ``(N, L, *spatial)`` and features ``(N, K, *spatial)``."""
        pooled: Tensor = self.pooling(self.attention(features) * evidence, features)
        return pooled
