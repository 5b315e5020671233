"""A net that classifies and says where it looks, in one pass; and several nets, or views of an image, as one.

What makes a net a focus-map net is a decoder over the backbone's pyramid, evidence at every place, and its pooling.
An ensemble is the mean of logits.

The last layer is one linear form w_c on the features h_p of every place p: the evidence e_cp = w_c h_p of label c. The
logit of a label is z_c = pool_p(e_cp) + b_c, of classes that compete (softmax) as of others, and its map is

    m_cp = sigmoid(e_cp + b_c - r_c),   r_c = log sum_k exp(z_k) over the classes k that compete with c, else 0.

By the properties of the poolings, that is the probability that the net would give label c if the evidence for c were
everywhere what it is at place p, and that for its rivals what it is in this image. Places that speak less for c than
the image does for its rivals are background: they are left near 0 and need no class of their own.

Classes are not made to compete place by place, before pooling. Then softmax over the image asks for ratios alone, and
nets learn to let every place vote for the class of the image (``docs/more-results.md`` has the measurement).

With attention as pooling, or along the axes, maps are multiplied by the attention over its maximum: what is passed over
says nothing.
"""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from focusmap.basics import Reason
from focusmap.nets import autoencoder, backbones, decoders, grids, weights
from focusmap.nets.pooling import AxisAttention, GatedAttention


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
        decoder: decoders.Decoder,
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
        decoded: Tensor = self.decoder(backbones.levels(backbone, x, self.positions))
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
            is_itself = torch.eye(group.stop - group.start, dtype=torch.bool, device=logits.device)
            rivals[:, group] = logits[:, group, None].masked_fill(is_itself, -torch.inf).logsumexp(dim=1)
        return rivals


HEAD_DROPOUT = 0.2


class FocusNet(nn.Module):
    """A net from images ``(N, C, *spatial)`` to ``(N, L)`` logits that says where each of them comes from.

    Without `focus`: a backbone, the average over the image, and one linear layer. With this head the class
    activation map of label c is M_c = sum_k w_ck A_k (Zhou et al. 2016, eq. 2), and the mean of M_c over the map plus
    the bias is the logit: `classify` and `evidence` share the features of one pass.

    With `focus`: a focus-map net; the same linear layer is applied to every place, and then pooled.

    An autoencoder is the plain kind: its features are the errors of its reconstruction, its logit their mean.
    """

    def __init__(self, net: nn.Module, n_features: int, n_logits: int, focus: FocusLayers | None = None) -> None:
        super().__init__()
        self.backbone = net
        self.focus = focus
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.head = nn.Linear(n_features, n_logits)
        self.weights_origin = weights.WeightsOrigin("none", Reason("start-random"))

    @property
    def has_focus(self) -> bool:
        """True if the last layer is evidence at every place."""
        return self.focus is not None

    @property
    def reconstructs(self) -> bool:
        """True if the net is an autoencoder, its features the squared error at each pixel."""
        return isinstance(self.backbone, autoencoder.Reconstruction)

    @property
    def has_stages(self) -> bool:
        """True if the net hands out the feature maps before the last one."""
        return self.focus is not None or backbones.has_stages(self.backbone)

    @property
    def has_token_attention(self) -> bool:
        """True if the features are those of a plain vision transformer."""
        return backbones.has_token_attention(self.backbone)

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map ``(N, K, *grid)``, after the last activation of backbone or decoder."""
        features: Tensor = self.backbone(x) if self.focus is None else self.focus.features(self.backbone, x)
        return features

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps ``(N, K_i, h_i, w_i)`` of the stages, finest first, and `features`, of one pass."""
        if self.focus is None:
            return backbones.stages(self.backbone, x)
        levels = backbones.levels(self.backbone, x, self.focus.positions)
        return [*levels, self.focus.decoder(levels)]

    def evidence(self, features: Tensor) -> Tensor:
        """Return ``(N, L, *spatial)``: w_c h_p of every label and place, signed and without the bias.

        In eval mode and without `focus` its mean over the places is the logit less the bias.
        """
        evidence: Tensor = nn.functional.linear(features.movedim(1, -1), self.head.weight).movedim(-1, 1)
        return evidence

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of a feature map ``(N, K, *grid)``."""
        if self.focus is None:
            logits: Tensor = self.head(self.dropout(features.flatten(2).mean(dim=2)))
            return logits
        mask = self.dropout(features.new_ones(features.shape[:2])).view(*features.shape[:2], *[1] * (features.ndim - 2))
        features = features * mask
        return self.focus.pooled(self.evidence(features), features) + self.head.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, L)``."""
        return self.classify(self.features(x))

    def forward_with_focus(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, L)`` and focus maps ``(N, L, *grid)``, of a net with `focus`."""
        features = self.features(x)
        return self.classify(features), self.focus_maps(features)

    @property
    def has_axis_attention(self) -> bool:
        """True if the evidence is weighed along each spatial axis before it is pooled."""
        return self.focus is not None and isinstance(self.focus.pooling, AxisAttention)

    def attended_evidence(self, features: Tensor) -> Tensor:
        """Return the attentional class activation maps ``(N, L, *spatial)`` of a net with attention along the axes.

        In logit units, without the bias. Behind average pooling the mean of a label's map and the bias are its logit.
        """
        assert self.focus is not None
        assert isinstance(self.focus.pooling, AxisAttention), "the net has no attention along the axes"
        return self.focus.pooling.attention(features) * self.evidence(features)

    def focus_maps(self, features: Tensor) -> Tensor:
        """Return focus maps ``(N, L, *grid)``, between 0 and 1, of features ``(N, K, *grid)``, of a net with `focus`.

        Relevance, not a probability of disease: `focusmap.nets.focus_net` says what a value means.
        """
        assert self.focus is not None, "a plain backbone has no focus maps"
        return self.focus.maps(self.evidence(features), self.head.bias, features)


class Ensemble(nn.Module):
    """The mean over members and views: ``(N, C, H, W)`` to ``(N, L)`` logits.

    Logits are averaged and not probabilities, so that the mean of the members' maps explains the answer: of one net
    a class activation map's mean is the logit less the bias, and so it is of the ensemble, exactly where all views
    cover the whole image.

    Parameters
    ----------
    members
        Nets of one architecture.
    views
        How each image is shown to each member.
    gains, offsets
        ``(M, L)`` or ``(M, 1)``: what a member's logits and maps are multiplied by, and what its logits are raised by,
        to have the ensemble's unit; by default 1 and 0.
    """

    gains: Tensor
    offsets: Tensor

    def __init__(
        self,
        members: Sequence[FocusNet],
        views: Sequence[grids.View] = (grids.AS_IT_IS,),
        gains: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> None:
        super().__init__()
        n = len(members)
        self.members = nn.ModuleList(members)
        self.views = tuple(views)
        self.register_buffer("gains", torch.ones(n, 1) if gains is None else gains, persistent=False)
        self.register_buffer("offsets", torch.zeros(n, 1) if offsets is None else offsets, persistent=False)

    @property
    def nets(self) -> tuple[FocusNet, ...]:
        """The members."""
        return tuple(net for net in self.members if isinstance(net, FocusNet))

    @property
    def has_focus(self) -> bool:
        """True if the last layer of the members is evidence at every place."""
        return all(net.has_focus for net in self.nets)

    @property
    def has_axis_attention(self) -> bool:
        """True if the members weigh their evidence along each spatial axis."""
        return all(net.has_axis_attention for net in self.nets)

    @property
    def reconstructs(self) -> bool:
        """True if the members are autoencoders."""
        return all(net.reconstructs for net in self.nets)

    @property
    def has_stages(self) -> bool:
        """True if the members hand out the feature maps before the last one."""
        return all(net.has_stages for net in self.nets)

    @property
    def has_token_attention(self) -> bool:
        """True if the members are plain vision transformers."""
        return all(net.has_token_attention for net in self.nets)

    def forward(self, x: Tensor) -> Tensor:
        """Return mean logits ``(N, L)``."""
        logits = (gain * net(grids.show(view, x)) + offset for net, view, gain, offset in self.passes())
        total: Tensor = reduce(torch.add, logits)
        return total / self.n_passes

    @property
    def is_over_sizes(self) -> bool:
        """True if images are shown in several sizes, as those of a fine-tuned net: its evidence follows their edges."""
        return len({view.size for view in self.views}) > 1

    @property
    def n_passes(self) -> int:
        """How many answers are averaged."""
        return len(self.members) * len(self.views)

    def passes(self) -> Iterator[tuple[FocusNet, grids.View, Tensor, Tensor]]:
        """Yield each member in each view, its gain and its offset."""
        for net, gain, offset in zip(self.nets, self.gains, self.offsets, strict=True):
            for view in self.views:
                yield net, view, gain, offset
