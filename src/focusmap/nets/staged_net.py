"""What our own backbones share with timm's: a stem and blocks in a row, some of which end a level of the pyramid."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class StagedNet(nn.Module):
    """A net whose ``blocks`` follow a ``stem``; a subclass makes both.

    ``level_ends`` are the positions of the last block of each level, the finest first.
    """

    level_ends: ClassVar[Sequence[int]]
    stem: nn.Module
    blocks: nn.Sequential

    def begin(self, x: Tensor) -> Tensor:
        """Return what the first block takes."""
        begun: Tensor = self.stem(x)
        return begun

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:
        """Return how parameters are told apart by stage, as timm's nets do."""
        del coarse
        return {"stem": r"^stem|^norm", "blocks": r"^blocks\.(\d+)"}

    def forward(self, x: Tensor) -> Tensor:
        """Return the last feature map, after its ReLU."""
        features: Tensor = self.blocks(self.begin(x))
        return features

    def forward_intermediates(
        self, x: Tensor, indices: list[int], *, stop_early: bool = False, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last map, unless the others only are wanted, and those of the levels at `indices`, finest first.

        As timm's nets do.
        """
        del stop_early
        x, found = self.begin(x), {}
        for position, block in enumerate(self.blocks):
            x = found[position] = block(x)
        maps = [found[self.level_ends[i]] for i in indices]
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(self, indices: list[int]) -> None:
        """Drop the blocks behind the last of the levels at `indices`."""
        self.blocks = self.blocks[: self.level_ends[max(indices)] + 1]
