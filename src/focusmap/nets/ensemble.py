"""Several nets, and several views of each picture, as one net: the mean of their logits and of their maps."""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from focusmap.nets.build import FocusNet
from focusmap.nets.views import AS_IT_IS, View, bring_home, show

# From a net and pictures (N, C, H, W) to logits (N, L) and maps (N, L, h, w).
Judge = Callable[[FocusNet, Tensor], tuple[Tensor, Tensor]]


class Ensemble(nn.Module):
    """The mean over members and views: ``(N, C, H, W)`` to ``(N, L)`` logits.

    Logits are averaged and not probabilities, so that the mean of the members' maps explains the answer: of one net
    a class activation map's mean is the logit less the bias, and so it is of the ensemble, exactly where all views
    cover the whole picture.

    Parameters
    ----------
    members
        Nets of one architecture.
    views
        How each picture is shown to each member.
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

    def forward(self, x: Tensor) -> Tensor:
        """Return mean logits ``(N, L)``."""
        logits = (gain * net(show(view, x)) + offset for net, view, gain, offset in self._passes())
        total: Tensor = reduce(torch.add, logits)
        return total / self._n_passes

    def judge(self, x: Tensor, judge: Judge) -> tuple[Tensor, Tensor]:
        """Return mean logits ``(N, L)`` and maps ``(N, L, h, w)`` of what `judge` says of each member and view."""
        logits, maps = reduce(
            lambda total, found: (total[0] + found[0], total[1] + found[1]),
            (
                (gain * logits + offset, gain[:, None, None] * bring_home(view, maps))
                for net, view, gain, offset in self._passes()
                for logits, maps in [judge(net, show(view, x))]
            ),
        )
        return logits / self._n_passes, maps / self._n_passes

    @property
    def _n_passes(self) -> int:
        return len(self.members) * len(self.views)

    def _passes(self) -> Iterator[tuple[FocusNet, View, Tensor, Tensor]]:
        for net, gain, offset in zip(self.nets, self.gains, self.offsets, strict=True):
            for view in self.views:
                yield net, view, gain, offset


def judge(net: FocusNet | Ensemble, x: Tensor, with_maps: Judge) -> tuple[Tensor, Tensor]:
    """Return logits and maps of a batch from one net, or their means over an ensemble."""
    return net.judge(x, with_maps) if isinstance(net, Ensemble) else with_maps(net, x)
