"""What makes a net a focus-map net: a decoder over the backbone's pyramid, evidence at every place, and its pooling.

The last layer is one linear form w_c on the features h_p of every place p: the evidence e_cp = w_c h_p of label c. The
logit of a label is z_c = pool_p(e_cp) + b_c, of classes that compete (softmax) as of others, and its map is

    m_cp = sigmoid(e_cp + b_c - r_c),   r_c = log sum_k exp(z_k) over the classes k that compete with c, else 0.

By the properties of the poolings, that is the probability that the net would give label c if the evidence for c were
everywhere what it is at place p, and that for its rivals what it is in this image. Places that speak less for c than
the image does for its rivals are background: they are left near 0 and need no class of their own.

Classes are not made to compete place by place, before pooling. Then softmax over the image asks for ratios alone, and
nets learn to let every place vote for the class of the image (``docs/results.md`` has the measurement).

With attention as pooling, or along the axes, maps are multiplied by the attention over its maximum: what is passed over
says nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from focusmap.nets.axis_attention import AxisAttention
from focusmap.nets.backbones import levels
from focusmap.nets.decoders import Decoder
from focusmap.nets.pooling import GatedAttention


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
        """Return the decoded feature map ``(N, K, *spatial)`` of images."""
        decoded: Tensor = self.decoder(levels(backbone, x, self.positions))
        return decoded

    def pooled(self, evidence: Tensor, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)``, but for the bias, of evidence ``(N, L, *spatial)``.

        In float32, since the exponentials of bfloat16 are too coarse.
        """
        logits: Tensor = self.pooling(evidence.float(), features)
        return logits

    def margins(self, evidence: Tensor, bias: Tensor, features: Tensor) -> Tensor:
        """Return ``(N, L, *spatial)``: e_cp + b_c - r_c, above 0 where a place says more for c than for its rivals."""
        places = [1] * (evidence.ndim - 2)
        rivals = self._rivals(self.pooled(evidence, features) + bias)
        return evidence.float() + (bias - rivals).view(*rivals.shape, *places)

    def maps(self, evidence: Tensor, bias: Tensor, features: Tensor) -> Tensor:
        """Return the focus maps ``(N, L, *spatial)``, between 0 and 1, of evidence of that shape and bias ``(L,)``."""
        places = [1] * (evidence.ndim - 2)
        maps = torch.sigmoid(self.margins(evidence, bias, features) / self.softness.view(-1, *places))
        if isinstance(self.pooling, GatedAttention | AxisAttention):
            attention = self.pooling.attention(features)
            maps = maps * attention / attention.flatten(2).amax(dim=2).view(*attention.shape[:2], *places)
        return maps

    def _rivals(self, logits: Tensor) -> Tensor:
        """Return ``(N, L)``: log sum exp of the logits of the classes that compete with each; 0 for other labels."""
        rivals = torch.zeros_like(logits)
        for group in self.classes:
            own = torch.eye(group.stop - group.start, dtype=torch.bool, device=logits.device)
            rivals[:, group] = logits[:, group, None].masked_fill(own, -torch.inf).logsumexp(dim=1)
        return rivals
