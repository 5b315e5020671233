"""What makes a net a focus-map net: a decoder over the backbone's pyramid, evidence at every place, and its pooling.

The last layer is one linear form w_c on the features h_p of every place p: the evidence e_cp = w_c h_p of label c.

- A label of its own (binary, or a continuous value): its logit is pool_p(e_cp) + b_c, its map sigmoid(e_cp + b_c). By
  the properties of the poolings, that is the probability that the net would give a picture which looks like place p
  everywhere.
- The classes of one target compete at each place with each other and with a background, whose evidence is 0 (softmax
  knows differences only, so that this is no loss of generality): m_cp = exp(e_cp) / (1 + sum_k exp(e_kp)), the share
  of the place's vote that c gets. The logit of a class is log pool_p(m_cp) + b_c, its map m_cp: places that speak for
  no class vote for the background and have no say.

With attention as pooling, or along the axes, maps are multiplied by the attention over its maximum: what is passed over
says nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.nets.axis_attention import AxisAttention
from focusmap.nets.backbones import levels
from focusmap.nets.decoders import Decoder
from focusmap.nets.pooling import GatedAttention

LEAST_VOTE = 1e-6


class FocusLayers(nn.Module):
    """The layers between a backbone's pyramid and the logits, but for the evidence's own weights.

    Parameters
    ----------
    decoder
        From levels to one feature map.
    positions
        Of those levels among the backbone's.
    pooling
        From ``focusmap.nets.pooling``.
    n_logits
        Number of labels L.
    classes
        (start, stop) of the logits of each target whose classes compete.
    """

    def __init__(
        self,
        decoder: Decoder,
        positions: Sequence[int],
        pooling: nn.Module,
        n_logits: int,
        classes: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.positions = tuple(positions)
        self.pooling = pooling
        self.classes = tuple(slice(*group) for group in classes)
        self.softness: Tensor
        self.register_buffer("softness", torch.ones(n_logits))

    def features(self, backbone: nn.Module, x: Tensor) -> Tensor:
        """Return the decoded feature map ``(N, K, *spatial)`` of pictures."""
        decoded: Tensor = self.decoder(levels(backbone, x, self.positions))
        return decoded

    def pooled(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)``, but for the bias, of evidence ``(N, L, *spatial)``.

        In float32, since the exponentials of bfloat16 are too coarse.
        """
        pooled: Tensor = self.pooling(self._votes(evidence.float()), features)
        logits = pooled.clone()
        for group in self.classes:
            logits[:, group] = pooled[:, group].clamp(min=LEAST_VOTE).log()
        return logits

    def maps(self, evidence: Tensor, bias: Tensor, features: Tensor) -> Tensor:
        """Return the focus maps ``(N, L, *spatial)``, between 0 and 1, of evidence of that shape and bias ``(L,)``."""
        evidence, places = evidence.float(), [1] * (evidence.ndim - 2)
        softness = self.softness.view(-1, *places)
        # A copy: autograd needs what the sigmoid gave as it is.
        maps = torch.sigmoid((evidence + bias.view(-1, *places)) / softness).clone()
        votes = self._votes(evidence / softness)
        for group in self.classes:
            maps[:, group] = votes[:, group]
        if isinstance(self.pooling, GatedAttention | AxisAttention):
            attention = self.pooling.attention(features)
            maps = maps * attention / attention.flatten(2).amax(dim=2).view(*attention.shape[:2], *places)
        return maps

    def _votes(self, evidence: Tensor) -> Tensor:
        """Return the evidence, that of competing classes turned into shares of each place's vote."""
        votes = evidence.clone()
        for group in self.classes:
            # A column of zeros is the background.
            against = F.pad(evidence[:, group].movedim(1, -1), (0, 1))
            votes[:, group] = torch.softmax(against, dim=-1)[..., :-1].movedim(-1, 1)
        return votes
