"""One image of a case as a net of its own, so that whatever explains nets of images explains those of cases.

With a_k the weight of image k in its view, h_k its features averaged over the places, r what the other images say
and t the table's row, the logits of its case are y = f(r + a_k * h_k, t). Here h_k alone depends on the image; all
else, a_k too, is held at what it is for the whole case. What f adds up, the images' maps add up to as well: of a net
whose one layer behind the pooling is linear, the mean over places of gradient times activation, summed over the
images, is the logit less the bias and what indicators and table add.
"""

import torch
from torch import Tensor, nn

from focusmap.nets.backbones import has_stages, has_token_attention, stages
from focusmap.nets.cases import CaseBackbone, CaseBatch
from focusmap.nets.focus_net import FocusNet


class ImageInCase(nn.Module):
    """From images ``(N, C, *spatial)`` to logits ``(N, L)`` of a case that has each in the place of one of its own.

    Parameters
    ----------
    net
        Of cases.
    view
        Number of the image's view.
    rest
        ``(1, V * (K + 1))``: what the case's other images say, and the indicators.
    weight
        ``(1, K)``: of the image in its view.
    row
        ``(1, G)``: the case's covariates.
    """

    def __init__(self, net: FocusNet, view: int, rest: Tensor, weight: Tensor, row: Tensor) -> None:
        super().__init__()
        self.net, self.view = net, view
        self.rest, self.weight, self.row = rest, weight, row
        self.train(net.training)

    @property
    def encoder(self) -> nn.Module:
        """The backbone that is shown the image."""
        return backbone_of(self.net).encoder_of(self.view).net

    @property
    def has_stages(self) -> bool:
        """True if the backbone hands out the feature maps before the last one."""
        return has_stages(self.encoder)

    @property
    def has_token_attention(self) -> bool:
        """True if the features are those of a plain vision transformer."""
        return has_token_attention(self.encoder)

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map ``(N, K, *grid)``."""
        features: Tensor = self.encoder(x)
        return features

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps ``(N, K_i, *grid_i)`` of the stages, `features` last, of one pass."""
        return stages(self.encoder, x)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(N, L)`` of the case with these features ``(N, K, *grid)`` for the image's own."""
        backbone = backbone_of(self.net)
        weighted = self.weight * backbone.encoder_of(self.view).summary(features)
        encoded = self.rest + backbone.placed(weighted, self.view)
        return self.net.classify(backbone.fused(encoded, self.row.expand(len(weighted), -1)))


def backbone_of(net: FocusNet) -> CaseBackbone:
    """Return the backbone of a net of cases."""
    assert isinstance(net.backbone, CaseBackbone)
    return net.backbone


@torch.no_grad()
def take_apart(net: FocusNet, case: CaseBatch) -> tuple[Tensor, list[ImageInCase]]:
    """Return what a net sees in one case, ``(1, V * (K + 1))`` as `CaseBackbone.encode` has it, and its images' nets.

    >>> from focusmap.nets.cases import CaseArchitecture, build_case_net
    >>> net = build_case_net(CaseArchitecture("small-residual", 1, 2, views=("pre", "post"))).eval()
    >>> case = CaseBatch(torch.ones(2, 1, 28, 28), torch.tensor([0, 0]), torch.tensor([0, 1]), torch.ones(1, 0))
    >>> own = take_apart(net, case)[1][1]
    >>> bool(torch.allclose(own.classify(own.features(case.images[[1]])), net(case), atol=1e-5))
    True
    """
    assert len(case.rows) == 1, "one case at a time"
    backbone = backbone_of(net)
    features, weights = backbone.encoded(case)
    weighted = weights * features
    encoded = backbone.pooled(case, weighted)
    nets = []
    for k, view in enumerate(case.views.tolist()):
        rest = encoded - backbone.placed(weighted[[k]], view)
        nets.append(ImageInCase(net, view, rest, weights[[k]], case.rows))
    return encoded, nets
