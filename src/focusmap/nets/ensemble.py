"""Several nets, and several views of each image, as one net: the mean of their logits."""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from focusmap.nets.focus_net import FocusNet
from focusmap.nets.views import AS_IT_IS, View, show


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
        views: Sequence[View] = (AS_IT_IS,),
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
        logits = (gain * net(show(view, x)) + offset for net, view, gain, offset in self.passes())
        total: Tensor = reduce(torch.add, logits)
        return total / self.n_passes

    @property
    def n_passes(self) -> int:
        """How many answers are averaged."""
        return len(self.members) * len(self.views)

    def passes(self) -> Iterator[tuple[FocusNet, View, Tensor, Tensor]]:
        """Yield each member in each view, its gain and its offset."""
        for net, gain, offset in zip(self.nets, self.gains, self.offsets, strict=True):
            for view in self.views:
                yield net, view, gain, offset
