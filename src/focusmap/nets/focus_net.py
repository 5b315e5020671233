"""A net that classifies and says where it looks, in one pass."""

from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.nets.autoencoder import Reconstruction
from focusmap.nets.axis_attention import AxisAttention
from focusmap.nets.backbones import has_stages, has_token_attention, levels, stages
from focusmap.nets.focus import FocusLayers
from focusmap.nets.weights import Start
from focusmap.reasons import Reason

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
        self.start = Start("none", Reason("start-random"))

    @property
    def has_focus(self) -> bool:
        """True if the last layer is evidence at every place."""
        return self.focus is not None

    @property
    def reconstructs(self) -> bool:
        """True if the net is an autoencoder, its features the squared error at each pixel."""
        return isinstance(self.backbone, Reconstruction)

    @property
    def has_stages(self) -> bool:
        """True if the net hands out the feature maps before the last one."""
        return self.focus is not None or has_stages(self.backbone)

    @property
    def has_token_attention(self) -> bool:
        """True if the features are those of a plain vision transformer."""
        return has_token_attention(self.backbone)

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map ``(N, K, *grid)``, after the last activation of backbone or decoder."""
        features: Tensor = self.backbone(x) if self.focus is None else self.focus.features(self.backbone, x)
        return features

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps ``(N, K_i, h_i, w_i)`` of the stages, finest first, and `features`, of one pass."""
        if self.focus is None:
            return stages(self.backbone, x)
        found = levels(self.backbone, x, self.focus.positions)
        return [*found, self.focus.decoder(found)]

    def evidence(self, features: Tensor) -> Tensor:
        """Return ``(N, L, *spatial)``: w_c h_p of every label and place, signed and without the bias.

        In eval mode and without `focus` its mean over the places is the logit less the bias.
        """
        evidence: Tensor = F.linear(features.movedim(1, -1), self.head.weight).movedim(-1, 1)
        return evidence

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of a feature map ``(N, K, *grid)``."""
        if self.focus is None:
            logits: Tensor = self.head(self.dropout(features.flatten(2).mean(dim=2)))
            return logits
        kept = self.dropout(features.new_ones(features.shape[:2])).view(*features.shape[:2], *[1] * (features.ndim - 2))
        features = features * kept
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

        Relevance, not a probability of disease: `focusmap.nets.focus` says what a value means.
        """
        assert self.focus is not None, "a plain backbone has no focus maps"
        return self.focus.maps(self.evidence(features), self.head.bias, features)
